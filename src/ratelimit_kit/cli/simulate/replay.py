"""The replay of an access log: the log's times drive the clock of a memory store; rules decide as on a live site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from ratelimit_kit.cli.simulate.access_log import Hit
from ratelimit_kit.cli.simulate.report import Report
from ratelimit_kit.stores.keys import scoped
from ratelimit_kit.stores.memory.store import MemoryStore
from ratelimit_kit.web.callables import called
from ratelimit_kit.web.http.messages import Request, Response
from ratelimit_kit.web.rules.charges import RuleCharges
from ratelimit_kit.web.rules.matching import Matching

NAMESPACE: Final = "simulate"


class Replay:
    """Decides the requests of a log at the times in the log; pass them to `hit` in the order of their times."""

    def __init__(self, matching: Matching) -> None:
        self.report = Report()
        self._matching = matching
        self._store = MemoryStore(max_keys=2**62, clock=lambda: self.report.now * 1_000_000_000)

    def hit(self, hit: Hit) -> None:
        """Decide one request at its time."""
        report = self.report
        report.meet(hit)
        charges = self._matching.charges(_request(hit))
        if not charges.by_rule:
            return
        report.matched += 1
        clients = {_client(one) for one in charges.by_rule}
        report.by_client.update(clients)
        refusals = {str(charge.limit) for one in charges.impossible for charge in one.charges}
        if not refusals:
            verdicts = self._store.decide(charges.charges)
            refusals = {str(verdict.limit) for verdict in verdicts if not verdict.allowed}
            if not refusals:
                self._give_back(hit, charges.by_rule, verdicts[0].charged_at)
                return
        report.deny(hit, clients, refusals)

    def _give_back(self, hit: Hit, by_rule: Sequence[RuleCharges], charged_at: int) -> None:
        """Refund the hits that a rule does not count, judging by the status in the log."""
        for one in by_rule:
            counts = one.rule.rule.counts
            if counts is not None and not called(counts, Response(hit.status, {})):
                self._store.refund(one.charges, charged_at)


def _client(one: RuleCharges) -> str:
    """The client's identity under the rule, without the namespace and the rule's name."""
    return one.charges[0].key.removeprefix(scoped(NAMESPACE, scoped(one.rule.name, "")))


def _request(hit: Hit) -> Request:
    headers = {"user-agent": hit.agent, "referer": hit.referer}
    path = unquote(hit.path)
    return Request(method=hit.method, path=path, peer=hit.address, headers=headers, raw=hit, user=lambda: hit.user)
