"""What a serving process with a per-process store concludes about its siblings, and what it does then."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from ratelimit_kit import Limiter, MemoryStore, Policy, Rule
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.errors import LateWorkersError, OptionError
from ratelimit_kit.guard import abort, messages, process_guard, socket_locks
from ratelimit_kit.guard.worker_count import Workers
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.stores import Charge
from tests.test_wsgi import call

CHARGE = [Charge("k", SlidingWindow(1, 60))]


class World:
    """A fake of what a process sees around it."""

    def __init__(self) -> None:
        self.addresses = ["127.0.0.1:8000"]
        self.sibling: socket_locks.Sibling | None = None
        self.other_port: socket_locks.Sibling | None = None
        self.seen: Workers | None = None
        self.time = 100.0
        self.killed: list[tuple[int, int]] = []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class Timer:
        def __init__(self, seconds: float, function: Any, arguments: tuple[int, int]) -> None:
            self.start = lambda: function(*arguments)

    def sleep(seconds: float) -> None:
        world.time += seconds

    monkeypatch.setattr(process_guard, "detected", lambda: world.seen)
    monkeypatch.setattr(process_guard.time, "monotonic", lambda: world.time)
    monkeypatch.setattr(socket_locks, "listening_addresses", lambda: world.addresses)
    monkeypatch.setattr(socket_locks, "on_the_same_socket", lambda _: world.sibling)
    monkeypatch.setattr(socket_locks, "on_another_port", lambda: world.other_port)
    monkeypatch.setattr(abort.threading, "Timer", Timer)
    monkeypatch.setattr(abort.os, "kill", lambda pid, number: world.killed.append((pid, number)))
    monkeypatch.setattr("ratelimit_kit.guarded_store.sleep", sleep)
    monkeypatch.setattr(process_guard.per_request_limiters, "within_request", lambda: True)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    return world


SIBLING = socket_locks.Sibling(4711, 1, "127.0.0.1:8000")


def test_alone_on_its_socket_a_process_looks_for_a_while(world: World) -> None:
    guarded = GuardedStore("memory://", serves=True)
    assert guarded.guard.alert
    assert guarded.decide(CHARGE, "raise").allowed
    assert guarded.guard.alert
    world.time += process_guard.WATCH_SECONDS
    guarded.decide(CHARGE, "raise")
    assert not guarded.guard.alert


def test_a_socket_that_listens_late_is_found(world: World) -> None:
    guarded = GuardedStore("memory://", serves=True)
    assert guarded.guard.admits()
    world.sibling = SIBLING
    world.time += process_guard.RECHECK_SECONDS
    assert guarded.guard.admits() is None


def test_a_child_with_other_work_is_no_sibling(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_guard.per_request_limiters, "within_request", lambda: False)
    world.sibling = SIBLING
    assert Limiter("5/minute").hit("k").allowed
    assert world.killed == []


def test_a_process_with_a_sibling_refuses_says_so_once_and_ends(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.sibling = SIBLING
    guarded = GuardedStore("memory://", serves=True)
    for _ in range(3):
        decision = guarded.decide(CHARGE, "raise")
        assert (decision.allowed, decision.degraded) == (False, True)
    assert world.time >= 100 + process_guard.OVERLAP_SECONDS
    assert world.killed == [(os.getpid(), signal.SIGTERM)]
    assert caplog.text.count("[RLK202]") == 1
    assert "process 4711 serves the same application on 127.0.0.1:8000" in caplog.text
    assert len(guarded.store) == 0  # type: ignore[arg-type]


async def test_the_async_api_refuses_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def asleep(seconds: float) -> None:
        world.time += seconds

    monkeypatch.setattr("ratelimit_kit.guarded_store.asleep", asleep)
    world.sibling = SIBLING
    assert not (await GuardedStore("memory://", serves=True).adecide(CHARGE, "allow")).allowed


def test_a_sibling_that_is_about_to_end_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.sibling = SIBLING

    def sleep(seconds: float) -> None:
        world.time += seconds
        if world.time > 102:
            world.sibling = None

    monkeypatch.setattr("ratelimit_kit.guarded_store.sleep", sleep)
    guarded = GuardedStore("memory://", serves=True)
    assert guarded.decide(CHARGE, "raise").allowed
    assert world.killed == []


@pytest.mark.parametrize("on_unsafe", ["deny", "warn"])
def test_on_unsafe_decides_what_follows(world: World, on_unsafe: Any, caplog: pytest.LogCaptureFixture) -> None:
    world.sibling = SIBLING
    limiter = Limiter("5/minute", on_unsafe=on_unsafe)
    assert limiter.hit("k").allowed == (on_unsafe == "warn")
    assert f"By on_unsafe='{on_unsafe}'" in caplog.text
    assert world.killed == []


def test_a_process_that_is_alone_again_goes_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.sibling = SIBLING
    guarded = GuardedStore("memory://", on_unsafe="deny", serves=True)
    assert not guarded.decide(CHARGE, "raise").allowed
    world.sibling = None
    assert not guarded.decide(CHARGE, "raise").allowed  # it checks once per second
    world.time += process_guard.RECHECK_SECONDS
    assert guarded.decide(CHARGE, "raise").allowed
    assert "MemoryStore is used by one process again" in caplog.text


def test_a_process_that_listens_nowhere_is_looked_at_again_once_a_second(world: World) -> None:
    world.addresses = []
    guarded = GuardedStore("memory://", serves=True)
    assert guarded.decide(CHARGE, "raise").allowed
    world.addresses, world.sibling = ["127.0.0.1:8000"], SIBLING
    assert guarded.guard.admits()
    world.time += process_guard.RECHECK_SECONDS
    assert guarded.guard.admits() is None


def test_a_sibling_on_another_port_is_warned_of_after_some_patience(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.other_port = socket_locks.Sibling(4711, 1, "another port")
    guarded = GuardedStore("memory://", serves=True)
    assert guarded.decide(CHARGE, "raise").allowed
    assert guarded.guard.alert
    assert "RLK254" not in caplog.text
    world.time += process_guard.OVERLAP_SECONDS
    guarded.decide(CHARGE, "raise")
    assert caplog.text.count("[RLK254]") == 1


@pytest.mark.parametrize("options", [{"workers": 1}, {"allow_per_process": True}], ids=str)
def test_the_users_word_is_taken_without_a_socket_lock(world: World, options: Any) -> None:
    world.sibling = SIBLING
    assert GuardedStore("memory://", **options).decide(CHARGE, "raise").allowed


def test_an_accepted_multiple_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(messages, "_said", set())
    world.seen = Workers(4, "gunicorn is starting 4 workers")
    for _ in range(2):
        Limiter("5/minute", allow_per_process=True)
    said = "MemoryStore counts per process, and gunicorn is starting 4 workers. Each client gets up to 4 x its quota"
    assert caplog.text.count(said) == 1


def test_another_worker_of_the_same_server_is_its_predecessor(world: World) -> None:
    world.seen = Workers(1, "one")
    world.sibling = socket_locks.Sibling(4711, os.getppid(), "127.0.0.1:8000")
    assert GuardedStore("memory://", serves=True).decide(CHARGE, "raise").allowed
    world.sibling = SIBLING
    assert not GuardedStore("memory://", serves=True).decide(CHARGE, "raise").allowed


def test_a_server_that_forks_for_each_request_is_ended_itself(world: World) -> None:
    world.seen = Workers(4, "werkzeug is serving with up to 4 processes", per_request=True)
    assert not GuardedStore("memory://", serves=True).decide(CHARGE, "raise").allowed
    assert world.killed == [(os.getppid(), signal.SIGTERM)]


def test_a_shared_store_needs_no_guard(world: World) -> None:
    class Shared(MemoryStore):
        scope = watch_scope()

    world.sibling = SIBLING
    guarded = GuardedStore(Shared())
    assert not guarded.guard.alert
    guarded.guard.start()
    assert guarded.guard.refusal() is None


def watch_scope() -> Any:
    from ratelimit_kit import Scope

    return Scope.SHARED


def test_a_forked_child_looks_for_itself(world: World) -> None:
    guarded = GuardedStore("memory://", serves=True)
    for _ in range(2):
        guarded.decide(CHARGE, "raise")
        world.time += process_guard.WATCH_SECONDS
    assert not guarded.guard.alert
    child = os.fork()
    if child == 0:
        os._exit(0 if guarded.guard.alert else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not guarded.guard.alert


def test_an_added_worker_that_may_stay_refuses_from_the_start(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.seen = Workers(2, "2 workers", number=2, initial=1)
    limiter = Limiter("5/minute", on_unsafe="deny")
    assert caplog.text.count("[RLK202]") == 1
    assert not limiter.hit("k").allowed
    assert isinstance(limiter._store.guard.problem, LateWorkersError)


def test_a_refused_request_is_answered_503_and_the_health_fails(world: World) -> None:
    from ratelimit_kit.wsgi import HealthApplication, RateLimitMiddleware

    world.sibling = SIBLING
    policy = Policy(Rule("5/minute"), on_unsafe="deny")
    application = RateLimitMiddleware(lambda environ, start: [], policy)
    status, fields, _ = call(application)
    assert status.startswith("503")
    assert dict(fields)["Retry-After"] == "1"
    status, fields, body = call(HealthApplication(policy))
    assert status == "503 Service Unavailable"
    assert dict(fields)["Content-Type"] == "application/health+json"
    assert b"RLK202" in body[0]


@pytest.mark.parametrize("options", [{"on_unsafe": "explode"}, {"allow_per_process": "yes"}, {"workers": 0}], ids=str)
def test_wrong_options_are_errors_on_every_store(options: Any) -> None:
    with pytest.raises(OptionError):
        Limiter("5/minute", **options)
