"""Names and numbers of the stock owners, and which of the pool a pair is at home with.

The pool's owners are `pool-0`, `pool-1` …; dedicated ones, each with hot pairs of its own, are
`hot-0`, `hot-1` …. A number stands for the name where names would cost bytes.
"""

from __future__ import annotations

import hashlib

POOL_SIZE_MAX = 1_000
DEDICATED_MAX = 1_000
_DEDICATED_FROM = 1_000_000
_HOME_CACHE_MAX = 500_000


def pool_names(size: int) -> tuple[str, ...]:
    """The names of a pool of `size` owners."""
    return tuple(f"pool-{slot}" for slot in range(size))


def dedicated_name(slot: int) -> str:
    """The name of the dedicated owner in a slot, from 0."""
    return f"hot-{slot}"


def is_dedicated(name: str) -> bool:
    """True for an owner of hot pairs, False for one of the pool."""
    return name.startswith("hot-")


def owner_number(name: str) -> int:
    """The number that stands for an owner's name. ValueError for a name of no owner."""
    kind, _, slot = name.partition("-")
    if kind not in ("pool", "hot") or not slot.isdecimal():
        raise ValueError(f"{name!r} is no owner; owners are pool-N and hot-N")
    return int(slot) + (_DEDICATED_FROM if kind == "hot" else 0)


def owner_name(number: int) -> str:
    """The inverse of owner_number."""
    if number >= _DEDICATED_FROM:
        return f"hot-{number - _DEDICATED_FROM}"
    return f"pool-{number}"


def is_number(number: int) -> bool:
    """True for a number that an owner can have."""
    return 0 <= number < POOL_SIZE_MAX or 0 <= number - _DEDICATED_FROM < DEDICATED_MAX


class Homes:
    """Which owner of the pool a pair is at home with: rendezvous hashing.

    Thaler and Ravishankar, "A name-based mapping scheme for rendezvous" (1996): the owner with
    the highest hash of (owner, pair) wins. Taking one owner away moves only its own pairs.
    Remembers a bounded number of pairs.
    """

    def __init__(self, owners: tuple[str, ...]) -> None:
        if not owners:
            raise ValueError("a stock pool needs at least one owner; set DOORBUSTER_STOCK_OWNERS")
        self.owners = owners
        self._seeds = [(owner, owner.encode()) for owner in owners]
        self._known: dict[bytes, str] = {}

    def home_of(self, inventory_id: bytes) -> str:
        """The owner's name."""
        known = self._known.get(inventory_id)
        if known is not None:
            return known
        if len(self._known) >= _HOME_CACHE_MAX:
            self._known.clear()
        _, winner = max(
            (hashlib.blake2b(inventory_id, key=seed, digest_size=8).digest(), owner)
            for owner, seed in self._seeds
        )
        self._known[inventory_id] = winner
        return winner
