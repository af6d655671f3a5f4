"""The embedded shop's keys: one file that only its owner may read, replaced as a whole.

A retired key goes into a second file: a backup from before still needs it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from storage.key_ring import (
    DataKey,
    KeyRing,
    KeyRingError,
    UnknownKeyError,
    format_keys,
    new_key,
    parse_keys,
)


class KeyFile:
    """The file of keys at `path`; `random` gives unpredictable bytes."""

    def __init__(self, path: Path, *, random: Callable[[int], bytes]) -> None:
        self.path = path
        self.retired_path = path.with_name(f"{path.name}.retired")
        self._random = random

    def read(self) -> tuple[DataKey, ...]:
        """The keys, the sealing one first. Raises OSError, KeyRingError."""
        keys = parse_keys(self.path.read_text(), source=str(self.path))
        if not keys:
            raise KeyRingError(f"{self.path} holds no key; restore it from a backup")
        return keys

    def read_or_make(self) -> tuple[DataKey, ...]:
        """The keys; the first one is made if there is no file yet."""
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._written((new_key(self._random),), self.path)
            try:
                os.link(fresh, self.path)  # the first of two that make one wins
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
            _sync_folder(self.path)
        return self.read()

    def unchanged_for_s(self, now: float) -> float:
        """Seconds since a key was added or retired; `now` is the time since the epoch."""
        return max(0.0, now - self.path.stat().st_mtime)

    def add(self) -> str:
        """A new key, which seals from now on; its id."""
        with self._held():
            key = new_key(self._random)
            self._replace((key, *self.read_or_make()), self.path)
        return key.key_id

    def retire(self, key_id: str) -> None:
        """Take a key out that seals no more. Raises UnknownKeyError, KeyRingError.

        Whether anything is still sealed by it is for the caller to know.
        """
        with self._held():
            keys = self.read()
            retired = next((key for key in keys if key.key_id == key_id), None)
            if retired is None:
                raise UnknownKeyError(f"{self.path} has no key {key_id!r}")
            if retired == keys[0]:
                raise KeyRingError(f"{key_id} is the key that seals; rotate first")
            known = self.retired_path.read_text() if self.retired_path.exists() else ""
            before = parse_keys(known, source=str(self.retired_path))
            self._replace((*before, retired), self.retired_path)
            self._replace(tuple(key for key in keys if key != retired), self.path)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """One writer at a time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f"{self.path.name}.lock").open("a+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _replace(self, keys: tuple[DataKey, ...], path: Path) -> None:
        self._written(keys, path).replace(path)
        _sync_folder(path)

    def _written(self, keys: tuple[DataKey, ...], path: Path) -> Path:
        fresh = path.with_name(f"{path.name}.{os.getpid()}.{self._random(4).hex()}")
        fresh.touch(mode=0o600)
        with fresh.open("w") as handle:
            handle.write(format_keys(keys, "\n") + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        return fresh


def _sync_folder(path: Path) -> None:
    """Rows sealed by a key that a power cut took would be lost."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def ring_of_file(file: KeyFile) -> KeyRing:
    """The ring of a file's keys, which follows the file as it changes. Raises KeyRingError."""
    try:
        keys = file.read_or_make()
    except OSError as error:
        raise KeyRingError(f"the keys in {file.path} cannot be read: {error.strerror}") from None
    return KeyRing(keys, random=os.urandom, monotonic=time.monotonic, reload=file.read)
