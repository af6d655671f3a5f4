"""Which owner to ask for a pair: its home in the pool, until an owner says otherwise."""

from __future__ import annotations

from domain.owners import Homes, owner_name

_LEARNED_MAX = 100_000


class Routing:
    """A routing table that learns from ELSEWHERE answers; bounded.

    What it learns may be old by the time it is used: whoever is asked in vain says so, and an
    owner that cannot be reached is forgotten in favour of the pair's home, which knows.
    """

    def __init__(self, owners: tuple[str, ...]) -> None:
        self._homes = Homes(owners)
        self._learned: dict[bytes, str] = {}

    @property
    def owners(self) -> tuple[str, ...]:
        """The pool."""
        return self._homes.owners

    def owner_of(self, inventory_id: bytes) -> str:
        """The name of the owner to ask."""
        return self._learned.get(inventory_id) or self._homes.home_of(inventory_id)

    def learn(self, inventory_id: bytes, number: int) -> str:
        """The pair is with the owner of this number; its name."""
        owner = owner_name(number)
        if owner == self._homes.home_of(inventory_id):
            self._learned.pop(inventory_id, None)
        else:
            if inventory_id not in self._learned and len(self._learned) >= _LEARNED_MAX:
                del self._learned[next(iter(self._learned))]
            self._learned[inventory_id] = owner
        return owner

    def forget(self, owner: str) -> None:
        """The owner cannot be reached: ask the homes of its pairs."""
        lost = [pair for pair, learned in self._learned.items() if learned == owner]
        for pair in lost:
            del self._learned[pair]
