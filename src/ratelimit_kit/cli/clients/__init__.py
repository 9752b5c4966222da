"""A client as a person names it, and the counters that the rules keep for it: for `inspect` and `reset`.

The person writes `203.0.113.7`, `user:42` or `header:x-api-key=...`; the text under which a rule counts is derived by
the rule's own key from a request of that client, so the two can never differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ratelimit_kit.cli.source import add_source, read_source
from ratelimit_kit.cli.terminal import shown
from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.grammar import read_limits
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import OptionError, StoreError
from ratelimit_kit.stores import Charge, Scope, Store, open_store
from ratelimit_kit.stores.keys import scoped, shortened
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.identity.address import ClientAddress, parse_address
from ratelimit_kit.web.identity.keys import identify
from ratelimit_kit.web.policy.policy import Policy
from ratelimit_kit.web.rules.charges import BoundRule
from ratelimit_kit.web.rules.rule import Rule

KEYS = """\
a client is named by what the rules count by:
  203.0.113.7 or ip:203.0.113.7      its address; IPv6 addresses are grouped as the policy does
  user:42                            a signed-in user, by the id in the framework
  header:x-api-key=-                 the value of a field; "-" reads it from standard input, so that a secret
                                     stays out of the shell's history
  cookie:session=-                   a cookie; path:tenant=acme or path:2=acme a part of the path
  user:42 ip:203.0.113.7             several, where a rule's key is a list
  --raw TEXT                         the exact text of a rule whose key is a callable ("key:" and what it returned)
With --store and --limit the key is the text that Limiter.hit was given, and --name the limiter's name.
"""


@dataclass(frozen=True, slots=True)
class Counter:
    """The counters of one rule for one client, as charges of cost 0: reading them writes nothing."""

    rule: str
    identity: str
    charges: list[Charge]

    def peek(self, store: Store) -> Decision:
        """How much of its quota the client has left now; a StoreError about a counter says whose it is."""
        try:
            verdicts = store.decide(self.charges)
        except StoreError as error:
            if type(error) is not StoreError:  # about the store
                raise
            raise StoreError(f"rule {self.rule!r}, key {self.identity!r}: {error}") from error
        return Decision([Verdict(one.wait == 0, one.limit, one.remaining, one.wait, one.reset) for one in verdicts])


def add_client(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a client and where it is counted."""
    parser.add_argument("key", nargs="*", metavar="KEY", help="the client, such as 203.0.113.7 or user:42")
    parser.add_argument("--raw", metavar="TEXT", help="the text of the key, exactly as it is counted")
    parser.add_argument("--rule", metavar="NAME", help="only this rule of the policy")
    parser.add_argument("--limit", action="append", default=[], metavar="LIMIT", help="a limiter's limit (repeatable)")
    parser.add_argument("--name", default="default", help="a limiter's name (default: default)")
    add_source(parser, positional=False)
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def counters(options: argparse.Namespace, *, shared: bool) -> tuple[Store, list[Counter]]:
    """The store and the client's counters there; OptionError if there is nothing to read.

    `shared` includes rules that count all clients together, even if they were not named.
    """
    if bool(options.key) == (options.raw is not None):
        raise OptionError("name one client: a KEY such as 203.0.113.7, or --raw TEXT")
    config = read_source(options)
    if options.store is None:
        policy = Policy.from_config(config)
        store, found = policy.store, list(_of_rules(policy, config, options, shared=shared))
    else:
        store, found = open_store(options.store), [_of_limiter(options)]
    if store.scope is Scope.PROCESS:
        raise OptionError(
            f"{store!r} counts inside each process, so its counters cannot be read from here. Use a shared store"
        )
    return store, found


def _of_limiter(options: argparse.Namespace) -> Counter:
    if not options.limit:
        raise OptionError("--store needs --limit too, as the limiter has it: --limit 100/minute")
    if options.raw is None and len(options.key) > 1:
        raise OptionError(f"a limiter takes one key, got {len(options.key)}")
    key = options.raw if options.raw is not None else options.key[0]
    text = scoped(options.name, shortened(key))
    return Counter(options.name, key, [Charge(text, limit, 0) for limit in read_limits(options.limit)])


def _of_rules(
    policy: Policy, config: Mapping[str, Any], options: argparse.Namespace, *, shared: bool
) -> Iterator[Counter]:
    names = [named.name for named in policy.rules]
    if options.rule is not None and options.rule not in names:
        raise OptionError(f"the policy has no rule {options.rule!r}; {nearest(options.rule, names)}")
    address = ClientAddress((), config.get("ipv6_prefix", 64))
    request = None if options.raw is not None else as_request(options.key)
    found = False
    for named in policy.rules:
        rule, name = named.rule, named.name
        if options.rule not in {None, name}:
            continue
        if request is not None and not _counts_by(rule, request.raw, shared=shared or options.rule is not None):
            if options.rule is not None:
                raise OptionError(f"the rule {name!r} counts by {_spelt(rule)}: name that, or give --raw TEXT")
            continue
        found = True
        for identity in [options.raw] if request is None else identify(rule.key, request, address):
            text = scoped(policy.name, scoped(name, shortened(identity)))
            yield Counter(name, identity, [Charge(text, limit, 0) for limit in _limits(rule, name, options.limit)])
        yield from _of_preflights(policy, named, request, address, options)
    if not found:
        raise OptionError(f"no rule counts by {' '.join(options.key)!r}: see the rules' keys, or give --rule NAME")


def _of_preflights(
    policy: Policy, named: BoundRule, request: Request | None, address: ClientAddress, options: argparse.Namespace
) -> Iterator[Counter]:
    """The counter for an address's CORS preflights, which every rule without methods has besides its own."""
    if named.preflights is None or request is None or "ip" not in request.raw:
        return
    name = named.preflights.name
    (identity,) = identify(named.preflights.rule.key, request, address)
    text = scoped(policy.name, scoped(name, identity))
    yield Counter(name, identity, [Charge(text, limit, 0) for limit in _limits(named.rule, name, options.limit)])


def _limits(rule: Rule, name: str, given: Sequence[str]) -> Sequence[Limit]:
    if rule.tiers is None:
        return rule.limits
    if not given:
        raise OptionError(f"the limits of the rule {name!r} come from a callable: give this client's with --limit")
    return read_limits(given)


def _spelt(rule: Rule) -> str:
    return " and ".join("a callable" if callable(part) else part for part in rule.key)


def _counts_by(rule: Rule, named: set[str], *, shared: bool) -> bool:
    """Whether a rule counts by something that was named; a client without the user or field is counted by address."""
    if rule.key == ("global",):
        return shared or "global" in named
    return all(not callable(part) and (part == "global" or part.lower() in named or "ip" in named) for part in rule.key)


def as_request(words: Sequence[str]) -> Request:
    """A request of the client that the words name; `raw` is the set of the kinds that they name."""
    peer: str | None = None
    user: str | None = None
    headers: dict[str, str] = {}
    params: dict[str, str] = {}
    named: set[str] = set()
    for word in words:
        kind, mark, value = word.partition(":")
        name, equals, field = value.partition("=")
        if word == "global":
            named.add("global")
        elif kind == "user" and value:
            user = value
            named.add("user")
        elif kind in {"header", "cookie", "path"} and equals:
            named.add(f"{kind}:{name}".lower())
            text = sys.stdin.readline().rstrip("\n") if field == "-" else field
            if kind == "path":
                params[name] = text
            else:
                headers |= {name.lower(): text} if kind == "header" else {"cookie": f"{name}={text}"}
        else:
            peer = _address(value if kind == "ip" and mark else word)
            named.add("ip")
    last = max([int(name) for name in params if name.isdigit()], default=0)
    path = "/" + "/".join(params.get(str(number), "-") for number in range(1, min(last, 99) + 1))
    return Request(
        method="GET", path=path, peer=peer, headers=headers, raw=named, user=lambda: user, path_params=lambda: params
    )


def _address(text: str) -> str:
    address, slash, _ = text.partition("/")
    if parse_address(address) is None:
        raise OptionError(
            f"{shown(text)!r} is not a client: write an address such as 203.0.113.7, user:ID, header:NAME=VALUE or global"
        )
    return address if slash else text
