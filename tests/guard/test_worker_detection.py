"""What the guard concludes from declared and detected workers; tests/live/guard/test_guard.py has real worker_detection."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ratelimit_kit.errors import ConfigurationError, LateWorkersError, OptionError, UnsafeWorkersError
from ratelimit_kit.guard import abort, declarations, messages, process_guard
from ratelimit_kit.guard.declarations import Processes
from ratelimit_kit.guard.workers import detection
from ratelimit_kit.guard.workers.count import Workers, declared
from ratelimit_kit.guard.workers.detection import detected, within_lifespan
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.stores.memory.store import MemoryStore

See = Callable[[Workers | None], None]


@pytest.fixture
def see(monkeypatch: pytest.MonkeyPatch) -> See:
    """Make the server show these workers."""

    def show(workers: Workers | None) -> None:
        for module in (process_guard, declarations, abort):
            monkeypatch.setattr(module, "detected", lambda: workers)

    monkeypatch.setattr(messages, "_said", set())
    monkeypatch.setattr(abort, "STAND_BY_SECONDS", 0.05)
    monkeypatch.setattr(abort, "LATE_SECONDS", 0.05)
    monkeypatch.setattr(abort, "GRACE_SECONDS", 0.01)
    return show


def begin(workers: int | None = None, **options: Any) -> GuardedStore:
    guarded = GuardedStore(MemoryStore(), None, Processes(workers=workers, **options))
    guarded.guard.start()
    return guarded


@pytest.fixture(autouse=True)
def _nothing_was_seen_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "_seen", {})


def test_nothing_is_seen_outside_of_a_server() -> None:
    assert detected() is None
    begin()


def test_several_workers_are_refused_and_one_is_not(see: See, capsys: pytest.CaptureFixture[str]) -> None:
    see(Workers(1, "the server is starting one worker"))
    begin()
    see(Workers(4, "the server is starting 4 workers"))
    with pytest.raises(
        UnsafeWorkersError, match="and the server is starting 4 workers: each client would get 4 x"
    ) as caught:
        begin()
    assert caught.value.code == 3
    assert capsys.readouterr().err.count("[RLK201]") == 1


def test_only_the_first_worker_speaks(see: See, capsys: pytest.CaptureFixture[str]) -> None:
    see(Workers(4, "4 workers", number=2))
    with pytest.raises(UnsafeWorkersError) as caught:
        begin()
    assert caught.value.code == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("stopping", [True, False])
def test_a_worker_that_can_see_its_end_leaves_without_complaint(see: See, stopping: bool) -> None:
    see(Workers(4, "4 workers", number=2, stopping=lambda: stopping))
    with pytest.raises(UnsafeWorkersError) as caught:
        begin()
    assert caught.value.code == 0


def test_a_worker_added_later_ends_without_ending_the_server(see: See, capsys: pytest.CaptureFixture[str]) -> None:
    see(Workers(2, "2 workers", number=2, initial=1, stopping=lambda: False))
    begun = time.monotonic()
    with pytest.raises(
        LateWorkersError, match="a running server was told to have 2 workers: all but one of them may not decide"
    ) as caught:
        begin()
    assert caught.value.code == 0
    assert time.monotonic() - begun >= 0.05
    assert "[RLK202]" in capsys.readouterr().err


def test_where_exits_are_respawned_the_refusal_is_a_plain_error(see: See) -> None:
    see(Workers(2, "2 workers", respawns=True))
    with pytest.raises(ConfigurationError, match="RLK201") as caught:
        begin()
    assert not isinstance(caught.value, SystemExit)
    assert caught.value.rlk == "RLK201"


def test_the_users_word_comes_first_and_a_contradiction_is_logged(
    see: See, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    see(Workers(4, "the server is starting 4 workers"))
    begin(1)
    assert "workers=1 is declared, so MemoryStore is allowed although the server is starting 4 workers" in caplog.text
    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", "1")
    begin()
    with pytest.raises(UnsafeWorkersError, match="workers=2 is declared"):
        begin(2)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "²"])
def test_a_declared_number_is_a_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", text)
    with pytest.raises(OptionError, match="RATELIMIT_KIT_WORKERS"):
        declared(None)


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", "")
    assert declared(None) is None


@pytest.mark.parametrize(
    ("module", "count"),
    [
        (SimpleNamespace(numproc=4, worker_id=lambda: 0, masterpid=lambda: 7, opt={}), 4),
        (SimpleNamespace(numproc=1, worker_id=lambda: 1, masterpid=lambda: 7, opt={}), 1),
        (SimpleNamespace(), None),
        (SimpleNamespace(numproc=4, worker_id=None), None),
    ],
    ids=["several", "one", "another-version", "broken"],
)
def test_a_probe_never_breaks_the_application(module: Any, count: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    found = detected()
    assert (found.count if found else None) == count


def test_a_lifespan_is_known_by_its_scope() -> None:
    def application(scope: dict[str, str]) -> bool:
        return within_lifespan()

    assert application({"type": "lifespan"})
    assert not application({"type": "http"})
    assert not within_lifespan()


def test_a_misspelt_variable_is_an_error_and_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATELIMIT_KIT_WORKER", "1")
    with pytest.raises(OptionError, match=r"RATELIMIT_KIT_WORKER is not known, .*RATELIMIT_KIT_WORKERS"):
        declared(None)


@pytest.mark.parametrize("option", ["ON_OUTAGE", "FALLBACK", "TIMEOUT", "START_WITHOUT_STORE", "NONSENSE"])
def test_a_variable_that_would_have_no_effect_is_an_error(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setenv(f"RATELIMIT_KIT_{option}", "deny")
    with pytest.raises(
        OptionError, match=rf"RATELIMIT_KIT_{option} is not known, .*choose from .*an option of the policy"
    ):
        declared(None)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
@pytest.mark.parametrize("service", ["", "-redis", "-store", "-mode", "-worker", "-workers", "-2", "-port", "-service"])
def test_what_kubernetes_sets_for_a_service_is_not_taken_for_a_variable(
    service: str, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each Service of the namespace, with all its ports, in every container (kubelet's envvars.go)."""
    name = f"ratelimit-kit{service}".upper().replace("-", "_")
    port = f"{name}_PORT_6379_{protocol.upper()}"
    for variable, value in {
        f"{name}_SERVICE_HOST": "10.96.7.31",
        f"{name}_SERVICE_PORT": "6379",
        f"{name}_SERVICE_PORT_REDIS": "6379",
        f"{name}_SERVICE_PORT_HTTP_2": "8080",
        f"{name}_PORT": f"{protocol}://10.96.7.31:6379",
        port: f"{protocol}://10.96.7.31:6379",
        f"{port}_PROTO": protocol,
        f"{port}_PORT": "6379",
        f"{port}_ADDR": "10.96.7.31",
    }.items():
        monkeypatch.setenv(variable, value)
    assert declared(None) is None


@pytest.mark.parametrize(
    "name", ["PORTS", "SERVICE", "HOST", "IMPORT", "PORT_NUMBER", "PORT_6379_TCP_URL", "SERVICE_NAME"]
)
def test_what_only_looks_as_if_kubernetes_had_set_it_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"RATELIMIT_KIT_{name}", "10.0.0.1")
    with pytest.raises(OptionError, match=f"RATELIMIT_KIT_{name} is not known"):
        declared(None)


@pytest.mark.parametrize(
    ("group", "processes", "count", "times"),
    [("site", 1, 1, "1 x"), ("site", 4, 4, "4 x"), ("", 1, 2, "several times"), ("", 7, 2, "several times")],
)
def test_mod_wsgi_outside_of_a_process_group_has_several_processes(
    group: str, processes: int, count: int, times: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mod_wsgi", SimpleNamespace(process_group=group, maximum_processes=processes))
    found = detected()
    assert found is not None
    assert (found.count, found.times, found.respawns) == (count, times, True)


def test_passenger_has_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IN_PASSENGER", "1")
    found = detected()
    assert found is not None
    assert (found.count, found.times, found.respawns) == (2, "several times", True)


@pytest.mark.parametrize(
    ("argv", "modules", "expected"),
    [
        (["manage.py", "test"], ["django.test.runner"], True),
        (["manage.py", "runserver"], ["django.test.runner"], False),
        (["manage.py", "test"], [], True),
        (["manage.py", "migrate"], [], False),
        (["pytest-like", "test"], [], False),
        (["/usr/bin/python3 -m unittest", "tests"], [], True),
        (["gunicorn"], [], False),
    ],
    ids=str,
)
def test_django_and_unittest_test_too(
    argv: list[str], modules: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.delitem(sys.modules, "django.test.runner", raising=False)
    for name in modules:
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setattr(detection, "packages_that_run", lambda: iter(()))
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    assert detection.tested() == expected


@pytest.mark.parametrize("name", ["mule_id", "i_am_the_spooler"])
def test_a_mule_or_a_spooler_is_beside_the_workers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(numproc=1, worker_id=lambda: 0, masterpid=lambda: 7, opt={}, **{name: lambda: 1})
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    found = detected()
    assert found is not None
    assert (found.count, found.beside, found.late) == (2, True, True)
