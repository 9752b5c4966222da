"""The replay of an access log: the log's time drives the clock of a memory store, rules decide as on a site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote

from ratelimit_kit.cli.simulate.access_log import Hit, Malformed, said
from ratelimit_kit.cli.terminal import shown
from ratelimit_kit.stores.keys import scoped
from ratelimit_kit.stores.memory.store import MemoryStore
from ratelimit_kit.web.callables import called
from ratelimit_kit.web.http.messages import Request, Response
from ratelimit_kit.web.policy.ruleset import Plan
from ratelimit_kit.web.rules.charges import Claim

KEPT: Final = 5
"""Malformed lines that are shown."""

WIDTH: Final = 100
"""Characters of a malformed line that are shown."""


NAMESPACE: Final = "simulate"


class Replay:
    """What a log would have met with; feed it with `hit` and `skip`, in the order of the log."""

    def __init__(self, plan: Plan) -> None:
        self.requests = self.matched = self.denied = self.disordered = self.malformed = 0
        self.begin: int | None = None
        self.now = 0
        self.first: Hit | None = None
        self.by_limit: Counter[str] = Counter()
        self.by_client: Counter[str] = Counter()
        self.denied_by_client: Counter[str] = Counter()
        self.shown: list[Malformed] = []
        self._plan = plan
        self._store = MemoryStore(max_keys=2**62, clock=lambda: self.now * 1_000_000_000)

    def skip(self, line: Malformed) -> None:
        """Take note of a line that is no request."""
        self.malformed += 1
        if len(self.shown) < KEPT:
            self.shown.append(line)

    def hit(self, hit: Hit) -> None:
        """Decide one request at its time; time never runs backwards, as in a store."""
        self.requests += 1
        self.disordered += hit.time < self.now
        self.now = max(self.now, hit.time)
        if self.begin is None:
            self.begin = hit.time
        claims = self._plan.claims(_request(hit), self._plan.rules)
        if not claims.all:
            return
        self.matched += 1
        clients = {_client(claim) for claim in claims.all}
        self.by_client.update(clients)
        refusals = {str(charge.limit) for claim in claims.beyond for charge in claim.charges}
        if not refusals:
            verdicts = self._store.decide(claims.charges)
            refusals = {str(verdict.limit) for verdict in verdicts if not verdict.allowed}
            if not refusals:
                self._give_back(hit, claims.all, verdicts[0].stamp)
                return
        self.denied += 1
        self.first = self.first or hit
        self.denied_by_client.update(clients)
        self.by_limit.update(refusals)

    def _give_back(self, hit: Hit, claims: Sequence[Claim], stamp: int) -> None:
        """The hits that a rule does not count, by the status in the log."""
        for claim in claims:
            counts = claim.rule.rule.counts
            if counts is not None and not called(counts, Response(hit.status, {})):
                self._store.refund(claim.charges, stamp)

    def top(self, number: int) -> list[tuple[str, int, int]]:
        """The clients that would have been refused most: their key, their requests, their refusals."""
        return [(key, self.by_client[key], denied) for key, denied in self.denied_by_client.most_common(number)]

    def as_json(self, number: int) -> dict[str, Any]:
        """Everything for machines; times are seconds of the epoch."""
        return {
            "requests": self.requests,
            "matched": self.matched,
            "denied": self.denied,
            "clients": len(self.by_client),
            "clients_denied": len(self.denied_by_client),
            "begin": self.begin,
            "end": self.now if self.requests else None,
            "out_of_order": self.disordered,
            "malformed": self.malformed,
            "malformed_lines": [one._asdict() for one in self.shown],
            "denied_by_limit": dict(self.by_limit),
            "first_denied_line": self.first.number if self.first else None,
            "top": [{"key": key, "requests": hits, "denied": denied} for key, hits, denied in self.top(number)],
        }


def _client(claim: Claim) -> str:
    """The client as the rule counts him, without the names around him."""
    return claim.charges[0].key.removeprefix(scoped(NAMESPACE, scoped(claim.rule.name, "")))


def _request(hit: Hit) -> Request:
    headers = {"user-agent": hit.agent, "referer": hit.referer}
    path = unquote(hit.path)
    return Request(method=hit.method, path=path, peer=hit.address, headers=headers, raw=hit, user=lambda: hit.user)


def print_report(log: str, replay: Replay, top: int) -> None:
    """Print what was found, for people."""
    if replay.requests:
        print(
            f"{shown(log)}: {_number(replay.requests, 'request')} from {said(replay.begin or 0)} to {said(replay.now)}"
        )
        print(f"  judged       {replay.matched}, of {_number(len(replay.by_client), 'client')}")
        share = 100 * replay.denied / replay.matched if replay.matched else 0.0
        print(f"  refused      {replay.denied} ({share:.2f} %), of {_number(len(replay.denied_by_client), 'client')}")
    for limit, denied in replay.by_limit.most_common():
        print(f"  by           {limit}: {denied}")
    if replay.first is not None:
        print(f"  first        line {replay.first.number}, at {said(replay.first.time)}")
    if replay.disordered:
        print(f"  out of order {_number(replay.disordered, 'line')}: judged at the latest time seen before them")
    if replay.malformed:
        print(f"  malformed    {_number(replay.malformed, 'line')}, left out:")
        for number, line, reason in replay.shown:
            print(f"    line {number}: {reason}: {shown(line[:WIDTH])}")
    if replay.denied_by_client and top > 0:
        print("\n  refused  requests  client")
        for key, hits, denied in replay.top(top):
            print(f"  {denied:>7}  {hits:>8}  {shown(key)}")


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
