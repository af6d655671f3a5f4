"""The diagrams of docs/state-machines.md, made from the tables of transitions.

`python -m domain.diagrams` prints the page; nothing in it is drawn by hand, so it cannot say
anything else than the tables that the code goes by.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.transitions import (
    ORDER_TRANSITIONS,
    PAYMENT_TRANSITIONS,
    RESERVATION_TRANSITIONS,
    OrderState,
    PaymentState,
    ReservationState,
)

_HEAD = """# State machines

<!-- Made by `python -m domain.diagrams > docs/state-machines.md` from domain/transitions.py. -->

Each machine is one table in `domain/transitions.py`. Whatever moves state changes a row only if
it is still in the state before (house rule 13); a repeat finds it moved and changes nothing. The
states are spelled as the enums in the database.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One state machine: its title, where its states are kept, and its table."""

    title: str
    column: str
    story: str
    initial: StrEnum
    transitions: Mapping[StrEnum, frozenset[StrEnum]]


def _table(
    transitions: Mapping[ReservationState, frozenset[ReservationState]]
    | Mapping[OrderState, frozenset[OrderState]]
    | Mapping[PaymentState, frozenset[PaymentState]],
) -> Mapping[StrEnum, frozenset[StrEnum]]:
    return {before: frozenset(after) for before, after in transitions.items()}


MACHINES: tuple[Machine, ...] = (
    Machine(
        title="Reservation",
        column="inventory_reservations.status",
        story="`active` is what the glossary calls reserved: held for a checkout, with an expiry."
        " An owner opens it and releases it or lets it expire, always in a turn; the order's own"
        " transaction allocates it. Whichever comes first wins (P4).",
        initial=ReservationState.ACTIVE,
        transitions=_table(RESERVATION_TRANSITIONS),
    ),
    Machine(
        title="Order",
        column="orders.status",
        story="Recorded as `pending` before anything is charged; confirmed together with its"
        " payment, its reservations and its event, or failed with the reason. `in_review` waits for"
        " an operator, `accepted` to be charged after that, `awaiting_payment` for the buyer or a bank; both have an end. Recovery takes"
        " whatever stays open to one of the two.",
        initial=OrderState.PENDING,
        transitions=_table(ORDER_TRANSITIONS),
    ),
    Machine(
        title="Payment",
        column="payments.status",
        story="Our row; the provider's charge goes the same way without `created`. Our row may"
        " lag behind the provider's books, never run ahead of them (P7).",
        initial=PaymentState.CREATED,
        transitions=_table(PAYMENT_TRANSITIONS),
    ),
)


def mermaid(machine: Machine) -> str:
    """The machine as a Mermaid state diagram: states and steps in the order of their enum."""
    order = list(type(machine.initial))
    lines = ["stateDiagram-v2", f"    [*] --> {machine.initial}"]
    for before in order:
        after = sorted(machine.transitions[before], key=order.index)
        lines += [f"    {before} --> {step}" for step in after]
        lines += [] if after else [f"    {before} --> [*]"]
    return "\n".join(lines)


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD]
    for machine in MACHINES:
        about = f"`{machine.column}`. {machine.story}"
        parts.append(f"## {machine.title}\n\n{about}\n\n```mermaid\n{mermaid(machine)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
