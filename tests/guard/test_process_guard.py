"""What a process with a per-process store concludes about its siblings, and what it does then."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from ratelimit_kit import Limiter, MemoryStore, Policy, Rule, Scope
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.errors import HelperProcessWarning, LateWorkersError, OptionError, UnsafeWorkersError
from ratelimit_kit.guard import abort, claims, declarations, forks, messages, process_guard, siblings, socket_locks
from ratelimit_kit.guard.declarations import Processes
from ratelimit_kit.guard.listening import Address
from ratelimit_kit.guard.siblings import OVERLAP_SECONDS, RECHECK_SECONDS, Search
from ratelimit_kit.guard.socket_locks import OTHER_PORT, Sibling
from ratelimit_kit.guard.workers.count import Workers
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.stores import Charge
from tests.guard import in_child
from tests.test_wsgi import call

CHARGE = [Charge("k", SlidingWindow(1, 60))]

ADDRESS = "127.0.0.1:8000"

SIBLING = Sibling(4711, 1, ADDRESS)

ELSEWHERE = Sibling(4711, 1, OTHER_PORT)


class World:
    """A fake of what a process sees around it."""

    def __init__(self) -> None:
        self.addresses = [ADDRESS]
        self.sibling: Sibling | None = None
        self.replica: Sibling | None = None
        self.other_port: Sibling | None = None
        self.seen: Workers | None = None
        self.helper = False
        self.serves = True
        self.pauses = 0
        """How many slices a look has before its last one."""
        self.looks = 0
        self.time = 100.0
        self.killed: list[tuple[int, int]] = []

    def addresses_in_slices(self) -> Iterator[Address | None]:
        self.looks += 1
        yield from [None] * self.pauses
        yield from map(Address, self.addresses)

    def on_the_same_socket(self, addresses: list[Address]) -> Generator[None, None, Sibling | None]:
        yield from ()
        return self.sibling if addresses else None

    def on_another_port(self, parent: int, *, replica: bool = False) -> Sibling | None:
        return self.replica if replica else self.other_port or self.replica

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    async def asleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class Timer:
        def __init__(self, seconds: float, function: Any, arguments: tuple[int, int]) -> None:
            self.start = lambda: function(*arguments)

    search = Search(process_guard._alarm)
    monkeypatch.setattr(process_guard, "search", search)
    monkeypatch.setattr("ratelimit_kit.guarded_store.search", search)
    monkeypatch.setattr(process_guard, "_told", set())
    for module in (process_guard, siblings, declarations):
        monkeypatch.setattr(module, "detected", lambda: world.seen)
    for module in (process_guard, siblings):
        monkeypatch.setattr(module.time, "monotonic", lambda: world.time)
    monkeypatch.setattr(siblings.listening, "addresses", world.addresses_in_slices)
    monkeypatch.setattr(socket_locks, "on_the_same_socket", world.on_the_same_socket)
    monkeypatch.setattr(socket_locks, "on_another_port", world.on_another_port)
    monkeypatch.setattr(siblings.os, "isatty", lambda _: False)
    monkeypatch.setattr(siblings, "tested", lambda: False)
    monkeypatch.setattr(process_guard.search._watcher, "start", lambda: True)
    monkeypatch.setattr(forks, "is_helper", lambda: world.helper)
    monkeypatch.setattr(forks, "serves", lambda *, policy: world.serves or policy)
    monkeypatch.setattr(abort.threading, "Timer", Timer)
    monkeypatch.setattr(abort.os, "kill", lambda pid, number: world.killed.append((pid, number)))
    monkeypatch.setattr("ratelimit_kit.guarded_store.sleep", world.sleep)
    monkeypatch.setattr("ratelimit_kit.guarded_store.asleep", world.asleep)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    return world


def test_after_a_decision_that_it_has_allowed_no_hit_asks_the_guard(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = GuardedStore("memory://", policy="web")
    assert guarded.guard.alert
    assert guarded.decide(CHARGE, "raise").allowed
    assert not guarded.guard.alert
    monkeypatch.setattr(guarded.guard, "admits", lambda: pytest.fail("asked again"))
    world.time += 3600
    guarded.decide(CHARGE, "raise")
    assert world.looks == 1


@pytest.mark.parametrize("addresses", [[], [ADDRESS]], ids=["listens-nowhere", "listens"])
def test_a_socket_that_listens_late_is_found_and_raises_the_alarm(world: World, addresses: list[str]) -> None:
    world.addresses = addresses
    guarded = GuardedStore("memory://", policy="web")
    assert guarded.decide(CHARGE, "raise").allowed
    world.addresses, world.sibling = [ADDRESS], SIBLING
    assert process_guard.search.round()
    assert guarded.guard.alert
    assert guarded.guard.admits() is None


def test_the_thread_ends_after_the_first_seconds(world: World) -> None:
    assert process_guard.search.round()
    world.time += siblings.WATCH_SECONDS - 0.1
    assert process_guard.search.round()
    world.time += 0.1
    assert not process_guard.search.round()


def test_a_long_look_is_done_in_slices_and_nothing_is_admitted_before_its_end(world: World) -> None:
    world.pauses = 7
    guarded = GuardedStore("memory://", policy="web")
    for _ in range(7):
        assert guarded.guard.admits() is None
        assert process_guard.search.pause == siblings.PAUSE_SECONDS
    assert guarded.guard.admits()
    assert (world.looks, world.time) == (1, 100.0)


async def test_each_slice_gives_way_to_the_event_loop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[float] = []

    async def asleep(seconds: float) -> None:
        ways.append(seconds)

    monkeypatch.setattr("ratelimit_kit.guarded_store.asleep", asleep)
    world.pauses = 7
    assert (await GuardedStore("memory://").adecide(CHARGE, "raise")).allowed
    assert ways == [siblings.PAUSE_SECONDS] * 7


def test_a_process_with_a_sibling_refuses_says_so_once_and_ends(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.sibling = SIBLING
    guarded = GuardedStore("memory://", policy="web")
    for _ in range(3):
        decision = guarded.decide(CHARGE, "raise")
        assert (decision.allowed, decision.degraded) == (False, True)
    assert world.time >= 100 + OVERLAP_SECONDS
    assert world.killed == [(os.getpid(), signal.SIGTERM)]
    assert caplog.text.count("[RLK202]") == 1
    assert f"process 4711 serves the same application on {ADDRESS}" in caplog.text
    assert len(guarded.store) == 0  # type: ignore[arg-type]


async def test_the_async_api_refuses_too(world: World) -> None:
    world.sibling = SIBLING
    assert not (await GuardedStore("memory://", policy="web").adecide(CHARGE, "allow")).allowed


def test_a_sibling_that_is_about_to_end_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.sibling = SIBLING

    def sleep(seconds: float) -> None:
        world.time += seconds
        if world.time > 102:
            world.sibling = None

    monkeypatch.setattr("ratelimit_kit.guarded_store.sleep", sleep)
    guarded = GuardedStore("memory://", policy="web")
    assert guarded.decide(CHARGE, "raise").allowed
    assert world.time < 102.2
    assert world.killed == []


@pytest.mark.parametrize("on_unsafe", ["deny", "warn"])
def test_on_unsafe_decides_what_follows(world: World, on_unsafe: Any, caplog: pytest.LogCaptureFixture) -> None:
    world.sibling = SIBLING
    limiter = Limiter("5/minute", on_unsafe=on_unsafe)
    assert limiter.hit("k").allowed == (on_unsafe == "warn")
    assert limiter._guard.alert == (on_unsafe == "deny")
    assert f"By on_unsafe='{on_unsafe}'" in caplog.text
    assert world.killed == []


@pytest.mark.parametrize("on_unsafe", ["deny", "warn"])
def test_a_process_that_is_alone_again_goes_on(world: World, on_unsafe: Any, caplog: pytest.LogCaptureFixture) -> None:
    world.sibling = SIBLING
    guarded = GuardedStore("memory://", None, Processes(on_unsafe=on_unsafe), policy="web")
    guarded.decide(CHARGE, "raise")
    assert guarded.guard.problem is not None
    world.sibling = None
    guarded.measure()  # it checks once per second
    assert guarded.guard.problem is not None
    world.time += RECHECK_SECONDS
    guarded.measure()
    assert guarded.guard.problem is None
    assert "MemoryStore is used by one process again" in caplog.text
    guarded.store.reset(CHARGE)
    assert guarded.decide(CHARGE, "raise").allowed


def test_a_look_that_is_not_finished_leaves_a_closed_process_closed(world: World) -> None:
    world.sibling = SIBLING
    guarded = GuardedStore("memory://", None, Processes(on_unsafe="deny"), policy="web")
    assert not guarded.admits()
    world.sibling, world.pauses = None, 1
    world.time += RECHECK_SECONDS
    assert not guarded.admits()
    world.time += RECHECK_SECONDS
    assert guarded.admits()


def test_a_replica_on_another_port_is_a_sibling_once_it_has_stayed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.replica = ELSEWHERE
    guarded = GuardedStore("memory://", None, Processes(on_unsafe="deny"), policy="web")
    assert guarded.guard.admits() is None
    assert not guarded.decide(CHARGE, "raise").allowed
    assert world.time >= 100 + OVERLAP_SECONDS
    assert "process 4711 serves the same application on another port or socket" in caplog.text
    assert "if the two are separate sites, set workers=1" in caplog.text


def test_a_replica_that_goes_in_time_is_none(world: World) -> None:
    world.replica = ELSEWHERE
    guarded = GuardedStore("memory://", policy="web")
    assert guarded.guard.admits() is None
    world.replica = None
    world.time += OVERLAP_SECONDS / 2
    assert guarded.decide(CHARGE, "raise").allowed
    assert not guarded.guard.alert


@pytest.mark.parametrize("terminal", [True, False])
def test_what_may_be_another_site_is_warned_of_once(
    terminal: bool, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(siblings.os, "isatty", lambda _: terminal)
    if terminal:
        world.replica = ELSEWHERE
    else:
        world.other_port = ELSEWHERE
    guarded = GuardedStore("memory://", policy="web")
    guarded.decide(CHARGE, "raise")
    assert "RLK254" not in caplog.text
    world.time += OVERLAP_SECONDS
    for _ in range(2):
        process_guard.search.round()
        assert guarded.guard.admits()
    assert caplog.text.count("[RLK254]") == 1
    assert guarded.guard.problem is None


def test_an_xdist_worker_looks_at_no_other_ports(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    world.replica = ELSEWHERE
    assert GuardedStore("memory://", policy="web").admits()


@pytest.mark.parametrize("what", ["same socket", "replica"])
@pytest.mark.parametrize("relation", ["same master", "its master's parent"])
def test_another_worker_of_the_same_server_is_its_predecessor(
    what: str, relation: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of the master that has started this one in its own place (gunicorn's USR2)."""

    def there(parent: int) -> None:
        one = Sibling(4711, parent, ADDRESS if what == "same socket" else OTHER_PORT)
        world.sibling, world.replica = (one, None) if what == "same socket" else (None, one)

    monkeypatch.setattr(claims, "parent_of", lambda pid: 42)
    world.seen = Workers(1, "one", manager=os.getppid())
    there(os.getppid() if relation == "same master" else 42)
    assert GuardedStore("memory://", policy="web").admits()
    assert process_guard.search.sibling is None
    world.time += siblings.WATCH_SECONDS
    assert process_guard.search.round()  # its name has to be taken over, whenever it goes
    there(41)
    GuardedStore("memory://", policy="web").admits()
    assert process_guard.search.sibling is not None
    world.sibling = world.replica = None
    assert not process_guard.search.round()


@pytest.mark.parametrize(
    ("manager", "ended"),
    [("its parent", (os.getppid(), signal.SIGTERM)), ("nobody", (os.getpid(), signal.SIGTERM))],
    ids=["managed", "alone"],
)
def test_a_server_that_would_start_the_worker_again_ends_with_it(
    manager: str, ended: tuple[int, int], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = os.getppid() if manager == "its parent" else None
    monkeypatch.setattr(abort, "detected", lambda: Workers(1, "one", manager=pid))
    world.sibling = SIBLING
    assert not GuardedStore("memory://", policy="web").decide(CHARGE, "raise").allowed
    assert world.killed == [ended]


def test_a_server_without_a_manager_has_no_predecessor(world: World) -> None:
    """uWSGI without a master: nothing replaces its process, so one with the same parent is a sibling."""
    world.seen = Workers(1, "uWSGI is starting 1 workers")
    world.sibling = Sibling(4711, os.getppid(), ADDRESS)
    assert not GuardedStore("memory://", policy="web").decide(CHARGE, "raise").allowed


@pytest.mark.parametrize("listens", [True, False])
def test_a_process_that_cannot_see_siblings_says_so_once(
    listens: bool, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def blind(addresses: list[Address]) -> Generator[None, None, None]:
        yield from ()
        if addresses:
            raise claims.NoProofError("user 7 holds the name")

    world.addresses = [ADDRESS] if listens else []
    monkeypatch.setattr(socket_locks, "on_the_same_socket", blind)
    for _ in range(2):
        assert GuardedStore("memory://", policy="web").admits()
    assert caplog.text.count("[RLK259]") == listens
    assert ("cannot see whether others serve the same application: user 7 holds the name" in caplog.text) == listens


@pytest.mark.parametrize("on_unsafe", ["shutdown", "warn", "deny"])
def test_a_helper_says_so_once_and_only_deny_refuses_there(
    on_unsafe: Any, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process_guard, "tested", lambda: False)
    world.helper, world.serves, world.sibling = True, False, SIBLING
    limiters = [Limiter("5/minute", on_unsafe=on_unsafe) for _ in range(2)]
    for limiter in limiters * 2:
        assert limiter.hit("k").allowed == (on_unsafe != "deny")
    assert caplog.text.count("[RLK258]") == 1
    assert ("By on_unsafe='deny' such a process refuses every hit" in caplog.text) == (on_unsafe == "deny")
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert (world.looks, world.killed) == (0, [])
    assert limiters[0]._guard.alert == (on_unsafe == "deny")
    assert isinstance(limiters[0]._guard.problem, HelperProcessWarning) == (on_unsafe == "deny")


def test_a_child_that_serves_is_no_helper(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.helper, world.serves = True, True
    world.sibling = SIBLING
    assert not Limiter("5/minute").hit("k").allowed
    assert "[RLK202]" in caplog.text


def test_recycled_workers_are_warned_of(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(declarations, "recycling", lambda: "max_requests = 20")
    for options in ({"allow_per_process": True}, {"workers": 1}, {}):
        Limiter("5/minute", **options)  # type: ignore[arg-type]
    assert caplog.text.count("[RLK257]") == 1
    assert "the server ends its worker after a while (max_requests = 20)" in caplog.text


def test_one_worker_of_a_reloaded_server_serves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_held", {})
    world.seen = Workers(4, "gunicorn is starting 4 workers", number=2, initial=1, place="4711 1")
    limiter = Limiter("5/minute", on_unsafe="deny")
    assert limiter.hit("k").allowed
    assert in_child(lambda: Limiter("5/minute", on_unsafe="deny").hit("k").allowed) == "False"
    claims._release_all()


def test_a_worker_beside_the_others_refuses_and_is_not_ended(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """gunicorn's dirty workers: gunicorn would start another one at once."""
    world.seen = Workers(2, "gunicorn runs dirty workers beside 1 for HTTP", number=2, initial=1, beside=True)
    limiter = Limiter("5/minute")
    assert not limiter.hit("k").allowed
    assert world.killed == []
    assert caplog.text.count("[RLK202]") == 1
    assert "gunicorn runs dirty workers beside 1 for HTTP" in caplog.text


def test_a_fork_of_an_application_made_before_it_cannot_boot(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Any] = []
    monkeypatch.setattr(process_guard, "fail_to_boot", ended.append)
    guarded = GuardedStore("memory://", policy="web")
    guarded.guard.leave_if_refused()
    assert ended == []
    world.seen = Workers(4, "gunicorn is starting 4 workers")
    guarded.guard.leave_if_refused()
    assert isinstance(ended[0], UnsafeWorkersError)


@pytest.mark.parametrize("options", [{"workers": 1}, {"allow_per_process": True}], ids=str)
def test_the_users_word_is_taken_without_a_look(world: World, options: Any) -> None:
    world.sibling, world.helper, world.serves = SIBLING, True, False
    assert GuardedStore("memory://", None, Processes(**options)).decide(CHARGE, "raise").allowed
    assert world.looks == 0


def test_an_accepted_multiple_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(messages, "_said", set())
    world.seen = Workers(4, "gunicorn is starting 4 workers")
    for _ in range(2):
        Limiter("5/minute", allow_per_process=True)
    said = "MemoryStore counts per process, and gunicorn is starting 4 workers. Each client gets up to 4 x its quota"
    assert caplog.text.count(said) == 1


def test_a_server_that_forks_for_each_request_is_ended_itself(world: World) -> None:
    world.seen = Workers(4, "werkzeug is serving with up to 4 processes", per_request=True)
    assert not GuardedStore("memory://", policy="web").decide(CHARGE, "raise").allowed
    assert world.killed == [(os.getppid(), signal.SIGTERM)]


def test_a_shared_store_needs_no_guard(world: World) -> None:
    class Shared(MemoryStore):
        scope = Scope.SHARED

    world.sibling = SIBLING
    guarded = GuardedStore(Shared())
    assert not guarded.guard.alert
    guarded.guard.start()
    assert guarded.guard.refusal() is None


def test_a_forked_child_looks_for_itself(world: World) -> None:
    guarded = GuardedStore("memory://", policy="web")
    guarded.decide(CHARGE, "raise")
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


def test_a_hit_within_a_look_is_no_deadlock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler, a finalizer or a log may hit while this thread is looking."""
    guarded = GuardedStore("memory://", policy="web")
    within: list[bool] = []

    def addresses() -> Iterator[Address | None]:
        within.append(GuardedStore("memory://", policy="web").decide(CHARGE, "raise").allowed)
        yield Address(ADDRESS)

    monkeypatch.setattr(siblings.listening, "addresses", addresses)
    assert guarded.decide(CHARGE, "raise").allowed
    assert within == [True]


def test_a_fork_does_not_wait_for_a_long_look(world: World) -> None:
    world.pauses = 1_000_000
    process_guard.search._watcher._stop.set()
    process_guard.search.round()
    assert process_guard.search.is_unfinished


def test_a_sibling_that_cannot_be_seen_any_more_has_not_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.sibling = SIBLING
    guarded = GuardedStore("memory://", None, Processes(on_unsafe="deny"), policy="web")
    assert not guarded.admits()

    def blind(addresses: list[Address]) -> Generator[None, None, None]:
        yield from ()
        raise claims.NoProofError("the queue is full")

    monkeypatch.setattr(socket_locks, "on_the_same_socket", blind)
    for _ in range(3):
        world.time += RECHECK_SECONDS
        assert not guarded.admits()


def test_a_master_or_a_reloader_that_holds_the_name_is_no_sibling(world: World) -> None:
    world.seen = Workers(1, "one", manager=os.getppid())
    world.sibling = Sibling(os.getppid(), 1, ADDRESS)
    assert GuardedStore("memory://", policy="web").admits()


def test_helpers_that_serve_on_ports_of_their_own_are_no_replicas(world: World) -> None:
    """Django's parallel tests, each with a live server."""
    world.helper, world.replica = True, ELSEWHERE
    assert GuardedStore("memory://", policy="web").admits()


def test_many_threads_that_look_at_once_do_not_wait_for_each_other_for_ever(world: World) -> None:
    """One begins a look when another has finished one: whoever waits is content with the next that ends."""
    world.pauses = 3
    guards = [GuardedStore("memory://", policy=f"web{number}").guard for number in range(40)]
    waiting, rounds = guards, 0
    while waiting:
        waiting = [guard for guard in waiting if guard.admits() is None]
        rounds += 1
        assert rounds <= 2
    assert world.looks <= 40


def test_a_look_that_ended_before_is_none_for_who_asks_now(world: World) -> None:
    """The first request looks again after the lifespan: only now the server listens."""
    world.addresses = []
    guarded = GuardedStore("memory://", policy="web")
    assert guarded.guard.admits()
    assert guarded.guard.begin() is None
    world.addresses, world.sibling = [ADDRESS], SIBLING
    assert guarded.guard.admits() is None
    assert world.looks == 2
