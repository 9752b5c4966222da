from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as ASGIMiddleware
from ratelimit_kit.errors import OptionError
from ratelimit_kit.wsgi import RateLimitMiddleware

Application = Callable[[Any, Any], Iterable[bytes]]


def call(application: Any, **environ: str) -> tuple[str, list[tuple[str, str]], Any]:
    full: dict[str, Any] = {"REMOTE_ADDR": "192.0.2.7", "QUERY_STRING": "", **environ}
    setup_testing_defaults(full)
    answer: list[Any] = []
    body = application(
        full, lambda status, headers, exc_info=None: answer.append((status, headers)) or (lambda _: None)
    )
    first = next(iter(body), b"") if not isinstance(body, list) else body
    return (*answer[-1], first)


def hello(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello!"]


def limited(application: Any, limit: str = "2/minute", **options: Any) -> RateLimitMiddleware:
    return RateLimitMiddleware(application, Policy(Rule(limit, name="r", **options)))


def test_requests_pass_until_the_limit_and_then_are_answered_429() -> None:
    application = limited(hello)
    answers = [call(application) for _ in range(3)]
    assert [status for status, _, _ in answers] == ["200 OK", "200 OK", "429 Too Many Requests"]
    assert ("RateLimit-Policy", '"r";q=2;w=60') in answers[0][1]
    assert ("Content-Type", "text/plain") in answers[0][1]
    assert call(application, REMOTE_ADDR="192.0.2.8")[0] == "200 OK"


def test_both_sides_keep_to_the_protocol() -> None:
    application = validator(limited(validator(hello), "1/minute"))
    for expected in ("200 OK", "429 Too Many Requests"):
        environ: dict[str, Any] = {"REMOTE_ADDR": "192.0.2.7", "QUERY_STRING": ""}
        setup_testing_defaults(environ)
        seen = []
        body = application(
            environ, lambda status, headers, exc_info=None, seen=seen: seen.append(status) or (lambda _: None)
        )
        assert b"".join(body)
        body.close()
        assert seen == [expected]


def test_the_applications_own_iterable_is_passed_through() -> None:
    iterable = iter([b"a", b"b"])

    def stream(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return iterable

    environ: dict[str, Any] = {"REMOTE_ADDR": "192.0.2.7"}
    setup_testing_defaults(environ)
    assert limited(stream)(environ, lambda *_: lambda _: None) is iterable


def test_an_exception_passes_and_the_application_is_called_once() -> None:
    calls = []

    def fail(environ: Any, start_response: Any) -> Iterable[bytes]:
        calls.append(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        call(limited(fail))
    assert calls == [1]


def test_a_late_and_a_second_start_response_are_passed_on() -> None:
    seen = []

    def late(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        start_response("500 Oops", [("X-Own", "1")], (None, None, None))
        yield b""

    environ: dict[str, Any] = {"REMOTE_ADDR": "192.0.2.7"}
    setup_testing_defaults(environ)
    list(limited(late)(environ, lambda *arguments: seen.append(arguments) or (lambda _: None)))
    assert [status for status, _, _ in seen] == ["200 OK", "500 Oops"]
    assert seen[1][2] == (None, None, None)
    assert [name for name, _ in seen[1][1]] == ["X-Own", "RateLimit-Policy", "RateLimit"]


def test_redirects_carry_no_fields() -> None:
    def redirect(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("302 Found", [("Location", "/")])
        return []

    assert call(limited(redirect))[1] == [("Location", "/")]


def test_paths_are_complete_and_decoded() -> None:
    application = limited(hello, paths=["/app/café"])
    path = "/café".encode().decode("latin-1")
    for _ in range(2):
        call(application, SCRIPT_NAME="/app", PATH_INFO=path)
    assert call(application, SCRIPT_NAME="/app", PATH_INFO=path)[0].startswith("429")
    assert call(application, SCRIPT_NAME="", PATH_INFO=path)[0] == "200 OK"


def test_keys_come_from_the_environ() -> None:
    by_key = limited(hello, "1/minute", key="header:x-api-key")
    assert call(by_key, HTTP_X_API_KEY="a")[0] == "200 OK"
    assert call(by_key, HTTP_X_API_KEY="b")[0] == "200 OK"
    assert call(by_key, HTTP_X_API_KEY="a")[0].startswith("429")
    by_user = limited(hello, "1/minute", key="user")
    assert call(by_user, REMOTE_USER="ann")[0] == "200 OK"
    assert call(by_user)[0] == "200 OK"
    assert call(by_user, REMOTE_USER="ann")[0].startswith("429")


def test_a_unix_socket_without_an_address_is_one_client() -> None:
    application = limited(hello)
    assert [call(application, REMOTE_ADDR="")[0][:3] for _ in range(3)] == ["200", "200", "429"]


@pytest.mark.parametrize("policy", [Rule("5/minute"), "5/minute", None])
def test_what_is_no_policy_is_an_error(policy: Any) -> None:
    with pytest.raises(OptionError, match="policy must be a Policy"):
        RateLimitMiddleware(hello, policy)
    with pytest.raises(OptionError, match="policy must be a Policy"):
        ASGIMiddleware(hello, policy)


def test_only_failures_count_where_a_rule_says_so() -> None:
    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/raise":
            raise KeyError("mine")
        start_response("401 Unauthorized" if environ["PATH_INFO"] == "/bad" else "200 OK", [])
        return []

    failures = limited(application, "2/minute", count="failures")
    statuses = [call(failures, PATH_INFO=path)[0][:3] for path in ("/", "/", "/bad", "/", "/bad", "/")]
    assert statuses == ["200", "200", "401", "200", "401", "429"]
    successes = limited(application, "1/minute", count="successes")
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            call(successes, PATH_INFO="/raise")
    assert [call(successes)[0][:3] for _ in range(2)] == ["200", "429"]


def test_two_middlewares_of_one_policy_count_once() -> None:
    inner = limited(hello, "3/minute")
    outer = RateLimitMiddleware(inner, Policy(Rule("3/minute", name="r"), store=inner.policy.store))
    answers = [call(outer) for _ in range(4)]
    assert [status[:3] for status, _, _ in answers] == ["200", "200", "200", "429"]
    assert dict(answers[0][1])["RateLimit"] == '"r";r=2;t=40'


def test_a_rule_for_messages_is_an_error_where_there_are_none() -> None:
    with pytest.raises(OptionError, match="rule 'r' counts WebSocket messages, but this integration does not see them"):
        limited(hello, messages=True)
