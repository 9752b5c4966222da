"""What a store decides on: charges of a cost to a key under a limit, and the checks that all stores share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ratelimit_kit.core.limit import Limit, check_units
from ratelimit_kit.errors import OptionError


class Charge(NamedTuple):
    """`cost` units of `limit`, charged to `key`: one counter for all limits that differ only in their number."""

    key: str
    limit: Limit
    cost: int = 1

    @property
    def counter(self) -> tuple[str, str]:
        """The key and limit that identify this charge's counter."""
        return self.key, self.limit.counter


def check_charges(charges: Sequence[Charge]) -> None:
    """Raise OptionError if the list names a counter twice, or a cost can never be admitted."""
    for charge in charges:
        charge.limit.check_cost(charge.cost)
    _check_counters(charges)


def check_refunds(charges: Sequence[Charge]) -> None:
    """Raise an error if the list names a counter twice, or a cost is not a whole number of 0 or more."""
    for charge in charges:
        check_units(charge.cost)
    _check_counters(charges)


def _check_counters(charges: Sequence[Charge]) -> None:
    if len(charges) > 1 and len({charge.counter for charge in charges}) < len(charges):
        raise OptionError(
            "two charges name the same counter: add their costs into one charge, or tell the second limit from the first "
            "by limit.counted_as(name)"
        )
