"""The keys that personal data is sealed with: AES-256-GCM, several keys, the first one seals.

A sealed value is

    version (1 byte, 1) | length of the key's id (1 byte) | key id | nonce (12 bytes) | ciphertext and tag

and is bound to where it is kept: `bound_to` (table and row) and all that stands before the nonce
are authenticated with it, so a value that was moved to another row does not open. NIST SP 800-38D
allows 2^32 values under one key with random nonces.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
KEYS_MAX = 32
RELOAD_EVERY_S = 2.0
"""How long a process may not notice that the key file has changed."""
_VERSION = 1
_NONCE_BYTES = 12
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,16}")


class KeyRingError(RuntimeError):
    """Something about keys or sealed values is not as it must be."""


class MissingKeyError(KeyRingError):
    """There is no key to seal with."""


class UnknownKeyError(KeyRingError):
    """A value is sealed by a key that the ring does not have."""


class TamperedError(KeyRingError):
    """A sealed value is damaged, was altered, or belongs to another row."""


class DataKey(NamedTuple):
    """A key and the name it is known by."""

    key_id: str
    key: bytes


def parse_keys(text: str, *, source: str) -> tuple[DataKey, ...]:
    """The keys of `id:base64,id:base64`; line breaks part them, too.

    Raises KeyRingError that names `source` and the key's place, never the key.
    """
    parts = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    keys: list[DataKey] = []
    for number, part in enumerate(parts, 1):
        key_id, colon, encoded = part.partition(":")
        if not colon or not _KEY_ID.fullmatch(key_id):
            raise KeyRingError(
                f"{source}: key {number} has no proper id; write id:base64,"
                " the id of 1 to 16 letters, digits, - and _"
            )
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise KeyRingError(f"{source}: key {key_id} is not {KEY_BYTES} bytes in base64")
        if key_id in (known.key_id for known in keys):
            raise KeyRingError(f"{source}: key {key_id} is there twice; keep one")
        keys.append(DataKey(key_id, key))
    if len(keys) > KEYS_MAX:
        raise KeyRingError(f"{source}: over {KEYS_MAX} keys; retire those that seal nothing")
    return tuple(keys)


def format_keys(keys: tuple[DataKey, ...], separator: str = ",") -> str:
    """What `parse_keys` reads."""
    return separator.join(f"{k.key_id}:{base64.b64encode(k.key).decode()}" for k in keys)


def new_key(random: Callable[[int], bytes]) -> DataKey:
    """A fresh key under a fresh id; `random` gives that many unpredictable bytes."""
    return DataKey(f"k{random(4).hex()}", random(KEY_BYTES))


def sealed_by(sealed: bytes) -> str:
    """The id of the key that sealed this. Raises TamperedError if it is no sealed value."""
    length = sealed[1] if len(sealed) > 1 else 0
    if not sealed or sealed[0] != _VERSION or len(sealed) < 2 + length + _NONCE_BYTES:
        raise TamperedError("this is no sealed value of a version that is known here")
    return sealed[2 : 2 + length].decode("ascii", "replace")


class KeyRing:
    """Seals with the first key, opens with any.

    `reload` gives the keys anew where they can change while the process lives (the key file);
    it is asked every `RELOAD_EVERY_S` of `monotonic`, and at once for a key that is not known. Without it the keys are fixed.
    `random` gives unpredictable bytes. Raises MissingKeyError if there are no keys.
    """

    def __init__(
        self,
        keys: tuple[DataKey, ...],
        *,
        random: Callable[[int], bytes],
        monotonic: Callable[[], float],
        reload: Callable[[], tuple[DataKey, ...]] | None = None,
    ) -> None:
        self._random = random
        self._monotonic = monotonic
        self._reload = reload
        self._look_again_at = monotonic() + RELOAD_EVERY_S
        self._look_for_unknown_at = monotonic()
        self._take(keys)

    @property
    def sealing_id(self) -> str:
        """The id of the key that seals now."""
        self._look_again()
        return self._sealing_id

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the sealing one first."""
        self._look_again()
        return tuple(self._ciphers)

    def seal(self, clear: bytes, *, bound_to: bytes) -> bytes:
        """The sealed value, which opens only for the same `bound_to`."""
        self._look_again()
        nonce = self._random(_NONCE_BYTES)
        header = self._header
        return header + nonce + self._sealing.encrypt(nonce, clear, header + bound_to)

    def open(self, sealed: bytes, *, bound_to: bytes) -> bytes:
        """What was sealed. Raises UnknownKeyError, TamperedError."""
        key_id = sealed_by(sealed)
        cipher = self._ciphers.get(key_id) or self._met_unknown(key_id)
        if cipher is None:
            raise UnknownKeyError(
                f"a value is sealed by the key {key_id!r}, which is not among"
                f" {', '.join(self._ciphers)}; put that key back"
            )
        nonce_at = 2 + len(key_id)
        body_at = nonce_at + _NONCE_BYTES
        header, nonce = sealed[:nonce_at], sealed[nonce_at:body_at]
        try:
            return cipher.decrypt(nonce, sealed[body_at:], header + bound_to)
        except InvalidTag:
            raise TamperedError(
                f"a value sealed by {key_id!r} does not open: it was altered, belongs to another"
                " row, or the key has another key's id; restore the row from a backup"
            ) from None

    def _met_unknown(self, key_id: str) -> AESGCM | None:
        """Another process may have made the key a moment ago; ids that nobody knows are bounded."""
        now = self._monotonic()
        if now >= self._look_for_unknown_at:
            self._look_for_unknown_at = now + RELOAD_EVERY_S
            self._look_again_at = now
            self._look_again()
        return self._ciphers.get(key_id)

    def _look_again(self) -> None:
        if self._reload is None or self._monotonic() < self._look_again_at:
            return
        self._look_again_at = self._monotonic() + RELOAD_EVERY_S
        try:
            self._take(self._reload())
        except (OSError, KeyRingError):
            return  # what is known goes on working; who starts anew is told

    def _take(self, keys: tuple[DataKey, ...]) -> None:
        if not keys:
            raise MissingKeyError("there is no key to seal personal data with; set one")
        self._ciphers: Mapping[str, AESGCM] = {k.key_id: AESGCM(k.key) for k in keys}
        self._sealing_id = keys[0].key_id
        self._sealing = self._ciphers[self._sealing_id]
        self._header = bytes((_VERSION, len(self._sealing_id))) + self._sealing_id.encode()
