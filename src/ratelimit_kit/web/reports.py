"""What an operator hears of a policy at work: decisions for those who count them, shadow refusals, a proxy overlooked."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.event import Decided, Event
from ratelimit_kit.errors import UntrustedProxyWarning
from ratelimit_kit.gate import Gate
from ratelimit_kit.web.claims import Claim
from ratelimit_kit.web.identity import ClientAddress, parse_address
from ratelimit_kit.web.request import Request

FIRST = 200
"""Requests of a process that are looked at for a proxy that nobody trusts."""


class Reports:
    """Tells the observers of a gate.

    `counting` is true when one of them wants every decision, `wary` while a proxy may still be overlooked.
    """

    def __init__(self, gate: Gate, name: str) -> None:
        self._observer = gate.observer
        self._name = name
        self._store = type(gate.store).__name__
        self.counting = self._observer.counting
        self._left = FIRST
        self.wary = True

    def count(self, claims: Sequence[Claim], decision: Decision, seconds: float, *, shadow: bool) -> None:
        """One report for each rule."""
        took: float | None = seconds
        for claim, verdicts in _parts(claims, decision):
            names = self._name, claim.rule.name, self._store
            self._observer.on_decision(Decided.of(names, decision, verdicts, took, shadow=shadow))
            took = None  # the store was asked once, for all rules together

    def tell_of_shadow(self, claims: Sequence[Claim], decision: Decision) -> None:
        """Say which rules would have refused a request that nobody refuses."""
        if decision.allowed:
            return
        for claim, verdicts in _parts(claims, decision):
            limits = [str(verdict.limit) for verdict in verdicts if not verdict.allowed]
            if limits:
                message = f"shadow: rule {claim.rule.name!r} would have refused a request ({'; '.join(limits)})"
                facts = {"policy": self._name, "rule": claim.rule.name}
                self._observer.on_event(Event("shadow-denied", message, logging.WARNING, facts))

    def look(self, address: ClientAddress, request: Request) -> None:
        """Say once that a proxy seems to stand in front: then all clients share its address, and its quota."""
        self._left -= 1
        self.wary = self._left > 0
        if not address.trusts_nobody or address.header not in request.headers:
            return
        peer = parse_address(request.peer or "")
        if peer is None or peer.is_private:
            self.wary = False
            where = str(peer or "a UNIX socket")
            warning = UntrustedProxyWarning(
                f"a request came from {where} with the field {address.header}, as from a proxy, and no proxy is trusted: "
                f'by key="ip" all its clients are one. Write trusted_proxies=["{where if peer else "unix"}"], or remove '
                "the field before it gets here"
            )
            self._observer.on_event(
                Event("untrusted-proxy", str(warning), logging.WARNING, {"warning": warning.rlk, "policy": self._name})
            )


def _parts(claims: Sequence[Claim], decision: Decision) -> Iterator[tuple[Claim, Sequence[Verdict]]]:
    at = 0
    for claim in claims:
        yield claim, decision.verdicts[at : at + len(claim.charges)]
        at += len(claim.charges)
