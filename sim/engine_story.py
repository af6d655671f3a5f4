"""What happened in a simulated hour: a digest of all of it, and the last of it to be told."""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from domain.stock import NOBODY, Answer, Request

EVENTS_KEPT = 20_000
_HEARD = struct.Struct("<dd16sqq")


class Event(NamedTuple):
    """Something that happened: when (virtual seconds), what, and the ids it is about."""

    at: float
    text: str
    about: tuple[bytes, ...] = ()


class Heard(NamedTuple):
    """An answer that a caller heard; an Event whose text is made only if somebody reads it."""

    at: float
    request: Request
    answer: Answer
    sent_at: float

    @property
    def text(self) -> str:
        """What was asked and answered."""
        ids = [one.lstrip(b"\0").hex()[-8:] for one in self.request if isinstance(one, bytes)]
        status, available = self.answer
        return (
            f"{type(self.request).__name__} of {' '.join(one for one in ids if one)}"
            f" sent at {self.sent_at:.3f}: {status} ({available})"
        )

    @property
    def about(self) -> tuple[bytes, ...]:
        """The ids it is about."""
        return tuple(one for one in self.request if isinstance(one, bytes) and one != NOBODY)


class Story:
    """Told of everything, in order; `elapsed` is the virtual time in seconds."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self.events: deque[Event | Heard] = deque(maxlen=EVENTS_KEPT)
        self._elapsed = elapsed
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """Of everything that happened so far."""
        return self._digest.hexdigest()

    def tell(self, text: str, *about: bytes) -> None:
        """Remember that something happened."""
        now = self._elapsed()
        self.events.append(Event(now, text, about))
        self._digest.update(f"{now:.9f} {text}\n".encode())

    def heard(self, request: Request, answer: Answer, sent_at: float) -> None:
        """Remember what a caller was answered."""
        now = self._elapsed()
        self.events.append(Heard(now, request, answer, sent_at))
        self._digest.update(_HEARD.pack(now, sent_at, request.inventory_id, *answer))
