"""What is answered when a store fails: the policies that a user may choose, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from ratelimit_kit.core.decision import MICROSECONDS, Decision, Verdict
from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import OptionError
from ratelimit_kit.stores import Charge

OnOutage = Literal["raise", "allow", "deny", "local"]

RETRY = 1 * MICROSECONDS
"""The wait that a denial without a store can honestly ask for: by then an outage may be over."""


def outage_policy(word: str) -> OnOutage:
    """The word itself when it is an outage policy; OptionError when it is not."""
    if word not in get_args(OnOutage):
        raise OptionError(f"on_outage={word!r} is no outage policy; {nearest(str(word), get_args(OnOutage))}")
    return word  # type: ignore[return-value]


MEANWHILE: dict[OnOutage, str] = {
    "raise": "callers get this error",
    "allow": "requests are admitted without a count",
    "deny": "requests are refused",
    "local": "each process keeps to its share of the limits",
}
"""What happens during an outage, by policy."""


def refused(charges: Sequence[Charge]) -> Decision:
    """Everything refused, without a store."""
    return Decision([Verdict(False, charge.limit, 0, RETRY, RETRY) for charge in charges], degraded=True)
