"""Limiters that are built in each request are detected; those that are built only once, even late, are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ratelimit_kit import Limiter, MemoryStore, Policy, Rule
from ratelimit_kit.errors import ConfigurationError, OptionError
from ratelimit_kit.guard.checks import per_request_limiters


@pytest.fixture(autouse=True)
def _nothing_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_request_limiters, "_built", {})
    monkeypatch.setattr(per_request_limiters, "_lost", set())


def in_a_request(view: Callable[[], Any]) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        return view()

    return application({"wsgi.url_scheme": "http"}, lambda *_: None)


def view() -> bool:
    return Limiter("5/minute").hit("k").allowed


def test_a_limiter_built_in_each_request_is_an_error_the_second_time() -> None:
    assert in_a_request(view)
    with pytest.raises(
        ConfigurationError, match=r"is built in each request .*test_per_request_limiters.py, line \d+.*\[RLK208\]"
    ) as caught:
        in_a_request(view)
    assert not isinstance(caught.value, SystemExit)
    assert caught.value.rlk == "RLK208"


def test_once_found_out_every_request_is_refused() -> None:
    """Even while a traceback, in a log or a debugger, still holds the limiter of the previous request."""
    kept = []

    def keeping() -> bool:
        limiter = Limiter("5/minute")
        return limiter.hit("k").allowed

    assert in_a_request(keeping)
    for _ in range(4):
        with pytest.raises(ConfigurationError, match="RLK208") as caught:
            in_a_request(keeping)
        kept.append(caught)


def test_the_same_under_asgi() -> None:
    def application(scope: dict[str, Any], receive: Any, send: Any) -> Any:
        return view()

    application({"type": "http", "path": "/"}, print, print)
    with pytest.raises(ConfigurationError, match="RLK208"):
        application({"type": "http", "path": "/"}, print, print)


def test_a_test_that_holds_a_request_is_no_request() -> None:
    def fixture(environ: dict[str, Any]) -> Any:
        return view()

    assert [fixture({"wsgi.url_scheme": "http"}) for _ in range(3)] == [True] * 3


def test_outside_of_requests_limiters_come_and_go() -> None:
    assert [view() for _ in range(3)] == [True] * 3


def test_limiters_that_are_kept_are_fine() -> None:
    table = {}

    def keep() -> None:
        table[len(table)] = Limiter("5/minute")

    for _ in range(3):
        in_a_request(keep)
    assert len(table) == 3


def test_limiters_on_a_store_that_is_kept_are_fine() -> None:
    store = MemoryStore()
    for _ in range(3):
        in_a_request(lambda: Limiter("5/minute", store=store).hit("k"))


def test_modules_that_are_imported_in_a_request_are_fine() -> None:
    code = compile("from ratelimit_kit import Limiter; Limiter('5/minute')", "late.py", "exec")
    for _ in range(3):
        in_a_request(lambda: exec(code, {"__name__": "late"}))


def test_a_mistake_in_the_options_stays_the_error_of_each_request() -> None:
    def mistaken() -> Policy:
        return Policy(Rule("5/minute"), headers="draft-eleven")

    for _ in range(3):
        with pytest.raises(OptionError, match="headers='draft-eleven'"):
            in_a_request(mistaken)
