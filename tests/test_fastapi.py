"""`install`, the dependency and the decorator, in Starlette's own test client."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette import testclient
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from ratelimit_kit import MemoryStore, Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware
from ratelimit_kit.errors import ConfigurationError, OptionError
from ratelimit_kit.fastapi import RateLimit, RateLimited, install, ratelimit
from ratelimit_kit.testing import ManualClock

SOCKET_REFUSED: Any = getattr(testclient, "WebSocketDenialResponse", WebSocketDisconnect)
"""Before 0.37, Starlette's test client sees no response to a refused handshake, only that it is closed."""


def site(*rules: Rule, **options: Any) -> FastAPI:
    app = FastAPI()
    install(app, Policy(*rules, **options))
    return app


def codes(app: Any, *paths: str) -> list[int]:
    with TestClient(app) as client:
        return [client.get(path).status_code for path in paths]


def test_a_dependency_limits_a_route_whatever_its_parameters() -> None:
    app = site(Rule("9/minute", name="site"))

    @app.get("/items/{number}", dependencies=[Depends(RateLimit("2/minute", key="ip"))])
    async def item(number: int) -> int:
        return number

    with TestClient(app) as client:
        answers = [client.get(f"/items/{number}") for number in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].json() == 0
    assert answers[0].headers["RateLimit"] == '"limit";r=1;t=30, "site";r=8;t=54'
    refused = answers[2]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["violated-policies"] == ["limit"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_a_router_shares_a_named_limit() -> None:
    app = site()
    router = APIRouter(prefix="/api", dependencies=[Depends(RateLimit("2/minute", name="api"))])
    router.get("/a")(lambda: "a")
    router.get("/b")(lambda: "b")
    app.include_router(router)
    assert codes(app, "/api/a", "/api/b", "/api/a") == [200, 200, 429]


def test_a_decorator_keeps_the_signature_and_the_kind() -> None:
    app = site()

    @app.get("/sum")
    @ratelimit("1/minute")
    async def add(left: int, right: int = 1) -> int:
        """Adds."""
        return left + right

    @app.get("/plain")
    @ratelimit("1/minute")
    def plain(request: Request, word: str) -> str:
        return f"{request.method} {word}"

    assert (add.__name__, add.__doc__, inspect.iscoroutinefunction(add)) == ("add", "Adds.", True)
    assert list(inspect.signature(plain).parameters) == ["request", "word"]
    with TestClient(app) as client:
        assert client.get("/sum?left=2").json() == 3
        assert client.get("/sum?left=2").status_code == 429
        assert client.get("/sum").status_code == 422
        assert client.get("/plain?word=x").json() == "GET x"
        assert client.get("/plain?word=x").status_code == 429
        schema = client.get("/openapi.json").json()
    assert [one["name"] for one in schema["paths"]["/sum"]["get"]["parameters"]] == ["left", "right"]


def test_an_exception_handler_of_the_application_words_the_refusal() -> None:
    for key in (429, RateLimited):
        app = site()
        app.add_exception_handler(
            key, lambda _, error: PlainTextResponse("my own words", error.status_code, error.headers)
        )
        app.get("/")(ratelimit("1/minute", name="own")(lambda: "home"))
        with TestClient(app) as client:
            client.get("/")
            refused = client.get("/")
        assert (refused.status_code, refused.text) == (429, "my own words")
        assert refused.headers["RateLimit"].startswith('"own";r=0;')
        assert "retry-after" in refused.headers


def test_only_failures_count_where_a_rule_says_so() -> None:
    app = site()
    calls = []

    @app.get("/login/{password}")
    @ratelimit("2/minute", count="failures", name="login")
    async def sign_in(password: str) -> Any:
        calls.append(1)
        return PlainTextResponse(password, 401 if password == "wrong" else 200)

    tries = [f"/login/{password}" for password in ("right", "right", "wrong", "right", "wrong", "right")]
    assert codes(app, *tries) == [200, 200, 401, 200, 401, 429]
    assert len(calls) == 5


def test_a_middleware_alone_serves_decorators_too() -> None:
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, policy=Policy(Rule("9/minute")))
    app.get("/")(ratelimit("1/minute", name="own")(lambda: "home"))
    with TestClient(app) as client:
        client.get("/")
        refused = client.get("/")
    assert refused.status_code == 429
    assert refused.json() == {"detail": "Too Many Requests. Try again in 60 s."}
    assert refused.headers["RateLimit"].count('"own"') == 1


def test_starlette_endpoints_and_websockets() -> None:
    async def home(request: Any) -> PlainTextResponse:
        return PlainTextResponse("home")

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app = Starlette(
        routes=[Route("/", ratelimit("1/minute")(home)), WebSocketRoute("/ws", ratelimit("1/minute")(talk))]
    )
    install(app, Policy())
    with TestClient(app) as client:
        assert [client.get("/").status_code for _ in range(2)] == [200, 429]
        with client.websocket_connect("/ws") as socket, pytest.raises(WebSocketDisconnect):
            socket.receive_text()
        with pytest.raises(SOCKET_REFUSED) as refused, client.websocket_connect("/ws"):
            pass
    if SOCKET_REFUSED is WebSocketDisconnect:
        assert refused.value.code == 1013
    else:
        assert refused.value.status_code == 429
        assert refused.value.json()["title"] == "Too many requests"


def test_without_a_policy_nothing_is_guessed() -> None:
    app = FastAPI()
    app.get("/")(ratelimit("1/minute")(lambda: "home"))
    with TestClient(app) as client, pytest.raises(OptionError, match=r"finds no policy: write install\(app, policy\)"):
        client.get("/")
    with pytest.raises(OptionError, match="given no request"):
        ratelimit("1/minute")(lambda: "home")()
    with pytest.raises(OptionError, match="decorate its methods"):
        ratelimit("1/minute")(Request)


def test_cors_stands_outside() -> None:
    app = site(Rule("1/minute"))
    app.add_middleware(CORSMiddleware, allow_origins=["https://example.org"])
    app.get("/")(lambda: "home")
    origin = {"Origin": "https://example.org"}
    with TestClient(app) as client:
        first, refused = client.get("/", headers=origin), client.get("/", headers=origin)
        preflight = client.options("/", headers={**origin, "Access-Control-Request-Method": "GET"})
    assert (first.status_code, refused.status_code, preflight.status_code) == (200, 429, 200)
    for answer in (first, refused):
        assert answer.headers["access-control-allow-origin"] == "https://example.org"
        assert "RateLimit" in answer.headers["access-control-expose-headers"]


def test_streams_stay_streams_and_errors_pass() -> None:
    app = site(Rule("9/minute"))
    calls = []

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]))

    @app.get("/fail")
    @ratelimit("5/minute")
    async def fail() -> None:
        calls.append(1)
        raise KeyError("mine")

    with TestClient(app) as client:
        assert client.get("/stream").text == "ab"
        with pytest.raises(KeyError, match="mine"):
            client.get("/fail")
    assert calls == [1]


def test_the_dependency_gives_its_request_to_callables() -> None:
    app = site()

    async def tenant(request: Request) -> str:
        return request.headers["x-tenant"]

    limit = RateLimit("1/minute", key=tenant)

    @app.get("/")
    async def home(_: None = Depends(limit)) -> str:
        return "home"

    with TestClient(app) as client:
        asked = [client.get("/", headers={"X-Tenant": name}).status_code for name in ("a", "b", "a")]
    assert asked == [200, 200, 429]


def misplacing() -> FastAPI:
    app = site()

    @ratelimit("1/minute")
    @app.get("/wrong")
    def wrong() -> str:
        return "unlimited"

    return app


def test_a_decorator_above_its_route_is_refused_at_start() -> None:
    with pytest.raises(RuntimeError, match=r"above the route of misplacing.*wrong.*RLK210"), TestClient(misplacing()):
        pass


def test_a_decorator_above_its_route_is_refused_without_a_lifespan_too() -> None:
    client = TestClient(misplacing())
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="RLK210"):
            client.get("/wrong")


def test_a_decorator_on_a_router_that_is_included_is_fine() -> None:
    app = site()
    router = APIRouter()

    @router.get("/right")
    @ratelimit("1/minute")
    async def right() -> str:
        return "limited"

    app.include_router(router, prefix="/api")
    assert codes(app, "/api/right", "/api/right") == [200, 429]


BUILT_ONCE = {
    "named": RateLimit("3/minute", key="ip", name="messages"),
    "unnamed": RateLimit("3/minute", key="ip"),
    "with a lambda": RateLimit("3/minute", key=lambda request: request.url.path),
}
BUILT_FOR_EACH: dict[str, Callable[[], RateLimit]] = {
    "named": lambda: RateLimit("3/minute", key="ip", name="messages"),
    "unnamed": lambda: RateLimit("3/minute", key="ip"),
    "with a lambda": lambda: RateLimit("3/minute", key=lambda request: request.url.path),
}


def messages(limit: Callable[[], RateLimit], *rules: Rule, **options: Any) -> list[str]:
    """What six messages over one WebSocket are told, each of which asks for a limit by hand."""
    app = FastAPI()
    install(app, Policy(*rules, store=MemoryStore(clock=ManualClock())))

    @app.websocket("/ws", **options)
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        async for _ in websocket.iter_text():
            try:
                await limit()(websocket)
            except RateLimited:
                await websocket.send_text("no")
            else:
                await websocket.send_text("yes")

    with TestClient(app).websocket_connect("/ws") as socket:
        told = []
        for _ in range(6):
            socket.send_text("x")
            told.append(socket.receive_text())
    return told


@pytest.mark.parametrize("name", BUILT_ONCE)
def test_each_message_that_asks_by_hand_is_charged(name: str) -> None:
    limit = BUILT_ONCE[name]
    assert messages(lambda: limit) == ["yes"] * 3 + ["no"] * 3
    assert messages(lambda: limit, dependencies=[Depends(limit)]) == ["yes"] * 2 + ["no"] * 4  # and the handshake


@pytest.mark.parametrize("name", BUILT_FOR_EACH)
def test_so_is_one_whose_limit_is_built_for_it(name: str) -> None:
    assert messages(BUILT_FOR_EACH[name]) == ["yes"] * 3 + ["no"] * 3


def test_the_handshake_excuses_no_message_from_a_limit_of_the_same_name() -> None:
    rule = Rule("3/minute", key="ip", name="messages")
    assert messages(lambda: BUILT_ONCE["named"], rule) == ["yes"] * 2 + ["no"] * 4


@pytest.mark.parametrize("make", [lambda: BUILT_ONCE["unnamed"], BUILT_FOR_EACH["unnamed"]], ids=["once", "each time"])
def test_a_request_that_asks_by_hand_several_times_is_charged_each_time(make: Callable[[], RateLimit]) -> None:
    app = FastAPI()
    install(app, Policy(store=MemoryStore(clock=ManualClock())))

    @app.get("/")
    async def page(request: Request) -> None:
        for _ in range(2):
            await make()(request)

    client = TestClient(app)
    assert [client.get("/").status_code for _ in range(3)] == [200, 429, 429]
