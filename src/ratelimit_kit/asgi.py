"""The ASGI integration: `application = RateLimitMiddleware(application, policy)`.

It limits HTTP requests, WebSocket handshakes and, by rules with messages=True, the messages that a WebSocket receives.
It never touches a body, and lets everything else pass. At the end of the lifespan it closes its event loop's
connections to the store.

Starlette and FastAPI build their middleware only when the lifespan begins, where an exception does
not stop the server, so a refusal is sent as `lifespan.startup.failed`.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ratelimit_kit.errors import ConfigurationError, LimitExceeded
from ratelimit_kit.guard.abort import lifespan_message
from ratelimit_kit.guard.checks.decorator_order import REFUSALS, refusal_in
from ratelimit_kit.guard.workers.detection import detected, within_lifespan
from ratelimit_kit.web.http.asgi import RawFields, Scope, raw_fields, request_of
from ratelimit_kit.web.http.messages import (
    ALREADY_CHARGED,
    APPLICATION,
    POLICY,
    RESULTS,
    AlreadyCharged,
    Request,
    Response,
)
from ratelimit_kit.web.policy.policy import Policy, ended, responder_of, started
from ratelimit_kit.web.response.assets import serving
from ratelimit_kit.web.response.headers import missing, replaced
from ratelimit_kit.web.response.health import LIVE
from ratelimit_kit.web.response.result import CheckResult

__all__ = ["HealthApplication", "RateLimitMiddleware"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TRY_AGAIN_LATER = 1013
"""The close code for a WebSocket that sent too much (from the registry of RFC 6455)."""


class RateLimitMiddleware:
    """Limits every request to an ASGI application by a policy.

    Creating it raises StartupRefused if the policy could not be enforced here. `assets` is a path prefix, such as
    "/ratelimit-kit", under which it serves the browser module and its stylesheet.
    """

    needs_rules = True
    """Whether a policy without rules is a mistake: it is if no decorator can add any."""

    def __init__(self, app: Application, policy: Policy, *, assets: str | None = None) -> None:
        self._asset = serving(assets)
        self.app = app
        self.policy = policy
        self._refusal: ConfigurationError | None = None
        try:
            started(policy, messages=True, needs_rules=self.needs_rules, asynchronous=True)
        except ConfigurationError as error:
            if not within_lifespan():
                raise
            self._refusal = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 429 or 503, or call the application."""
        if self._refusal is not None or scope["type"] not in {"http", "websocket"}:
            await self._pass(scope, receive, send)
            return
        request = request_of(scope)
        result = (scope["type"] == "http" and self._asset(request)) or await self.policy.acheck(request)
        if result.denied:
            await _deny(scope, receive, send, result)
            return
        if scope["type"] == "websocket" and self.policy.message_rules:
            receive = _Conversation(self.policy, scope, receive, send).receive
        finishing = _Finishing(result, send)
        scope = {
            **scope,
            ALREADY_CHARGED: request.already_charged,
            POLICY: self.policy,
            RESULTS: finishing.results,
            APPLICATION: scope.get("app", self.app),
        }
        exceeding = _Exceeding(self.policy, scope, request, finishing.send)
        token = REFUSALS.set(exceeding.refusals)
        try:
            await self.app(scope, receive, exceeding.send)
        except (LimitExceeded, ExceptionGroup) as raised:  # of the application itself, or of functions that it calls
            error = refusal_in(raised)
            if error is None:
                await finishing.fail()
                raise
            if exceeding.told:
                return
            if finishing.begun and scope["type"] == "http":
                await finishing.fail()
                raise
            refused = await responder_of(self.policy).aexceeded(request, error)
            await _deny(scope, None, finishing.send, refused)
        except BaseException:
            await finishing.fail()
            raise
        finally:
            REFUSALS.reset(token)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle everything that rules do not limit."""
        if self._refusal is not None:
            await _refuse(scope, receive, send, self._refusal)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self.policy.abegin()
        if refusal is not None:
            await _refuse(scope, receive, send, refusal)
            return
        asked = False

        async def listen() -> Message:
            nonlocal asked
            asked = True
            return await receive()

        try:
            await self.app(scope, listen, self._closing(send))
        except Exception:
            if asked:
                raise
            await self._live_alone(receive, self._closing(send))

    async def _live_alone(self, receive: Receive, send: Send) -> None:
        """Handle the lifespan for an application that does not, such as Django's."""
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    def _closing(self, send: Send) -> Send:
        async def forward(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                await ended(self.policy)
            await send(message)

        return forward


class HealthApplication:
    """Responds to every request with the health of a policy; mount it where no rule applies.

    With `live=True` it is a liveness probe: it does not contact the store, and shows only that this process responds.
    """

    def __init__(self, policy: Policy, *, live: bool = False) -> None:
        self.policy = policy
        self._live = live

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Respond with 200, or 503 if limits cannot be enforced."""
        if scope["type"] != "http":
            return
        health = LIVE if self._live else await self.policy.ahealth()
        headers = raw_fields(health.fields())
        await send({"type": "http.response.start", "status": health.http_status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else health.body()})


class _Finishing:
    """A `send` that finishes the results at the start of the response, and adds their fields there.

    Decorators and dependencies of the application may have added results of their own.
    """

    def __init__(self, result: CheckResult, send: Send) -> None:
        self.results = [result]
        self._send = send
        self.begun = False

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in {"http.response.start", "websocket.http.response.start"}:
            message = await self._finished(message, message["status"])
        elif kind == "websocket.accept":
            message = await self._finished(message, 101)
        elif kind == "websocket.close" and not self.begun:  # closed without being accepted: servers send 403
            await self._finished(message, 403)
        await self._send(message)

    async def fail(self) -> None:
        """Handle an exception of the application; if no response was started, it counts as one with status 500."""
        if not self.begun:
            for result in self.results:
                await result.afail()

    async def _finished(self, message: Message, status: int) -> Message:
        self.begun = True
        headers = None
        for result in self.results:
            if result.denied:  # the application may have written this refusal itself
                headers = list(message.get("headers", ()))
                headers += raw_fields(missing(result.limit_fields, status, RawFields(headers)))
        for result in reversed(self.results):  # the innermost first, as if each had its own middleware
            if result.touches:
                headers = list(message.get("headers", ())) if headers is None else headers
                response = Response(status, RawFields(headers))
                fields = await result.afinish(response) if result.pending else result.finish(response)
                if old := replaced(fields):
                    headers = [field for field in headers if field[0].decode("latin-1").lower() not in old]
                headers += raw_fields(fields)
        return message if headers is None else {**message, "headers": headers}


class _Exceeding:
    """A `send` that replaces the 500 that a framework makes of the refusal of a function which a view has called.

    A 500 while a refusal is being handled is taken to be that one's: most frameworks show a middleware no exception.
    """

    def __init__(self, policy: Policy, scope: Scope, request: Request, send: Send) -> None:
        self.refusals: list[weakref.ref[LimitExceeded]] = []
        self.told = False
        self._policy = policy
        self._scope = scope
        self._request = request
        self._send = send

    async def send(self, message: Message) -> None:
        if self.told:
            return
        if self.refusals and message["type"] == "http.response.start" and message["status"] == 500:
            error = self.refusals[-1]()
            if error is not None:
                self.told = True
                refused = await responder_of(self._policy).aexceeded(self._request, error)
                await _deny(self._scope, None, self._send, refused)
                return
        await self._send(message)


class _Conversation:
    """A WebSocket whose received messages are counted; one too many closes it and disconnects the application."""

    def __init__(self, policy: Policy, scope: Scope, receive: Receive, send: Send) -> None:
        self._policy = policy
        self._scope = scope
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return message
        request = request_of({**self._scope, ALREADY_CHARGED: AlreadyCharged()})  # each message is charged
        result = await self._policy.acheck(request, self._policy.message_rules)
        if not result.denied:
            return message
        wait = dict(result.headers).get("Retry-After")
        reason = f"Too many messages: try again in {wait} s" if wait else "This message asks for too much"
        await self._send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": reason})
        return {"type": "websocket.disconnect", "code": TRY_AGAIN_LATER, "reason": reason}


async def _refuse(scope: Scope, receive: Receive, send: Send, error: ConfigurationError) -> None:
    """Fail the start-up; if the server sends requests all the same, raise the error."""
    if scope["type"] != "lifespan":
        raise error
    await receive()
    await send({"type": "lifespan.startup.failed", "message": await lifespan_message(error)})
    if detected() is None:  # Starlette's TestClient waits forever unless the application raises too, as Starlette does
        raise RuntimeError(f"the application does not start: {error}")


async def _deny(scope: Scope, receive: Receive | None, send: Send, result: CheckResult) -> None:
    """Send the denial; if the server cannot send one to a WebSocket, close it, which servers turn into 403.

    Without `receive` the application has begun to receive, and perhaps to send.
    """
    prefix = ""
    if scope["type"] == "websocket":
        if receive is not None:
            await receive()
        if receive is None or "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
            return
        prefix = "websocket."
    await send({"type": prefix + "http.response.start", "status": result.status, "headers": raw_fields(result.headers)})
    await send({"type": prefix + "http.response.body", "body": result.body})
