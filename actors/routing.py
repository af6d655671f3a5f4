"""Which owner decides for a pair: rendezvous hashing over the pool.

Thaler and Ravishankar, "A name-based mapping scheme for rendezvous" (1996): the owner with the
highest hash of (owner, pair) wins. Taking one owner away moves only its own pairs.
"""

from __future__ import annotations

import hashlib

_CACHE_MAX = 500_000


def pool_names(size: int) -> tuple[str, ...]:
    """The names of a pool of `size` owners."""
    return tuple(f"pool-{slot}" for slot in range(size))


class Routing:
    """A routing table that fills itself; bounded."""

    def __init__(self, owners: tuple[str, ...]) -> None:
        if not owners:
            raise ValueError("a stock pool needs at least one owner; set DOORBUSTER_STOCK_OWNERS")
        self.owners = owners
        self._seeds = [(owner, owner.encode()) for owner in owners]
        self._known: dict[bytes, str] = {}

    def owner_of(self, inventory_id: bytes) -> str:
        """The owner's name."""
        known = self._known.get(inventory_id)
        if known is not None:
            return known
        if len(self._known) >= _CACHE_MAX:
            self._known.clear()
        _, winner = max(
            (hashlib.blake2b(inventory_id, key=seed, digest_size=8).digest(), owner)
            for owner, seed in self._seeds
        )
        self._known[inventory_id] = winner
        return winner
