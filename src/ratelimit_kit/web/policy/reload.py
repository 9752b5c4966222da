"""A policy's file, looked at again while the server runs: at most once a second, by whichever request comes then.

A change is applied as a whole or not at all. Several workers look each for itself, so that all have
followed about a second after the file was replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from ratelimit_kit.errors import RateLimitKitError, ReloadError
from ratelimit_kit.web.policy.config import plan_of, read_file, rest_of
from ratelimit_kit.web.policy.ruleset import Plan

LOOK = 1.0
"""Seconds between two looks at the file."""

Signature = tuple[int, int, int] | None


class PolicyFile:
    """The file of a policy with that name; `seen` is its signature from *before* `config` was read.

    A change during the start would otherwise be taken for what was read, and never be applied.
    """

    def __init__(
        self, path: str | Path, config: Mapping[str, Any], known: Iterable[str], namespace: str, seen: Signature
    ) -> None:
        self.path = Path(path)
        self._known = known
        self._namespace = namespace
        self._rest = rest_of(config)
        self._seen = seen
        self._lock = Lock()
        self.next_look = time.monotonic() + LOOK

    def changed(self, check: Callable[[Plan], None]) -> Plan | ReloadError | None:
        """A new plan that passes `check`, or why there is none; None where the file is as it was."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self.next_look = time.monotonic() + LOOK
            now = signature(self.path)
            if now == self._seen:
                return None
            self._seen = now
            return self._read(check)
        finally:
            self._lock.release()

    def _read(self, check: Callable[[Plan], None]) -> Plan | ReloadError:
        try:
            config = read_file(self.path)
            plan = plan_of(config, self._known, self._namespace)
            check(plan)
        except RateLimitKitError as error:
            return self._refusal(str(error))
        rest = rest_of(config)
        for name in sorted({*rest, *self._rest}):
            if rest.get(name) != self._rest.get(name):
                return self._refusal(
                    f"{name!r} cannot change while the server runs: restart it, or take the change back"
                )
        return plan

    def _refusal(self, reason: str) -> ReloadError:
        return ReloadError(
            f"the policy file {str(self.path)!r} has changed and cannot be applied: {reason}. The rules that were in force stay"
        )


def signature(path: str | Path) -> Signature:
    """What changes when a file is written or replaced; None where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
