"""Reloading of a policy file while the server runs: checked at most once a second, by whichever request comes next.

A change is applied as a whole or not at all. Each worker checks for itself, so all of them have applied it about a
second after the file was replaced.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from ratelimit_kit.census import version_of
from ratelimit_kit.core.events import Event
from ratelimit_kit.core.fork import with_lock
from ratelimit_kit.errors import OptionError, RateLimitKitError, ReloadError
from ratelimit_kit.outage import Outcomes
from ratelimit_kit.web.policy.config import check_path, fixed_part, read_file, renewed_by
from ratelimit_kit.web.policy.ruleset import OwnOutage, RuleSet
from ratelimit_kit.web.policy.startup import wrong_rules
from ratelimit_kit.web.rules.rule import Rule

RECHECK_SECONDS = 1.0
"""Minimum time between two checks of the file."""

MAX_DECORATED = 100
"""Rules of decorators and throttles whose outcome in an outage is remembered; there may be any number of them."""

_PICTURE = re.compile(r":\n.*\n *\^ ")

Signature = tuple[int, int, int] | None


class PolicyFile:
    """A policy's file; `known` are the valid options, `seen` is the file's signature from *before* `config` was read.

    With a later signature, a change during the start would go unnoticed and never be applied.
    """

    def __init__(self, path: str | Path, config: Mapping[str, Any], known: Iterable[str], seen: Signature) -> None:
        self.path = Path(path)
        self._known = known
        self._fixed = fixed_part(config)
        self._seen = seen
        self._lock = Lock()
        with_lock.add(self)
        self.next_check = time.monotonic() + RECHECK_SECONDS

    def changed(self, ruleset: RuleSet, check: Callable[[RuleSet], None]) -> RuleSet | ReloadError | None:
        """The new rule set if it passes `check`, else the error; None if the file has not changed."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self.next_check = time.monotonic() + RECHECK_SECONDS
            now = signature(self.path)
            if now == self._seen:
                return None
            self._seen = now
            return self._read(ruleset, check)
        finally:
            self._lock.release()

    def _read(self, ruleset: RuleSet, check: Callable[[RuleSet], None]) -> RuleSet | ReloadError:
        try:
            config = read_file(self.path)
            renewed = renewed_by(config, self._known, ruleset)
            check(renewed)
        except RateLimitKitError as error:
            return self._refusal(_in_one_line(error))
        fixed = fixed_part(config)
        for name in sorted({*fixed, *self._fixed}):
            if fixed.get(name) != self._fixed.get(name):
                return self._refusal(f"{name!r} cannot change while the server runs: restart it, or undo the change")
        return renewed

    def _refusal(self, reason: str) -> ReloadError:
        return ReloadError(
            f"the policy file {str(self.path)!r} has changed and cannot be applied: {reason}. The current rules stay in force"
        )


def _in_one_line(error: RateLimitKitError) -> str:
    """The message for a log: without its own code, and without the picture that shows the place of a mistake."""
    return _PICTURE.sub(": ", str(error).removesuffix(f" [{error.rlk}]"))


def signature(path: str | Path) -> Signature:
    """The metadata that change when a file is written or replaced; None if there is no file."""
    try:
        found = check_path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class RulesInForce:
    """The current rule set, which is replaced as a whole when the file that it follows changes.

    `outcomes` are what happens under its rules in an outage, and under those of decorators that were bound so far.
    """

    __slots__ = ("_decorated", "_file", "_ruleset", "outcomes")

    def __init__(self, ruleset: RuleSet) -> None:
        self._file: PolicyFile | None = None
        self._decorated: dict[str, OwnOutage] = {}
        self._apply(ruleset)

    def bind(self, rule: Rule, name: str) -> None:
        """Check a decorator's rule against the policy; it belongs to the rules in force from now on."""
        self.now().check_rule(rule, name)
        if not rule.shadow and len(self._decorated) < MAX_DECORATED:
            self._decorated[name] = rule.on_outage, rule.fallback
            self._apply(self._ruleset)

    def follow(self, file: PolicyFile) -> None:
        """Reload the rules when this file changes."""
        self._file = file

    def now(self) -> RuleSet:
        """The current rule set, reloaded if its file has changed."""
        file = self._file
        if file is not None and time.monotonic() >= file.next_check:
            self._renew(file)
        return self._ruleset

    def _apply(self, ruleset: RuleSet) -> None:
        self._ruleset = ruleset
        self.outcomes: Outcomes = ruleset.outcomes(self._decorated)
        ruleset.store.outages.outcomes = self.outcomes
        ruleset.store.local.census.version = version_of(
            f"{bound.name} {limit}" for bound in ruleset.matching.rules for limit in bound.rule.limits
        )

    def _renew(self, file: PolicyFile) -> None:
        found = file.changed(self._ruleset, self._check)
        if found is not None:
            before = self._ruleset
            if isinstance(found, RuleSet):
                self._apply(found)
            before.store.observer.on_event(_event(file, before, found))

    def _check(self, renewed: RuleSet) -> None:
        """Raise the error that would refuse a start with this rule set, as far as it shows without the network."""
        if renewed.matching.messages and not self._ruleset.matching.messages:
            raise OptionError("rules for WebSocket messages are new, and need a restart")
        for found in wrong_rules(renewed):
            raise found


def _event(file: PolicyFile, before: RuleSet, found: RuleSet | ReloadError) -> Event:
    """The event that reports a changed file to the operator."""
    policy = before.name
    if isinstance(found, ReloadError):
        return Event("policy-not-reloaded", str(found), logging.ERROR, {"error": found.rlk, "policy": policy})
    message = (
        f"the policy file {str(file.path)!r} has changed: mode {found.mode}, {len(found.matching.rules)} rules in force"
    )
    fresh = list(_new_counters(before, found))
    if fresh:
        message += f". These count from zero, by another window or algorithm: {'; '.join(fresh)}"
    return Event("policy-reloaded", message, logging.WARNING, {"policy": policy, "mode": found.mode})


def _new_counters(before: RuleSet, after: RuleSet) -> Iterator[str]:
    """The rules of the same name whose limits do not go on from what was counted."""
    known = {bound.name: {limit.counter for limit in bound.rule.limits} for bound in before.matching.rules}
    for bound in after.matching.rules:
        kept = known.get(bound.name, set())
        fresh = [str(limit) for limit in bound.rule.limits if limit.counter not in kept]
        if kept and fresh:
            yield f"rule {bound.name!r} ({'; '.join(fresh)})"
