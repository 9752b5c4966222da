"""What happens while a store does not decide: it is not called for a while, and `on_outage` decides instead."""

from ratelimit_kit.outage.local import LocalCounters, LocalVerdict, is_local
from ratelimit_kit.outage.outages import Outages, refused
from ratelimit_kit.outage.outcomes import Outcomes
from ratelimit_kit.outage.policy import (
    ALLOW,
    LOCAL,
    RAISE,
    Fallback,
    Meanwhile,
    OnOutage,
    fallback_limits,
    meanwhile,
    outage_policy,
    strictest,
)

__all__ = [
    "ALLOW",
    "LOCAL",
    "RAISE",
    "Fallback",
    "LocalCounters",
    "LocalVerdict",
    "Meanwhile",
    "OnOutage",
    "Outages",
    "Outcomes",
    "fallback_limits",
    "is_local",
    "meanwhile",
    "outage_policy",
    "refused",
    "strictest",
]
