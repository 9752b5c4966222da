"""Turns decisions into results: rate-limit fields for the response, or a refusal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import LimitExceeded, OptionError
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.outage import is_local
from ratelimit_kit.web.callables import AtOnce, acalled, called, check_callable
from ratelimit_kit.web.http.messages import Header, Headers, Request
from ratelimit_kit.web.response.denial import Denial, Own, Respond, say
from ratelimit_kit.web.response.headers import (
    FAMILIES,
    Aged,
    Family,
    Item,
    OneLimit,
    exposing,
    is_shared,
    no_fields,
    retry_after,
    strictness,
)
from ratelimit_kit.web.response.result import (
    PASS,
    CheckResult,
    DirectResponse,
    Passed,
    PendingRefund,
    Shown,
    ShownTogether,
)
from ratelimit_kit.web.rules.charges import RequestCharges

_REASONS = {413: "Content Too Large", 429: "Too Many Requests", 503: "Service Unavailable"}


class _Usual(AtOnce):
    """A denial without anything of the policy's own."""

    def __call__(self, denial: Denial) -> None: ...


_USUAL = _Usual()


class Responder:
    """Turns the decisions of one policy on `store` into results; the options are those of Policy."""

    def __init__(
        self, store: GuardedStore, *, headers: str, expose_headers: bool, denial: Respond | None, cost_status: int
    ) -> None:
        if type(cost_status) is not int or cost_status not in {429, 413}:
            raise OptionError(f"cost_status must be 429 or 413 (Content Too Large), got {cost_status!r}")
        if not isinstance(headers, str) or headers not in FAMILIES:
            raise OptionError(f"headers={headers!r} is not a family of fields; {nearest(headers, FAMILIES)}")
        if denial is not None and not callable(denial):
            raise OptionError(f"denial must be a callable that takes the Denial and returns the body, got {denial!r}")
        self._store = store
        self._fields = FAMILIES[headers]
        self._shows_one = isinstance(self._fields, OneLimit)
        self._expose = expose_headers
        self._denial = _USUAL if denial is None else check_callable("denial", denial, "denial")
        self._cost_status = cost_status

    def allowed(self, request: Request, charges: RequestCharges, decision: Decision) -> CheckResult:
        """The result for a request that the enforced rules admitted."""
        if decision.degraded:  # there are no fields, but local counters may get their charges back
            return self.watched(PASS, charges, decision)
        fields = self._fields if charges.plain else partial(_shown, self._fields)
        shown = Shown(_items(charges, decision), self._store.backend.elapsed_clock)
        together = self._together(request, shown) if self._shows_one else None
        return Passed(
            shown,
            fields,
            self._store,
            _pending(charges, decision, shown=True) if charges.counted else [],
            self._is_exposed(request),
            together,
        )

    def watched(self, result: CheckResult, charges: RequestCharges, decision: Decision) -> CheckResult:
        """The result so far, with pending refunds of charges that no field shows, such as those of shadow rules."""
        pending = _pending(charges, decision, shown=False)
        if not pending:
            return result
        if isinstance(result, Passed):
            result.pending = [*result.pending, *pending]
            return result
        return Passed(Shown([], self._store.backend.elapsed_clock), no_fields, self._store, pending, exposed=False)

    def denied(self, request: Request, charges: RequestCharges, decision: Decision) -> CheckResult:
        """The result for a request that was refused."""
        denial, limits = self._denial_of(request, charges, decision)
        return self._refusal(denial, limits, called(self._denial, denial))

    async def adenied(self, request: Request, charges: RequestCharges, decision: Decision) -> CheckResult:
        """Do what `denied` does."""
        denial, limits = self._denial_of(request, charges, decision)
        return self._refusal(denial, limits, await acalled(self._denial, denial))

    def too_costly(self, request: Request, charges: RequestCharges) -> CheckResult:
        """The result for a request that costs more than a limit can ever admit, so that no wait helps."""
        denial = self._costly(request, charges)
        return self._refusal(denial, [], called(self._denial, denial))

    async def atoo_costly(self, request: Request, charges: RequestCharges) -> CheckResult:
        """Do what `too_costly` does."""
        denial = self._costly(request, charges)
        return self._refusal(denial, [], await acalled(self._denial, denial))

    def exceeded(self, request: Request, error: LimitExceeded) -> CheckResult:
        """The result for a request in which a function was refused by its own limit."""
        denial = _of_function(request, error)
        return self._refusal(denial, [], called(self._denial, denial))

    async def aexceeded(self, request: Request, error: LimitExceeded) -> CheckResult:
        """Do what `exceeded` does."""
        denial = _of_function(request, error)
        return self._refusal(denial, [], await acalled(self._denial, denial))

    def _denial_of(
        self, request: Request, charges: RequestCharges, decision: Decision
    ) -> tuple[Denial, Sequence[Header]]:
        """The denial, and the fields of its limits."""
        quota = not decision.degraded or is_local(decision)
        items = [] if decision.degraded else _items(charges, decision)
        if not charges.plain:
            items = _merged(items)
        names = [name for name, verdict in items if not verdict.allowed]
        limits: list[Header] = []
        if items:
            shown = Shown(items, self._store.backend.elapsed_clock)
            together = self._together(request, shown) if self._shows_one else None
            limits = self._fields(items, 0, together.beside(shown) if together else ())
            if together:
                together.written.update(limits)
        wait = decision.retry_after
        return Denial(request, 429 if quota else 503, names, wait, wait == math.inf), limits

    def _costly(self, request: Request, charges: RequestCharges) -> Denial:
        names = list(dict.fromkeys(name for one in charges.impossible for name in one.items if name))
        return Denial(request, self._cost_status, names, math.inf)

    def _refusal(self, denial: Denial, limits: Sequence[Header], own: Own) -> CheckResult:
        status, data, fields = say(denial, own)
        if denial.request.method == "HEAD":
            data = b""
        if denial.helps:
            fields = [*fields, retry_after(denial.retry_after)]
        if not (300 <= status < 400 or is_shared(Headers(lambda: fields))):
            fields = [*fields, *limits]
            if self._is_exposed(denial.request):
                fields.append(exposing(limits))
        return DirectResponse(status, _REASONS.get(status, "Refused"), _once(fields), data)

    def _together(self, request: Request, shown: Shown) -> ShownTogether:
        """All decisions about the request, of which the family shows one; this one is added."""
        charged = request.already_charged
        together: ShownTogether | None = getattr(charged, "shown", None)
        if together is None:
            together = charged.shown = ShownTogether()
        together.beside(shown)
        return together

    def _is_exposed(self, request: Request) -> bool:
        return self._expose and "origin" in request.headers


def _of_function(request: Request, error: LimitExceeded) -> Denial:
    wait = 1.0 if error.decision is None else error.decision.retry_after
    return Denial(request, 503 if error.uncounted else 429, [], wait, wait == math.inf)


def _pending(charges: RequestCharges, decision: Decision, *, shown: bool) -> list[PendingRefund]:
    """The refunds that depend on the response; `shown` is true if its fields mention these charges."""
    if not decision.allowed or (decision.degraded and not is_local(decision)):
        return []
    return [
        PendingRefund(
            counts,
            one.charges,
            Decision(decision.verdicts[at : at + len(one.charges)], decision.degraded),
            at if shown else None,
        )
        for counts, one, at in charges.counted
    ]


def _items(charges: RequestCharges, decision: Decision) -> list[Item]:
    return list(zip(charges.names, decision.verdicts, strict=True))


def _merged(items: Sequence[Item]) -> list[Item]:
    """One item per name that is shown; among several identities under one rule, the strictest verdict."""
    merged: dict[str, Verdict] = {}
    for name, verdict in items:
        other = merged.get(name)
        if name and (other is None or strictness(verdict) < strictness(other)):
            merged[name] = verdict
    return list(merged.items())


def _shown(fields: Family, items: Sequence[Item], age: int, beside: Sequence[Aged]) -> list[Header]:
    merged = _merged(items)
    return fields(merged, age, beside) if merged else []


def _once(fields: Sequence[Header]) -> list[Header]:
    """The fields, each name once: a custom denial may already have set one of ours."""
    seen: dict[str, Header] = {}
    for field in fields:
        seen.setdefault(field[0].lower(), field)
    return list(seen.values())
