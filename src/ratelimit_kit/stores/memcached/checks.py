"""What Memcached servers report about themselves, and what of it is worth a warning."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ratelimit_kit.errors import ClockOffsetWarning, EvictionWarning, StartupWarning

MAX_OFFSET_SECONDS = 2.0
"""How far two clocks may differ before it is worth a warning; Memcached reports whole seconds."""

Stats = Mapping[str, Mapping[str, str]]
"""The statistics of each server, by its name."""


def warnings(stats: Stats) -> Iterator[StartupWarning]:
    """Problems found with the servers."""
    for name, one in stats.items():
        offset = _offset(one)
        if abs(offset) > MAX_OFFSET_SECONDS:
            yield ClockOffsetWarning(
                f"the clock of Memcached {name} is about {abs(offset):.0f} s "
                f"{'ahead of' if offset > 0 else 'behind'} this machine's: hits are timed by the application's "
                "machines, and if those differ too a window may be short by as much. Run NTP on all of them"
            )
        if evictions := _number(one, "evictions"):
            yield EvictionWarning(
                f"Memcached {name} has evicted {evictions} items to make room: clients whose counters are among them start "
                "with a full quota. Give the counters a Memcached of their own, with more memory (-m)"
            )


def facts(stats: Stats) -> dict[str, Any]:
    """Facts about the servers, for people: versions, evictions, and the largest clock offset in seconds."""
    versions = {f"memcached {one.get('version', 'of an unknown version')}" for one in stats.values()}
    return {
        "server": ", ".join(sorted(versions)) + (f" ({len(stats)} servers)" if len(stats) > 1 else ""),
        "evictions": sum(_number(one, "evictions") for one in stats.values()),
        "clock_offset": max((round(_offset(one), 1) for one in stats.values()), key=abs),
    }


def _offset(stats: Mapping[str, str]) -> float:
    """How many seconds the server's clock is ahead; 0 if it does not say."""
    return _number(stats, "time") + 0.5 - time.time() if "time" in stats else 0.0


def _number(stats: Mapping[str, str], name: str) -> int:
    """A statistic that is a whole number; 0 if the server (or a proxy in front of it) does not report it as one."""
    found = stats.get(name, "")
    return int(found) if found.isdecimal() and len(found) < 20 else 0
