"""What the actors need of the outside: declared here, implemented by storage and gateways."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from domain.orders import (
    HistoryOfCustomer,
    OpenOrder,
    OrderDraft,
    OutboxEvent,
    Parking,
    RecordedOrder,
    StoredOrder,
)
from domain.payments import (
    ChargeRequest,
    ChargeState,
    ProviderEvent,
    RefundRequest,
    SavedMethod,
)
from domain.placement import Wish
from domain.redemptions import Redemption, RedemptionOutcome
from domain.refunds import Refund, RefundDraft, RefundRecord, RefundRefusal
from domain.reviews import Review, ReviewDecision
from domain.stock import Closed, Known, Movement, Pair
from domain.tax import TaxAnswer, TaxQuestion
from domain.turns import CustomerOfVariant, Instruction, Turn


class Unavailable(Exception):  # noqa: N818 - names a condition, as in domain.stock
    """The other side could not be reached or gave no answer; the outcome is not known."""


class NotReached(Unavailable):
    """The other side could not even be asked: certainly nothing happened there."""


class Misconfigured(Exception):  # noqa: N818
    """The other side does not let us in, or is not what it should be: an operator has to act."""


class RefundRefused(Exception):  # noqa: N818
    """More was asked back than a charge took and still has."""


class StaleEpoch(Exception):  # noqa: N818
    """A newer incarnation of this owner exists; this one must stop (P5)."""


class VersionConflict(Exception):  # noqa: N818
    """A pair's row is not as the owner remembers it; load it again."""


class LimitPassed(Exception):  # noqa: N818
    """A customer has got more of a variant elsewhere meanwhile; decide again."""


class DuplicateReservation(Exception):  # noqa: N818
    """A reservation id of the turn is in the database already."""


class StockJournal(Protocol):
    """Where owners write through to. Every method raises Unavailable when it cannot be reached."""

    async def raise_epoch(
        self, owner: str, node: str, pid: int, *, pool_size: int | None = None
    ) -> int:
        """Begin a new generation of `owner`; from now on older ones cannot write.

        `pool_size` is how many owners share the pairs, as this one knows it. Another size than
        before means other homes: then no generation of any owner that there is can write, and
        all rows are up to date.
        """
        ...

    async def checkpoint(self, owner: str, epoch: int) -> int:
        """Bring all rows up to date with what the generation has logged, and take a number.

        The next turn follows that number; one that was under way, and of which nobody knows
        whether it was written, is in the rows or cannot be written any more. Raises StaleEpoch.
        """
        ...

    async def load(self, inventory_ids: Sequence[bytes]) -> list[Pair]:
        """The rows of the pairs with their open reservations; unknown ids are left out."""
        ...

    async def write_turn(self, turn: Turn) -> list[Closed]:
        """Write a turn in one transaction, under the fence.

        Gives back what was really released or expired. Raises StaleEpoch, VersionConflict,
        LimitPassed or DuplicateReservation, and then nothing was written.
        """
        ...

    async def find(self, reservation_ids: Sequence[bytes]) -> dict[bytes, Known]:
        """Status, inventory_id and content of the reservations that exist."""
        ...

    async def settled(self, reservation_ids: Sequence[bytes]) -> list[bytes]:
        """Those of them that are no longer only held."""
        ...

    async def find_as_owner(
        self, reservation_ids: Sequence[bytes], owner: str, epoch: int
    ) -> dict[bytes, Known]:
        """The same, under the fence: raises StaleEpoch if the epoch is not the newest."""
        ...

    async def units_of(
        self, customers: Sequence[CustomerOfVariant]
    ) -> dict[CustomerOfVariant, int]:
        """Units that customers hold and own of limited variants; who has none is left out."""
        ...

    async def instructions(self, movement_ids: Sequence[bytes]) -> dict[bytes, Instruction]:
        """The movements that were asked for, by id; unknown ones are left out."""
        ...


class StockSweep(Protocol):
    """Finds reservations that nobody will ask for again."""

    async def abandoned(
        self, *, orphaned_for_s: float, limit: int
    ) -> list[tuple[bytes, bytes, bool]]:
        """(reservation_id, inventory_id, overdue): active ones whose time is over, or that have
        been there for `orphaned_for_s` without a pending order."""
        ...


class StockInBook(Protocol):
    """What operators have asked for. Raises Unavailable."""

    async def pending(self, limit: int) -> list[Movement]:
        """Movements that nobody has carried out or refused, oldest first."""
        ...

    async def refuse(self, movement_id: bytes, refusal: str) -> None:
        """It will not be carried out, and why."""
        ...

    async def follow_up(self, limit: int) -> None:
        """Ask for the arrival of what has left, and close the orders that were received."""
        ...

    async def reloads(self, limit: int) -> list[tuple[bytes, datetime]]:
        """Pairs whose rules have changed, and when that was said."""
        ...

    async def reloaded(self, inventory_id: bytes, asked_at: datetime) -> None:
        """The owner has seen what was said until then."""
        ...

    async def reorder(self, limit: int) -> int:
        """Make purchase orders for pairs that have run low and have none; how many."""
        ...


class StockReclaim(Protocol):
    """Takes pairs from an owner that is gone."""

    async def reclaim(self, owner: str) -> list[bytes]:
        """Fence a dedicated owner out for good and take its pairs home; which they were."""
        ...


class PlacementBook(Protocol):
    """Where pairs are, and where operators want them. Raises Unavailable."""

    async def dedicated(self) -> dict[bytes, str]:
        """The pairs that have an owner of their own, and its name."""
        ...

    async def wishes(self) -> list[Wish]:
        """What operators want now, oldest first."""
        ...


class OwnerHost(Protocol):
    """Where owners run as processes. Raises Unavailable."""

    async def running(self) -> set[str]:
        """The names of the owners that are there, whether they answer or not."""
        ...

    async def start(self, owner: str) -> None:
        """Start a dedicated owner, or find it running; returns when it answers."""
        ...

    async def stop(self, owner: str) -> None:
        """End a dedicated owner that has no pairs."""
        ...

    async def replace(self, owner: str) -> None:
        """End an owner that hangs; a new incarnation starts by itself."""
        ...

    async def ping(self, owners: Sequence[str], timeout_s: float) -> list[bool | None]:
        """For each: True if it answers in time, None if it is known to be starting."""
        ...


FraudNote = tuple[UUID, float, str, tuple[str, ...], Mapping[str, Any]]
"""(order, score, action, flags, `FraudScore.explained`)."""


class OrderBook(Protocol):
    """Orders and payments, in batches. Raises Unavailable when it cannot be reached."""

    async def record(self, drafts: Sequence[OrderDraft]) -> list[HistoryOfCustomer | RecordedOrder]:
        """Write pending orders with their payments, before anything else happens.

        For each draft: the customer's history if it was written (also by an earlier try), or
        the order that the idempotency key already belongs to (P6).
        """
        ...

    async def confirm(self, confirmations: Sequence[tuple[UUID, OutboxEvent]]) -> list[str]:
        """Order confirmed, payment captured, reservations allocated, event in the outbox.

        One transaction; each order as a whole or not at all. Answers each order's status.
        """
        ...

    async def note_fraud(self, scores: Sequence[FraudNote]) -> None:
        """Keep the fraud score of orders that were not simply approved."""
        ...

    async def fail(
        self, failures: Sequence[tuple[UUID, Mapping[str, Any], Mapping[str, str]]]
    ) -> list[str]:
        """Open orders become failed with (problem, status of each charge by its id).

        A charge that is not named was voided. Answers each order's status, `FAILED_BEFORE` if
        it had failed already: then another problem may be on record.
        """
        ...

    async def fail_review(
        self, order_id: UUID, failure: Mapping[str, Any], decision: ReviewDecision | None = None
    ) -> str:
        """An order in review becomes failed; any other stays as it is. Answers its status.

        `decision` is the operator's who declined it; without one, nobody decided in time.
        """
        ...

    async def park(self, parkings: Sequence[Parking]) -> list[str]:
        """Pending orders wait from now on. Answers each order's status.

        An order that has moved on meanwhile is left alone, and its status told.
        """
        ...

    async def withdraw(self, order_ids: Sequence[UUID]) -> None:
        """Forget pending orders for which nothing was held and nothing charged: their keys are
        free again."""
        ...

    async def by_key(self, user_id: UUID, key: str) -> RecordedOrder | None:
        """The order of an idempotency key."""
        ...

    async def find(self, order_id: UUID, user_id: UUID) -> StoredOrder | None:
        """One order of its buyer, with its lines."""
        ...

    async def holds_of(self, order_id: UUID) -> list[tuple[bytes, bytes]]:
        """(reservation_id, inventory_id) of what an order still only holds."""
        ...

    async def stalled(self, older_than: datetime, limit: int) -> list[OpenOrder]:
        """Pending orders that were recorded before `older_than`, oldest first."""
        ...

    async def waiting(
        self, now: datetime, looked_at_before: datetime, limit: int
    ) -> list[OpenOrder]:
        """Orders that wait and are due to be looked at: their time is over, a provider has told
        of them, or nobody has looked since. They count as looked at `now`."""
        ...

    async def open_by_charge(self, transaction_id: str) -> OpenOrder | None:
        """The order of a charge, in whatever state it is; None if no charge has this id."""
        ...

    async def open_by_id(self, order_id: UUID) -> OpenOrder | None:
        """An order with its payments, in whatever state it is."""
        ...

    async def switch_gateway(self, transaction_id: str, gateway: str, age_max_s: float) -> bool:
        """Another provider will be asked for a charge that was made nowhere yet.

        False if its order is not pending any more, or older than `age_max_s`: then recovery may
        be at it.
        """
        ...

    async def events_settled(self, received_before: datetime) -> None:
        """Webhooks of orders that do not wait any more are done with."""
        ...


class RefundBook(Protocol):
    """Refunds that were asked for. Raises Unavailable when it cannot be reached."""

    async def create(self, draft: RefundDraft) -> RefundRecord | RefundRefusal | None:
        """Write down a refund that is allowed, once per idempotency key; None without the order.

        From then on its amount counts as given back, so no two come to more than was captured.
        """
        ...

    async def due(self, looked_at_before: datetime, limit: int) -> list[Refund]:
        """Refunds with parts that are neither done nor refused, the longest unseen first.

        They count as looked at now.
        """
        ...

    async def settle(
        self,
        refund: Refund,
        done: Collection[UUID],
        refused: Mapping[UUID, str],
        event: OutboxEvent,
    ) -> None:
        """Note what became of parts, by payment; with the last one, the event is written."""
        ...


class ReviewBook(Protocol):
    """Orders that operators decide about. Raises Unavailable when it cannot be reached."""

    async def find(self, order_id: UUID) -> Review | None:
        """An order that was put up for review, in whatever state it is; None for any other."""
        ...

    async def accept(
        self, order_id: UUID, decision: ReviewDecision, charge_until: datetime
    ) -> None:
        """An order in review, whose time is not over, becomes accepted; else nothing changes.

        It waits until `charge_until` at least for being charged.
        """
        ...


class Leases(Protocol):
    """Who does what only one may do at a time."""

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease; False while somebody else has it. Raises Unavailable."""
        ...


class PaymentProvider(Protocol):
    """Holds and takes money. Every call names the charge by our own id and may be repeated.

    All calls of a charge carry the same ChargeRequest. Each raises Unavailable when no answer
    came: it may or may not have happened. NotReached when it certainly did not.
    """

    @property
    def name(self) -> str:
        """How payments.gateway calls it."""
        ...

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        """Hold the money; `captured` at once where the means of payment knows no hold.

        Repeated for a charge that exists, it changes nothing and tells its state.
        """
        ...

    async def capture(self, charge: ChargeRequest) -> ChargeState:
        """Take what is held, all of it; a charge that is not held stays as it is."""
        ...

    async def void(self, charge: ChargeRequest) -> ChargeState:
        """Drop the hold; a charge that does not exist yet can never be made afterwards.

        What was captured stays so: the answer tells, and a refund gives it back.
        """
        ...

    async def refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        """Give back a part or all of what was taken, once per refund id.

        RefundRefused if it is more than what is left of the charge, or nothing was taken.
        """
        ...

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        """What the provider knows of a charge; None if it was never made."""
        ...


class PaymentForecast(Protocol):
    """A provider that can tell, before it is asked for money, that there is none to be had."""

    async def foresee(self, charges: Sequence[ChargeRequest]) -> str | None:
        """The decline code of the first charge that could not be held now; None: all could.

        Nothing is held or kept by it: a charge may still be declined. Raises Unavailable.
        """
        ...


class WebhookSource(Protocol):
    """A provider that tells by itself when something happens to a charge."""

    def event(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """The event of a webhook's request. `headers` by lower-case name.

        ForgedEvent if the signature does not match or is too old; ValueError for a body that
        is no event.
        """
        ...


class MethodVault(Protocol):
    """A provider that keeps means of payment for later."""

    async def save_method(self, payer: str, token: str) -> SavedMethod | None:
        """Keep a means of payment for a customer; None if the provider does not know the token.

        `payer` is our customer's id; repeated, it gives the same. Raises Unavailable.
        """
        ...

    async def detach_method(self, payer: str, token: str) -> None:
        """Let go of what `save_method` kept; what is not kept (any more) is let go of already.

        Charges that were made with it can still be captured and refunded. Raises Unavailable.
        """
        ...


class EventBus(Protocol):
    """Where the outbox goes."""

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        """At least once (P9). Raises Unavailable."""
        ...


class Outbox(Protocol):
    """Events written with the change they tell of."""

    async def unpublished(self, limit: int) -> list[OutboxEvent]:
        """The oldest events that no one has confirmed to have published."""
        ...

    async def mark_published(self, event_ids: Collection[UUID]) -> None:
        """They have reached the bus."""
        ...


class TaxService(Protocol):
    """Tax rates by destination, from a table or from outside. Raises Unavailable.

    An implementation that falls back to a table says so in the answer's `source`.
    """

    async def rates(self, questions: Sequence[TaxQuestion]) -> list[TaxAnswer]:
        """An answer to each question, in their order; one call for many orders."""
        ...


class PromotionBook(Protocol):
    """Uses of promotions, counted under concurrency. Raises Unavailable."""

    async def redeem_many(self, redemptions: Sequence[Redemption]) -> list[RedemptionOutcome]:
        """Count the uses of many orders, each as a whole or not at all.

        In the order given: the first ones get what is left. The same order again, with the same
        promotions, is answered as before and counted once. An order whose uses were given back
        gets none again.
        """
        ...

    async def give_back(self, order_ids: Collection[UUID]) -> int:
        """The orders' uses are free again; how many were. Again, or of unknown orders: nothing."""
        ...

    async def return_orphans(self, older_than: datetime, limit: int) -> int:
        """Give back the uses of orders that failed or never came to be; how many were.

        `older_than` must lie before any order that may still be about to be recorded.
        """
        ...
