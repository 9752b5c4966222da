"""The checks of `doctor`, in the order in which deployments fail.

The start-up checks are the policy's own; the others query the live store. If the store's server does not reply, checks
that need it are skipped, not passed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from ratelimit_kit.cli.doctor.fixes import fix_of_call
from ratelimit_kit.cli.doctor.host import on_this_host
from ratelimit_kit.cli.findings import CHECKS, Finding, of_error
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.environment import WORKERS
from ratelimit_kit.errors import RateLimitKitError, StartupRefused, StoreError, StoreUnreachableError
from ratelimit_kit.guard import platforms
from ratelimit_kit.guard.workers.count import declared
from ratelimit_kit.stores import Charge, Scope, Store, open_store, with_defaults
from ratelimit_kit.web.policy.policy import Policy
from ratelimit_kit.web.rules.rule import Rule

LOOKS: Final = 200
"""Number of decisions that are timed."""

PATIENCE: Final = 3.0
"""Maximum duration of that timing, in seconds."""

SLOW: Final = 0.05
"""Seconds above which the 99th percentile is worth a warning: a fifth of a store's default deadline."""

LIBRARIES: Final = {"RedisStore": "redis", "MemcachedStore": "pymemcache"}

OF_THE_SERVER: Final = ("primary", "eviction", "clock", "counting", "script", "latency")
OF_THE_HOST: Final = ("counting", "script", "latency")

THROW_AWAY: Final = SlidingWindow(1, 60)


UNANSWERED: Final = {
    "RedisStore": (
        "this user may not run INFO, or the server does not know it",
        "redis-cli acl setuser NAME +info; of a managed server, look it up in its console",
    ),
    "MemcachedStore": (
        "the server does not answer stats",
        "a proxy that passes `stats` on, or look it up on the servers themselves",
    ),
}
"""Why something was not checked on a server that leaves a command out, and what to do then, by store."""


def checkup(config: Mapping[str, Any], *, bare: bool, platform: platforms.Finding | None = None) -> Iterator[Finding]:
    """Run every check of a configuration, for a start on a platform; a `bare` one has a store and no rules."""
    try:
        policy = _with_store_of(config) if bare else Policy.from_config(config)
        static = list(policy.findings(live=False, platform=platform))
    except RateLimitKitError as error:
        yield of_error(error, _fix_of_start(error))
        return
    if bare:
        yield Finding("configuration", "skip", "no policy was given: only the store is checked")
    elif not any(CHECKS.get(error.rlk) is None for error in static):
        yield Finding("configuration", "pass", "the rules are " + ", ".join(named.name for named in policy.rules))
    yield _library(policy.store)
    yield from (of_error(error) for error in static)
    if not any(CHECKS.get(error.rlk) in {"workers", "platform"} for error in static):
        yield _workers(policy.store, config)
    if not bare:
        yield from _outages(policy)
    yield from _live(policy, {error.rlk for error in static}, bare=bare)
    with contextlib.suppress(StoreError, StartupRefused):
        policy.store.close()


def _with_store_of(config: Mapping[str, Any]) -> Policy:
    """A policy for a store that was named on the command line: RATELIMIT_KIT_STORE must not override it."""
    return Policy(Rule("100/minute"), **{**config, "store": open_store(config["store"])})


def _fix_of_start(error: RateLimitKitError) -> str:
    return str(error).rpartition(": ")[2].removesuffix(f" [{error.rlk}]") if error.rlk == "RLK105" else ""


def _library(store: Store) -> Finding:
    package = LIBRARIES.get(type(store).__name__)
    if package is None:
        return Finding("client library", "pass", f"{type(store).__name__} needs none")
    with contextlib.suppress(PackageNotFoundError):
        return Finding("client library", "pass", f"{package} {version(package)}")
    return Finding("client library", "pass", f"{package}, of an unknown version")


def _workers(store: Store, config: Mapping[str, Any]) -> Finding:
    """Whether the declared workers fit the store; several workers on a per-process store are reported elsewhere."""
    text, given = os.environ.get(WORKERS, ""), config.get("workers")
    if text and given is not None and text != str(given):
        found = f"workers={given} is configured, and the environment has {WORKERS}={text}: the former is used"
        return Finding("workers", "warn", found, f"one number: unset {WORKERS}, or remove workers from the policy")
    if store.scope is Scope.SHARED:
        return Finding("workers", "pass", "the store is shared by all workers")
    if store.scope is Scope.HOST:
        return Finding("workers", "pass", "the store is shared by all workers of this machine")
    if config.get("allow_per_process"):
        found = "allow_per_process is set: each client gets its quota from every worker"
        return Finding("workers", "warn", found, 'store = "redis://127.0.0.1:6379/0" in the policy')
    word = declared(given)
    if word is None:
        found = f"{type(store).__name__} counts per process, and the number of workers is not known"
        return Finding("workers", "warn", found, "ratelimit-kit doctor ... --workers N, with the N of production")
    return Finding("workers", "pass", f"{word.found}, so counting per process is exact")


def _outages(policy: Policy) -> Iterator[Finding]:
    """What happens to requests while the store is away, for each outcome that the rules in force have."""
    outcomes = policy.outcomes
    groups = outcomes.groups()
    if not outcomes.enforced:
        yield Finding("outage", "pass", f"while the store is away, {outcomes}")
        return
    for meanwhile, names in groups.items():
        where = f" (for {', '.join(names)})" if len(groups) > 1 else ""
        found = f"on_outage={meanwhile.on_outage!r}{where}: while the store is away, {meanwhile}"
        if meanwhile.on_outage == "allow":
            fix = 'on_outage = "local", so that each process goes on counting in its memory'
            yield Finding("outage", "low", found, fix)
        elif meanwhile.on_outage == "raise":
            found += ". A middleware raises outside of the application's error handlers: the visitor gets 500"
            yield Finding("outage", "low", found, 'on_outage = "deny", which responds with 503, or "local"')
        else:
            yield Finding("outage", "pass", found)


def _live(policy: Policy, known: set[str], *, bare: bool) -> Iterator[Finding]:
    """The findings that only the live store can show."""
    store = policy.store
    try:
        store.ping()
        facts = with_defaults(store).facts()
        yield Finding("server", "pass", f"{store!r} answers" + (f": {facts['server']}" if "server" in facts else ""))
        if store.scope is Scope.HOST:
            yield from on_this_host(facts)
        with _silence():
            errors = [error for error in policy.findings(live=True) if error.rlk not in known]
    except (StoreError, StartupRefused) as error:
        yield _unanswered(store, error)
        reason = "was refused" if isinstance(error, StartupRefused) else "does not answer"
        yield from (
            Finding(check, "skip", f"not checked: the store {reason}")
            for check in (OF_THE_HOST if store.scope is Scope.HOST else OF_THE_SERVER)
        )
        return
    refused = {error.rlk for error in errors}
    yield from (_of_finding(store, error) for error in errors)
    yield from _of_facts(facts, refused, type(store).__name__)
    if store.scope is Scope.HOST and "max_bytes" not in facts:  # the application makes its file, with its own max_keys
        yield from (Finding(check, "skip", "not checked: there is no file yet") for check in OF_THE_HOST)
    else:
        yield from _counting(store)
    if not bare:
        yield from _census(policy)


def _census(policy: Policy) -> Iterator[Finding]:
    """Who serves by this policy at this moment, as the processes tell each other in a shared store."""
    seen = policy.health().checks["workers"][0]
    if policy.store.scope is Scope.SHARED and "processes" not in seen:
        found = f"no process serves by the policy {policy.name!r} in this store; one counts after its first request"
        yield Finding("census", "skip", found, "the name of the application's policy: name=")
    elif "processes" in seen:
        number, hosts, versions = (seen[name] for name in ("processes", "hosts", "versions"))
        found = f"serving by the policy {policy.name!r}: {number} processes, on {hosts} host" + (
            "" if hosts == 1 else "s"
        )
        if versions > 1:
            found += f", with {versions} versions of its limits"
            fix = "wait for the deployment to end; two sites on one store need two names: name="
            yield Finding("census", "warn", found, fix, "RLK260")
        elif seen["status"] != "pass":
            yield Finding(
                "census", "warn", f"{found}; {seen['output']}", "no declared number: the store counts", "RLK264"
            )
        else:
            yield Finding("census", "pass", found)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the library from logging what the report says."""
    log = logging.getLogger("ratelimit_kit")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)


def _of_finding(store: Store, error: RateLimitKitError) -> Finding:
    """The finding for a policy's error; the store has replied, so "unreachable" means that it gave no decision."""
    if isinstance(error, StoreUnreachableError):
        return replace(of_error(error, fix_of_call(store, str(error), error.__cause__)), check="script")
    return of_error(error)


def _unanswered(store: Store, error: RateLimitKitError) -> Finding:
    finding = of_error(error, "" if isinstance(error, StartupRefused) else fix_of_call(store, str(error), error))
    return Finding("cache" if error.rlk == "RLK203" else "server", "fail", finding.found, finding.fix, error.rlk)


def _of_facts(facts: Mapping[str, Any], refused: set[str], store: str) -> Iterator[Finding]:
    """A finding for each fact that the server reports about itself and that no error concerns."""
    for name, code, said in (
        ("role", "RLK205", "primary: accepts writes"),
        ("eviction", "RLK251", "maxmemory-policy {}: no counter is evicted"),
        ("evictions", "RLK251", "no item has been evicted so far"),
        ("clock_offset", "RLK253", "{:+.3f} s from this machine's clock"),
    ):
        if name not in facts or code in refused:
            continue
        if facts[name] is None:
            reason, fix = UNANSWERED[store]
            yield Finding(CHECKS[code], "warn", f"not checked: {reason}", fix)
        else:
            yield Finding(CHECKS[code], "pass", said.format(facts[name]))


def _counting(store: Store) -> Iterator[Finding]:
    """Make two real hits on a unique key: the first must be admitted, the second refused. Then remove the key."""
    charge = Charge(f"doctor:{secrets.token_hex(8)}", THROW_AWAY, 1)
    try:
        admitted = [store.decide([charge])[0].allowed for _ in range(2)]
        yield _script(store)
        if admitted == [True, False]:
            yield Finding("counting", "pass", "of two hits under 1/minute one was admitted; the key was removed")
        else:
            found = f"the decisions for two hits under 1/minute were {admitted}: this store does not keep its data"
            yield Finding("counting", "fail", found, "a store that is not flushed, and that does not evict")
        yield _latency(store, charge._replace(cost=0))
    except StoreError as error:
        found = str(error).removesuffix(f" [{error.rlk}]")
        yield Finding("counting", "fail", found, fix_of_call(store, found, error), error.rlk)
        yield Finding("latency", "skip", "not checked: the store gives no decision")
    finally:
        with contextlib.suppress(StoreError):
            store.reset([charge])


def _script(store: Store) -> Finding:
    how = {
        "HostStore": "record locks work",
        "RedisStore": "the Lua script runs on the server",
        "MemcachedStore": "compare-and-set works",
    }
    return Finding("script", "pass", how.get(type(store).__name__, "decisions are made in one step"))


def _latency(store: Store, peek: Charge) -> Finding:
    end = time.perf_counter() + PATIENCE
    took: list[float] = []
    while len(took) < LOOKS and (begun := time.perf_counter()) < end:
        store.decide([peek])
        took.append(time.perf_counter() - begun)
    took.sort()
    half, most = took[len(took) // 2], took[min(len(took) - 1, len(took) * 99 // 100)]
    found = f"p50 {half * 1000:.2f} ms, p99 {most * 1000:.2f} ms over {len(took)} decisions"
    if most > SLOW:
        return Finding(
            "latency", "warn", found, "a store in the same network as the application, with its own processor"
        )
    return Finding("latency", "pass", found)
