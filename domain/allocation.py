"""Splitting an amount over lines, to the minor unit: the parts always add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID


def allocate(
    total_minor: int, weights: Sequence[int], keys: Sequence[UUID] | Sequence[int]
) -> list[int]:
    """`total_minor` split in proportion to `weights`, by largest remainder.

    Each part is its exact share rounded down or up to a minor unit; the units that are left go to
    the largest fractions, of equal ones to the larger weight, then to the smaller key. So a line
    gets the same wherever it stands. A part is never above its weight if the total is not above
    the sum of the weights. With no weight at all there is nothing to split: the total must be 0.

    Source: the largest remainder method (Hamilton's).
    """
    if not total_minor:
        return [0] * len(weights)
    whole = sum(weights)
    assert whole > 0, "an amount needs something to be split over"
    if len(weights) == 1:
        return [total_minor]
    parts: list[int] = []
    fractions: list[int] = []
    left = total_minor
    for weight in weights:
        part, fraction = divmod(total_minor * weight, whole)
        parts.append(part)
        fractions.append(fraction)
        left -= part
    if left:
        ranked = sorted(
            range(len(weights)), key=lambda one: (-fractions[one], -weights[one], keys[one])
        )
        for one in ranked[:left]:
            parts[one] += 1
    return parts
