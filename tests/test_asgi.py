from __future__ import annotations

from typing import Any

import fakeredis
import pytest

from ratelimit_kit import MemoryStore, Policy, RedisStore, Rule, Scope, wsgi
from ratelimit_kit.asgi import RateLimitMiddleware
from ratelimit_kit.errors import IdentityError, OptionError, StoreUnavailableError, StoreUnreachableError
from tests.test_wsgi import hello as plain_hello

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})


async def socket(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})


def limited(application: Any, limit: str = "2/minute", **options: Any) -> RateLimitMiddleware:
    return RateLimitMiddleware(application, Policy(Rule(limit, name="r", **options)))


async def call(application: Any, **scope: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect" if full["type"] == "websocket" else "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    full = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": ("192.0.2.7", 4711), **scope}
    await application(full, receive, send)
    return sent


async def test_requests_pass_until_the_limit_and_then_are_answered_429() -> None:
    application = limited(hello)
    passed = await call(application)
    assert [message["type"] for message in passed] == [
        "http.response.start",
        "http.response.body",
        "http.response.body",
    ]
    assert passed[0]["headers"] == [
        (b"content-type", b"text/plain"),
        (b"ratelimit-policy", b'"r";q=2;w=60'),
        (b"ratelimit", b'"r";r=1;t=30'),
    ]
    assert START["headers"] == [(b"content-type", b"text/plain")]
    await call(application)
    start, body = await call(application)
    assert start["status"] == 429
    fields = dict(start["headers"])
    assert fields[b"retry-after"] == b"60"
    assert int(fields[b"content-length"]) == len(body["body"])
    assert all(name == name.lower() for name in fields)
    assert (await call(application, client=("192.0.2.8", 1)))[0]["status"] == 200


async def test_a_client_without_an_address_is_one_client() -> None:
    application = limited(hello)
    statuses = [(await call(application, client=None))[0]["status"] for _ in range(3)]
    assert statuses == [200, 200, 429]


async def test_fields_of_repeated_request_headers_are_joined() -> None:
    policy = Policy(Rule("1/minute"), trusted_proxies=["192.0.2.7"])
    application = RateLimitMiddleware(hello, policy)
    headers = [(b"x-forwarded-for", b"1.1.1.1"), (b"X-Forwarded-For", b"203.0.113.9")]
    assert (await call(application, headers=headers))[0]["status"] == 200
    headers[0] = (b"x-forwarded-for", b"2.2.2.2")
    assert (await call(application, headers=headers))[0]["status"] == 429


async def test_an_exception_passes_and_the_application_is_called_once() -> None:
    calls = []

    async def fail(scope: Any, receive: Any, send: Any) -> None:
        calls.append(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await call(limited(fail))
    assert calls == [1]


async def test_a_websocket_handshake_is_limited() -> None:
    application = limited(socket, "1/minute")
    (accept,) = await call(application, type="websocket")
    assert dict(accept["headers"])[b"ratelimit"] == b'"r";r=0;t=60'
    assert await call(application, type="websocket") == [{"type": "websocket.close", "code": 1013}]
    start, body = await call(application, type="websocket", extensions={"websocket.http.response": {}})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 429)
    assert body["type"] == "websocket.http.response.body"


async def test_other_scopes_pass_untouched() -> None:
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])
        await send({"type": "lifespan.shutdown.complete"})

    for kind in ("lifespan", "telepathy"):
        assert await call(limited(application, "1/minute"), type=kind) == [{"type": "lifespan.shutdown.complete"}]
    assert seen == ["lifespan", "telepathy"]


class User:
    is_authenticated = True
    username = "ann"


async def test_the_user_comes_from_the_scope() -> None:
    application = limited(hello, "1/minute", key="user")
    assert (await call(application, user=User()))[0]["status"] == 200
    assert (await call(application, user=User(), client=("192.0.2.8", 1)))[0]["status"] == 429
    assert (await call(application, user=None))[0]["status"] == 200
    with pytest.raises(IdentityError, match="authentication middleware outside"):
        await call(application)


async def talk(application: Any, messages: int) -> list[dict[str, Any]]:
    """What the application sends to the server when a WebSocket sends this number of messages."""
    sent: list[dict[str, Any]] = []
    received = iter([{"type": "websocket.connect"}, *[{"type": "websocket.receive", "text": "x"}] * messages])

    async def receive() -> dict[str, Any]:
        return next(received, {"type": "websocket.disconnect", "code": 1000})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "client": ("192.0.2.7", 1)}
    await application(scope, receive, send)
    return sent


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
    await send({"type": "ended", "code": message["code"]})


async def test_the_messages_of_a_websocket_are_limited_where_a_rule_says_so() -> None:
    application = limited(echo, "2/minute", messages=True)
    sent = await talk(application, 2)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.send", "ended"]
    assert sent[-1]["code"] == 1000
    accept, close, ended = await talk(application, 1)
    assert (accept["type"], close["type"], close["code"]) == ("websocket.accept", "websocket.close", 1013)
    assert close["reason"] == "Too many messages: try again in 60 s"
    assert ended == {"type": "ended", "code": 1013}


async def test_a_rule_for_messages_limits_no_request() -> None:
    application = limited(hello, "1/minute", messages=True)
    assert [(await call(application))[0]["status"] for _ in range(3)] == [200, 200, 200]


async def test_a_handshake_that_the_application_declines_is_a_failure() -> None:
    async def decline(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 1000})

    application = limited(decline, "1/minute", count="failures")
    assert await call(application, type="websocket") == [{"type": "websocket.close", "code": 1000}]
    assert await call(application, type="websocket") == [{"type": "websocket.close", "code": 1013}]
    accepting = limited(socket, "1/minute", count="failures")
    assert [(await call(accepting, type="websocket"))[0]["type"] for _ in range(2)] == ["websocket.accept"] * 2


async def test_only_failures_count_where_a_rule_says_so() -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("mine")

    for count, expected in (("failures", [200, 200, 200]), ("all", [200, 429, 429])):
        application = limited(hello, "1/minute", count=count)
        assert [(await call(application))[0]["status"] for _ in range(3)] == expected
    failing = limited(fail, "1/minute", count="successes")
    for _ in range(3):
        with pytest.raises(KeyError):
            await call(failing)


async def test_the_lifespan_is_answered_for_an_application_that_knows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    async def django_like(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError("Django can only handle ASGI/HTTP connections")

    async def aclose(_: Any) -> None:
        closed.append(1)

    application = limited(django_like)
    monkeypatch.setattr(type(application.policy.store), "aclose", aclose)
    messages = iter(["lifespan.startup", "lifespan.shutdown"])
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": next(messages)}

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    await application({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert closed == [1]


async def test_an_application_that_fails_in_its_lifespan_fails() -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await call(limited(fail), type="lifespan")


async def test_the_servers_scope_is_left_as_it_is() -> None:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": ("192.0.2.7", 1)}
    before = dict(scope)

    async def send(_: Any) -> None:
        pass

    await limited(hello)(scope, send, send)
    assert scope == before


class HalfBroken(MemoryStore):
    """A shared store whose async API does not work, as after an upgrade of its client library."""

    scope = Scope.SHARED

    async def adecide(self, charges: Any) -> Any:
        raise StoreUnavailableError("no attribute '_writer'")


class OnAnyLoop(HalfBroken):
    any_loop = True


def test_a_broken_async_api_is_found_at_start() -> None:
    with pytest.raises(StoreUnreachableError, match="_writer"):
        RateLimitMiddleware(hello, Policy(Rule("2/minute"), store=OnAnyLoop()))
    RateLimitMiddleware(hello, Policy(Rule("2/minute"), store=OnAnyLoop(), start_without_store=True))
    RateLimitMiddleware(hello, Policy(Rule("2/minute"), store=OnAnyLoop(), mode="off"))
    wsgi.RateLimitMiddleware(plain_hello, Policy(Rule("2/minute"), store=OnAnyLoop()))


async def test_the_async_api_is_tried_on_a_running_loop_too() -> None:
    with pytest.raises(StoreUnreachableError, match="_writer"):
        RateLimitMiddleware(hello, Policy(Rule("2/minute"), store=OnAnyLoop()))


@pytest.mark.parametrize("options", [{}, {"start_without_store": True}, {"mode": "off"}], ids=str)
async def test_an_async_api_that_belongs_to_a_loop_is_tried_in_the_lifespan(options: dict[str, Any]) -> None:
    application = RateLimitMiddleware(hello, Policy(Rule("2/minute"), store=HalfBroken(), **options))
    refusal = await application.policy.abegin()
    assert isinstance(refusal, StoreUnreachableError) == (options == {})


@pytest.mark.parametrize("options", [{}, {"start_without_store": True}, {"mode": "off"}], ids=str)
def test_a_store_without_an_async_client_is_refused(options: dict[str, Any]) -> None:
    store = RedisStore(client=fakeredis.FakeRedis(socket_timeout=1, socket_connect_timeout=1))
    with pytest.raises(OptionError, match=r"async_client=redis\.asyncio\.Redis\(\.\.\.\)\), or give it a URL"):
        RateLimitMiddleware(hello, Policy(Rule("2/minute"), store=store, **options))
