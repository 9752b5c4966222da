"""What a policy reports to observers: decisions, refusals by shadow rules, and proxies that are not configured."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.events import Decided, Event
from ratelimit_kit.errors import MissingFieldWarning, StartupWarning, UntrustedProxyWarning
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.identity.address import ClientAddress, parse_address
from ratelimit_kit.web.rules.charges import RuleCharges

LOOKED_AT_REQUESTS = 200
"""Number of requests per process that are checked for a misconfigured proxy."""

SILENT_REQUESTS = 20
"""Number of requests in a row without a trusted proxy's field after which it is assumed to send none."""


class Asked(list[tuple[Sequence[RuleCharges], Decision, float, bool]]):
    """What the store was asked for a request: charges, its decision, how many seconds it took, and whether in shadow.

    `impossible` are charges of shadow rules that are not asked for, because they cost more than their limits ever admit.
    """

    impossible: Sequence[RuleCharges] = ()


class Reports:
    """Reports to the observers of a store.

    `counting` is true if one of them wants every decision, `wary` while requests are checked for a misconfigured proxy.
    """

    def __init__(self, store: GuardedStore, name: str) -> None:
        self._observer = store.observer
        self._name = name
        self._store = type(store.store).__name__
        self.counting = self._observer.counting
        self._left = LOOKED_AT_REQUESTS
        self._silent = 0
        self._seen: Sequence[object] = ()
        self.wary = True

    def report(self, asked: Asked) -> None:
        """Report what the store was asked for a request: first the enforced rules, then those in shadow."""
        for charges, decision, seconds, shadow in asked:
            if shadow:
                self.tell_of_impossible(asked.impossible, shadow=True)
                asked.impossible = ()
            if self.counting:
                self._count(charges, decision, seconds, shadow=shadow)
            if shadow:
                self._tell_of_shadow(charges, decision)
        self.tell_of_impossible(asked.impossible, shadow=True)

    def _count(
        self, charges: Sequence[RuleCharges], decision: Decision, seconds: float | None, *, shadow: bool
    ) -> None:
        """Report a decision once per rule; `seconds` is the time that the store took, None if it was not asked."""
        took = seconds
        for one, verdicts in _parts(charges, decision):
            names = self._name, one.rule.name, self._store
            self._observer.on_decision(Decided.of(names, decision, verdicts, took, shadow=shadow))
            took = None  # the store was asked once, for all rules together

    def _tell_of_shadow(self, charges: Sequence[RuleCharges], decision: Decision) -> None:
        """Report which rules would have refused a request, were they not in shadow mode."""
        if decision.allowed:
            return
        for one, verdicts in _parts(charges, decision):
            limits = [str(verdict.limit) for verdict in verdicts if not verdict.allowed]
            if limits:
                message = f"shadow: rule {one.rule.name!r} would have refused a request ({'; '.join(limits)})"
                facts = {"policy": self._name, "rule": one.rule.name}
                self._observer.on_event(Event("shadow-denied", message, logging.WARNING, facts))

    def tell_of_impossible(self, charges: Sequence[RuleCharges], *, shadow: bool) -> None:
        """Report which rules refuse (or, in shadow, would refuse) a request that costs more than they ever admit."""
        for one in charges:
            verdicts = [Verdict(False, charge.limit, 0, 0, 0) for charge in one.charges]
            decision = Decision(verdicts)
            if self.counting:
                self._count([one], decision, None, shadow=shadow)
            if shadow:
                self._tell_of_shadow([one], decision)

    def notice_proxy(self, address: ClientAddress, request: Request) -> None:
        """Warn once about a proxy that is not trusted or sends no field: all its clients share an address and quota."""
        if request.already_charged is self._seen:  # a decorator, after the middleware
            return
        self._seen = request.already_charged
        self._left -= 1
        self.wary = self._left > 0
        if not address.trusts_nobody:
            self._look_for_silence(address, request)
        elif address.header in request.headers:
            self._tell_of_proxy(address, request)

    def _look_for_silence(self, address: ClientAddress, request: Request) -> None:
        """Warn about a trusted proxy that sends no field, so that all its clients share one address."""
        if not address.is_trusted(request):
            return
        self._silent = 0 if address.header in request.headers else self._silent + 1
        if self._silent < SILENT_REQUESTS:
            return
        self.wary = False
        self._warn(
            "missing-field",
            MissingFieldWarning(
                f"{SILENT_REQUESTS} requests in a row came from the trusted proxy {request.peer or 'on a UNIX socket'} without the field "
                f'{address.header}: by key="ip" all its clients count as one. Let the proxy send it (nginx: proxy_set_header '
                "X-Forwarded-For $proxy_add_x_forwarded_for), and the server keep it (waitress: --trusted-proxy-headers)"
            ),
        )

    def _tell_of_proxy(self, address: ClientAddress, request: Request) -> None:
        peer = parse_address(request.peer or "")
        if peer is None or peer.is_private:
            self.wary = False
            where = str(peer or "a UNIX socket")
            self._warn(
                "untrusted-proxy",
                UntrustedProxyWarning(
                    f"a request came from {where} with the field {address.header}, as from a proxy, but no proxy is trusted: "
                    f'by key="ip" all its clients count as one. Write trusted_proxies=["{where if peer else "unix"}"], or remove '
                    "the field before it gets here"
                ),
            )

    def _warn(self, name: str, warning: StartupWarning) -> None:
        facts = {"warning": warning.rlk, "policy": self._name}
        self._observer.on_event(Event(name, str(warning), logging.WARNING, facts))


def _parts(charges: Sequence[RuleCharges], decision: Decision) -> Iterator[tuple[RuleCharges, Sequence[Verdict]]]:
    at = 0
    for one in charges:
        yield one, decision.verdicts[at : at + len(one.charges)]
        at += len(one.charges)
