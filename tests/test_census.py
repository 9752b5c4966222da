"""The census: what entries tell, when a process writes its own, and what it does about other versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ratelimit_kit import Limiter, MemoryStore, Policy, Rule, Scope
from ratelimit_kit import census as module
from ratelimit_kit.census import BEAT_SECONDS, LASTS_SECONDS, Population, counted, version_of
from ratelimit_kit.errors import StoreUnavailableError
from ratelimit_kit.outage.local import LocalCounters
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
    monkeypatch.setattr(module._heart, "start", lambda: False)  # as where there are no threads
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


def test_a_process_writes_its_entry_before_its_first_decision_and_every_ten_seconds(clock: list[float]) -> None:
    store = Shared()
    made = policy(store)
    assert store.calls == []
    for _ in range(3):
        decide(made)
    assert [(name, seconds) for name, _, seconds in store.calls] == [("web", LASTS_SECONDS)]
    clock[0] += BEAT_SECONDS - 0.1
    decide(made)
    assert len(store.calls) == 1
    clock[0] += 0.1
    decide(made)
    assert len(store.calls) == 2
    assert len(set(store.calls)) == 1


def test_once_the_thread_has_begun_no_later_decision_asks(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._heart, "start", lambda: True)
    store = Shared()
    made = policy(store)
    decide(made)
    assert made._store.guard.alert
    assert store.calls == []
    module._beat()  # what the thread does
    decide(made)
    assert not made._store.guard.alert
    assert len(store.calls) == 1


def test_a_thread_that_never_runs_is_not_waited_for(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """uWSGI without enable-threads."""
    monkeypatch.setattr(module._heart, "start", lambda: True)
    store = Shared()
    made = policy(store)
    for seconds in (0, module.PATIENCE_SECONDS, 1, BEAT_SECONDS):
        clock[0] += seconds
        decide(made)
    assert len(store.calls) == 2


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
    assert "processes with other limits count under the name 'web'" in caplog.text


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
    made._store.local.census.population = Population(12, 3, 1)
    assert local.workers == 12
    assert LocalCounters(4, made._store.local.census).workers == 4
    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", "6")
    assert local.workers == 6


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


def test_a_policy_that_begins_later_is_seen_by_the_thread_too(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its beats would be made by its decisions, on the event loop, for as long as the process lives."""
    monkeypatch.setattr(module._heart, "start", lambda: True)
    first, second = Shared(), Shared()
    one, other = policy(first), policy(second, name="other")
    decide(one)
    wait = module._beat()
    decide(other)
    clock[0] += wait
    assert wait < module.PATIENCE_SECONDS
    module._beat()
    decide(other)
    assert not other._store.guard.alert
    assert (len(first.calls), len(second.calls)) == (1, 1)
