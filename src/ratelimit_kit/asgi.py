"""The ASGI front door: `application = RateLimitMiddleware(application, policy)`.

It limits HTTP requests and WebSocket handshakes, touches no body, and lets everything else pass.
At the end of the lifespan it closes the store's connections of its event loop.

Starlette and FastAPI build their middleware only when the lifespan begins, where an exception would
not stop the server: a refusal is then sent as `lifespan.startup.failed`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from ratelimit_kit.errors import ConfigurationError, IdentityError
from ratelimit_kit.guard.refusal import lifespan_message
from ratelimit_kit.guard.servers import within_lifespan
from ratelimit_kit.web.answer import Answer
from ratelimit_kit.web.headers import Header, to_add
from ratelimit_kit.web.policy import Policy, started
from ratelimit_kit.web.request import Headers, Request

__all__ = ["HealthApplication", "RateLimitMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]


class RateLimitMiddleware:
    """Limits every request to an ASGI application by a policy.

    Building it raises StartupRefused when the policy could not be enforced here.
    """

    def __init__(self, app: Application, policy: Policy) -> None:
        self.app = app
        self.policy = policy
        self._refusal: ConfigurationError | None = None
        try:
            started(policy)
        except ConfigurationError as error:
            if not within_lifespan():
                raise
            self._refusal = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 429 or 503, or let the application answer."""
        if self._refusal is not None:
            await _refuse(scope, receive, send, self._refusal)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
        else:
            answer = await self.policy.acheck(_request(scope))
            if answer.denied:
                await _deny(scope, receive, send, answer)
            else:
                await self.app(scope, receive, _adding(answer.headers, send) if answer.headers else send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self.policy.abegin()
        if refusal is None:
            await self.app(scope, receive, self._closing(send))
        else:
            await _refuse(scope, receive, send, refusal)

    def _closing(self, send: Send) -> Send:
        async def forward(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                await self.policy.store.aclose()
            await send(message)

        return forward


class HealthApplication:
    """Answers every request with the health of a policy; mount it where no rule limits."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer 200, or 503 when limits cannot be enforced."""
        if scope["type"] != "http":
            return
        health = await self.policy.ahealth()
        headers = _raw(health.fields())
        await send({"type": "http.response.start", "status": health.http_status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else health.body()})


async def _refuse(scope: Scope, receive: Receive, send: Send, error: ConfigurationError) -> None:
    """Fail the start, and whatever a server asks nevertheless."""
    if scope["type"] != "lifespan":
        raise error
    await receive()
    await send({"type": "lifespan.startup.failed", "message": await lifespan_message(error)})


async def _deny(scope: Scope, receive: Receive, send: Send, answer: Answer) -> None:
    """Answer by ourselves; a WebSocket that cannot be sent a response is closed, which servers show as 403."""
    prefix = ""
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1013})
            return
        prefix = "websocket."
    await send({"type": prefix + "http.response.start", "status": answer.status, "headers": _raw(answer.headers)})
    await send({"type": prefix + "http.response.body", "body": answer.body})


def _adding(fields: list[Header], send: Send) -> Send:
    async def forward(message: Message) -> None:
        if message["type"] in {"http.response.start", "websocket.http.response.start"}:
            headers = list(message.get("headers", ()))
            names = {bytes(name).lower() for name, _ in headers}
            added = to_add(fields, message["status"], lambda name: name.lower().encode() in names)
            message = {**message, "headers": [*headers, *_raw(added)]}
        elif message["type"] == "websocket.accept":
            message = {**message, "headers": [*message.get("headers", ()), *_raw(fields)]}
        await send(message)

    return forward


def _raw(fields: Iterable[Header]) -> RawHeaders:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def _request(scope: Scope) -> Request:
    client = scope.get("client")
    return Request(
        method=scope.get("method", "GET"),
        path=scope["path"],
        peer=client[0] if client else None,
        headers=Headers(
            lambda: ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope.get("headers", ()))
        ),
        raw=scope,
        user=lambda: _user(scope),
    )


def _user(scope: Scope) -> str | None:
    if "user" not in scope:
        raise IdentityError(
            'key="user" finds no user in the ASGI scope: put the authentication middleware outside of the rate limit, or count by key="ip"'
        )
    user = scope["user"]
    if not getattr(user, "is_authenticated", user is not None):
        return None
    for name in ("pk", "id", "username"):
        value = getattr(user, name, None)
        if value is not None:
            return str(value)
    return str(user)
