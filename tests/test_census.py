"""The census: what entries tell, when a process writes its own, and what it does about other versions."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Sequence
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from ratelimit_kit import Charge, Limiter, MemoryStore, Policy, Rule, Scope, parse
from ratelimit_kit import census as module
from ratelimit_kit.census import BEAT_SECONDS, LASTS_SECONDS, Population, counted, version_of
from ratelimit_kit.errors import StoreError, StoreUnavailableError
from ratelimit_kit.guard.workers.count import Workers
from ratelimit_kit.guard.workers.uwsgi import AfterRequests
from ratelimit_kit.outage import local as local_module
from ratelimit_kit.outage.local import LocalCounters
from ratelimit_kit.outage.policy import Meanwhile
from ratelimit_kit.web.policy.policy import ended
from tests.clusters import wait_until
from tests.guard import in_child


class Shared(MemoryStore):
    """A store that all share, with a census of its own."""

    scope = Scope.SHARED

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[str] = []
        self.calls: list[tuple[str, str, float]] = []
        self.away = False

    def census(self, name: str, entry: str, seconds: float) -> Sequence[str]:
        if self.away:
            raise StoreUnavailableError("away")
        self.calls.append((name, entry, seconds))
        if entry in self.entries and not seconds:
            self.entries.remove(entry)
        elif entry and entry not in self.entries:
            self.entries.append(entry)
        return list(self.entries)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: time[0])
    monkeypatch.setattr(module, "tested", lambda: False)
    monkeypatch.setattr(module.Background, "start", lambda _: False)  # as where there are no threads
    return time


def policy(store: Shared, *limits: str, **options: Any) -> Policy:
    return Policy(Rule(*(limits or ["1000/minute"])), store=store, **options)


def decide(made: Policy) -> None:
    from ratelimit_kit.wsgi import RateLimitMiddleware
    from tests.test_wsgi import call, hello

    call(RateLimitMiddleware(hello, made))


def test_entries_are_counted_by_process_host_and_version() -> None:
    assert counted([]) == Population(0, 0, 0)
    assert counted(["a:x:1", "b:x:1", "c:y:2", "what others write", "a:x:1"]) == Population(3, 2, 2)


def written(store: Shared) -> list[tuple[str, float]]:
    """The names and the seconds of the entries that were written."""
    return [(name, seconds) for name, entry, seconds in store.calls if entry]


def test_a_process_writes_its_entry_before_its_first_decision_and_every_ten_seconds(clock: list[float]) -> None:
    store = Shared()
    made = policy(store)
    assert store.calls == []
    for _ in range(3):
        decide(made)
    assert written(store) == [("web", LASTS_SECONDS)]
    for passed in (1.6, 3.1, BEAT_SECONDS - 4.8):
        clock[0] += passed
        decide(made)
    assert len(written(store)) == 1
    assert len(store.calls) == 3  # others that started with it were not there yet
    clock[0] += 0.2
    decide(made)
    assert len(written(store)) == 2
    assert len({entry for _, entry, _ in store.calls if entry}) == 1


def test_with_a_thread_no_later_decision_asks(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Background, "start", lambda _: True)
    store = Shared()
    made = policy(store)
    decide(made)
    assert not made._store.guard.alert
    assert store.calls == []
    census = made._store.local.census
    assert census.work() == pytest.approx(1.5)
    clock[0] += 1.5
    assert census.work() == pytest.approx(3.0)
    clock[0] += 3.0
    assert census.work() == pytest.approx(5.5)
    assert len(written(store)) == 1


def test_a_policy_that_is_dropped_beats_no_more() -> None:
    made = policy(Shared())
    reference = module.weakref.ref(made._store.local.census)
    assert module._work(reference) is not None
    del made
    gc.collect()
    assert module._work(reference) is None


class Uwsgi(SimpleNamespace):
    """The module of a uWSGI worker."""

    def __init__(self, **options: bytes) -> None:
        super().__init__(opt={name.replace("_", "-"): value for name, value in options.items()}, worker_id=lambda: 1)


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> Uwsgi:
    found = Uwsgi()
    monkeypatch.setitem(sys.modules, "uwsgi", found)
    monkeypatch.setattr(module, "uwsgi", AfterRequests(module.beat_all))
    return found


def test_a_uwsgi_without_threads_beats_after_a_response(clock: list[float], uwsgi: Uwsgi) -> None:
    order: list[str] = []
    uwsgi.after_req_hook = lambda: order.append("the application's")
    store = Shared()
    made = policy(store)
    census = made._store.local.census
    assert census.begin()
    assert store.calls == []
    uwsgi.after_req_hook()
    assert order == ["the application's"]
    assert len(written(store)) == 1


def test_where_something_else_takes_its_place_a_decision_does_it(clock: list[float], uwsgi: Uwsgi) -> None:
    store = Shared()
    made = policy(store)
    uwsgi.after_req_hook = lambda: None
    assert not made._store.local.census.begin()
    assert len(written(store)) == 1


def test_a_uwsgi_with_threads_needs_no_hook(clock: list[float], uwsgi: Uwsgi) -> None:
    uwsgi.opt["enable-threads"] = b"true"
    policy(Shared())
    assert not hasattr(uwsgi, "after_req_hook")


def test_the_largest_number_of_the_last_seconds_is_believed(clock: list[float]) -> None:
    """After a store has lost its data, and right after a start, the others are not there yet."""
    store = Shared()
    made = policy(store)
    store.entries = ["a:x:1", "b:x:1", "c:x:1"]
    decide(made)
    census = made._store.local.census
    assert census.size == 4
    store.entries.clear()
    for _ in range(2):
        clock[0] += BEAT_SECONDS
        decide(made)
        assert census.population == Population(1, 1, 1)
        assert census.size == 4
    clock[0] += BEAT_SECONDS
    decide(made)
    assert census.size == 1


def test_more_processes_than_are_declared_are_told_of_after_a_restart(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    store = Shared()
    made = policy(store, workers=2)
    store.entries = ["a:x:1", "b:x:1"]
    decide(made)
    assert made.health().checks["workers"][0]["status"] == "warn"
    assert "RLK264" in made.health().checks["workers"][0]["output"]
    assert made._store.local.workers == 3
    for _ in range(2):
        clock[0] += BEAT_SECONDS
        decide(made)
    assert "RLK264" not in caplog.text
    for _ in range(3):
        clock[0] += BEAT_SECONDS
        decide(made)
    assert caplog.text.count("[RLK264]") == 1
    assert "workers=2 is declared" in caplog.text


def test_a_store_that_cannot_keep_a_census_is_told_of_once(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(Shared):
        def census(self, name: str, entry: str, seconds: float) -> Sequence[str]:
            raise StoreError("NOPERM this user has no permissions")

    made = policy(Refusing())
    for _ in range(3):
        clock[0] += BEAT_SECONDS
        decide(made)
    assert caplog.text.count("the census of the processes that serve cannot be kept") == 1


def test_what_leaves_does_not_come_back(clock: list[float]) -> None:
    store = Shared()
    made = policy(store)
    decide(made)
    assert len(store.entries) == 1
    asyncio.run(ended(made))
    assert store.entries == []
    module.beat_all()
    assert store.entries == []


def test_health_shows_who_serves_without_taking_part(clock: list[float]) -> None:
    store = Shared()
    store.entries = ["a:x:1", "b:y:1"]
    made = policy(store)
    assert made.health().checks["workers"] == [
        {"componentType": "system", "observedValue": 2, "processes": 2, "hosts": 2, "versions": 1, "status": "pass"}
    ]
    assert [entry for _, entry, _ in store.calls] == [""]


async def test_and_so_does_the_async_api(clock: list[float]) -> None:
    store = Shared()
    store.entries = ["a:x:1", "b:y:1", "c:y:1"]
    assert (await policy(store).ahealth()).checks["workers"][0]["processes"] >= 3


def test_another_version_is_told_of_once(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    store = Shared()
    made = policy(store, "5/minute")
    other = policy(store, "6/minute")
    decide(made)
    assert "RLK260" not in caplog.text
    store.entries.append(f"another:host:{other._store.local.census.version}")
    for _ in range(3):
        clock[0] += BEAT_SECONDS
        decide(made)
    assert caplog.text.count("[RLK260]") == 1
    assert "processes with different limits count under the name 'web'" in caplog.text
    assert "2 versions in 2 processes on 2 hosts" in caplog.text


def test_the_same_limits_are_one_version_in_any_order() -> None:
    assert version_of(["a", "b"]) == version_of(["b", "a"]) != version_of(["a", "c"])
    versions = [
        policy(Shared(), *limits)._store.local.census.version for limits in (["5/minute"], ["5/minute"], ["6/minute"])
    ]
    assert versions[0] == versions[1] != versions[2]


def test_in_an_outage_nothing_happens_and_the_last_number_stays(clock: list[float]) -> None:
    store = Shared()
    made = policy(store)
    decide(made)
    store.away = True
    clock[0] += BEAT_SECONDS
    decide(made)
    made._store.local.census.look()
    made._store.local.census.leave()
    assert made._store.local.census.population == Population(1, 1, 1)


def test_a_process_that_ends_takes_its_entry_back(clock: list[float]) -> None:
    store = Shared()
    made = policy(store)
    decide(made)
    assert len(store.entries) == 1
    module._leave()
    assert store.entries == []


def test_a_changed_policy_takes_the_place_of_the_old_entry(clock: list[float]) -> None:
    store = Shared()
    made = policy(store)
    decide(made)
    made._store.local.census.version = "changed"
    clock[0] += BEAT_SECONDS
    decide(made)
    assert [entry.rpartition(":")[2] for entry in store.entries] == ["changed"]


def test_a_forked_child_is_a_process_of_its_own(clock: list[float]) -> None:
    store = Shared()
    made = policy(store)
    decide(made)

    def child() -> int:
        assert made._store.guard.alert
        decide(made)
        return len(store.entries)

    assert in_child(child) == "2"
    assert module._identity


def test_the_share_of_an_outage_is_by_the_census(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy(Shared())
    local = LocalCounters(None, made._store.local.census)
    assert local.workers is None
    made._store.local.census._see([f"{number}:x:1" for number in range(12)])
    assert local.workers == 12
    assert LocalCounters(4, made._store.local.census).workers == 12  # the larger one: no limit is exceeded
    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", "16")
    assert local.workers == 16


def test_a_share_is_no_smaller_than_that_of_the_workers_which_the_server_shows(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first to serve has not seen the others yet."""
    made = policy(Shared(), on_outage="local-share")
    monkeypatch.setattr(local_module, "detected", lambda: Workers(4, "gunicorn is starting 4 workers"))
    decide(made)
    assert made._store.local.census.size == 1
    assert made._store.local.workers == 4


def test_a_share_follows_the_census_from_one_outage_to_the_next(clock: list[float]) -> None:
    store = Shared()
    made = policy(store, "40/minute", on_outage="local-share")
    decide(made)
    meanwhile = Meanwhile("local-share")

    def admitted() -> int:
        clock[0] += 2
        return sum(made._store.local.decide([Charge("k", parse("40/minute")[0])], meanwhile).allowed for _ in range(50))

    assert admitted() == 40
    store.entries += ["a:x:1", "b:x:1", "c:x:1"]
    clock[0] += BEAT_SECONDS
    decide(made)
    made._store.local.forget([Charge("k", parse("40/minute")[0])], meanwhile)
    assert admitted() == 10


def test_stores_that_count_per_process_and_limiters_have_no_census() -> None:
    for store in (Policy(Rule("5/minute"))._store, Limiter("5/minute", store=Shared())._store):
        assert store.guard.when_serving is None
        store.measure()
        assert store.local.census.population is None


def test_tests_do_not_take_part() -> None:
    store = Shared()
    decide(policy(store))
    assert store.calls == []


def test_who_asks_for_health_and_decides_nothing_does_not_serve(clock: list[float]) -> None:
    """Doctor, for example."""
    store = Shared()
    health = policy(store).health()
    assert store.entries == []
    assert "processes" not in health.checks["workers"][0]


def test_each_policy_has_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not answer holds up no other's entry."""
    monkeypatch.setattr(module, "tested", lambda: False)
    go_on = Event()

    class Silent(Shared):
        def census(self, name: str, entry: str, seconds: float) -> Sequence[str]:
            go_on.wait(10)
            return super().census(name, entry, seconds)

    silent, other = policy(Silent()), policy(Shared(), name="other")
    try:
        for made in (silent, other):
            decide(made)
            assert not made._store.guard.alert
        wait_until(lambda: other._store.local.census.size == 1)
    finally:
        go_on.set()
        for made in (silent, other):
            made._store.local.census.leave()
