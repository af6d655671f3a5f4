"""Key rings for tests: fixed keys, real nonces."""

from __future__ import annotations

import hashlib
import os
import time

from storage.key_ring import DataKey, KeyRing


def a_key(key_id: str = "k1") -> DataKey:
    """The key of this id; the same in every test."""
    return DataKey(key_id, hashlib.sha256(key_id.encode()).digest())


def a_ring(*key_ids: str) -> KeyRing:
    """A ring of these keys, the first one seals; of `k1` if none are named."""
    keys = tuple(a_key(key_id) for key_id in key_ids or ("k1",))
    return KeyRing(keys, random=os.urandom, monotonic=time.monotonic)
