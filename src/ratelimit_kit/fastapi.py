"""The FastAPI and Starlette integration: `install` for the application, a dependency and a decorator for endpoints.

    install(app, policy)
    @app.post("/login", dependencies=[Depends(RateLimit("5/minute", key="ip"))])
    @app.get("/report") above @ratelimit("1/second", key="user")

The dependency and the decorator use the policy of the middleware that the request has passed through.
"""

import inspect
from collections.abc import Callable, Generator, MutableMapping
from functools import wraps
from typing import Annotated, Any, TypeVar, cast, get_origin

from ratelimit_kit.asgi import TRY_AGAIN_LATER, RateLimitMiddleware, Receive, Send
from ratelimit_kit.core.calling import forwarding, is_asynchronous_generator, is_generator, with_keyword
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.errors import DependencyError, OptionError
from ratelimit_kit.guard.checks.decorator_order import misplaced
from ratelimit_kit.guard.checks.per_request_limiters import place_in_request
from ratelimit_kit.web.http import asgi as scope
from ratelimit_kit.web.http.messages import ALREADY_CHARGED, APPLICATION, POLICY, RESULTS, AlreadyCharged
from ratelimit_kit.web.http.routes import paths_to, routes_of
from ratelimit_kit.web.policy.decorators import bound_rule, recorded, wrap_view
from ratelimit_kit.web.policy.policy import Policy
from ratelimit_kit.web.response.result import CheckResult
from ratelimit_kit.web.rules.pages import (
    Page,
    decorated,
    evaluated,
    label,
    name_of,
    numbered,
    of_instance,
    with_methods,
)
from ratelimit_kit.web.rules.rule import Rule, Tiers

try:
    from starlette.exceptions import HTTPException
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
    from starlette.routing import compile_path
    from starlette.websockets import WebSocket, WebSocketState
except ImportError as error:
    raise DependencyError.missing("ratelimit_kit.fastapi", "Starlette or FastAPI", "fastapi") from error

__all__ = ["RateLimit", "RateLimited", "install", "ratelimit"]

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

DEPENDENCIES = "ratelimit_kit.dependencies"
"""The key of the scope that lists a request's dependencies."""

PARAMETER = "ratelimit_kit_request"
"""The parameter through which the decorator gets the request if the endpoint does not take it."""


class RateLimited(HTTPException):
    """An endpoint's own limit refused a request; an `exception_handler` for this or for 429 may write the response."""

    def __init__(self, result: CheckResult) -> None:
        fields = dict(result.limit_fields)
        wait = f" Try again in {fields['Retry-After']} s." if "Retry-After" in fields else ""
        super().__init__(result.status, f"{result.reason}.{wait}", fields)
        self.result = result


class RateLimit:
    """A dependency that limits the endpoints of a route, router or application; takes the limits and options of Rule.

    Without `name`, each path has its own counters, as written in the route: "/items/{id}" is one path.
    """

    def __init__(self, *limits: str | Limit | Tiers, **options: Any) -> None:
        self._rule = Rule(*limits, **options)
        self._place = place_in_request()

    # FastAPI reads the annotation; up to 0.123 it cannot resolve a string annotation on a callable object.
    async def __call__(self, request: HTTPConnection) -> None:
        """Let the request pass, or raise RateLimited; further calls, as for a WebSocket's messages, charge again."""
        others: list[RateLimit] = request.scope.setdefault(DEPENDENCIES, [])
        known = next((one for one in others if one is self or one._is_built_with(self)), None)  # noqa: SLF001 - its own class
        if known is None:
            others.append(self)
        again = known is not None or _is_accepted(request)
        await _aguard(request, self._rule, self._page(request, others, known or self), again=again)

    def _is_built_with(self, other: "RateLimit") -> bool:
        """Whether both were built alike in a request, at the same place, as for each message."""
        place, rule = other._place, other._rule  # noqa: SLF001 - its own class
        alike = (rule.name, rule.limits) == (self._rule.name, self._rule.limits)
        return self._place is not None and self._place == place and alike

    def _page(self, connection: HTTPConnection, others: "list[RateLimit]", known: "RateLimit") -> Page:
        """The page: the route, and which of its dependencies this is, in the order in which FastAPI calls them."""
        before = [one._rule for one in others[: others.index(known)]]  # noqa: SLF001 - its own class
        if self._rule.name is not None:
            return Page(self._rule.name, None, before)
        name = numbered(with_methods(_route(connection), self._rule), self._rule, before)
        return Page(name, label(before), before)


def ratelimit(*limits: str | Limit | Tiers, **options: Any) -> Callable[[Endpoint], Endpoint]:
    """Limit an endpoint, written below its route; takes the limits and options of Rule.

    Without `name`, each endpoint has its own counters, whatever its paths. The endpoint keeps its signature; if it does
    not take the request, FastAPI sees an extra parameter for it, which is not passed on.
    """
    rule = Rule(*limits, **options)

    def decorate(endpoint: Endpoint) -> Endpoint:
        if inspect.isclass(endpoint):
            raise OptionError(f"{endpoint.__name__} is a class: decorate its methods")
        page = decorated(endpoint, rule)
        if is_generator(endpoint) or is_asynchronous_generator(endpoint):
            return cast("Endpoint", _checked_before(endpoint, rule, page))

        def call(args: Any, kwargs: Any) -> Any:
            _guard(_connection(endpoint, args, kwargs), rule, of_instance(page, endpoint, args))
            return endpoint(*args, **kwargs)

        async def acall(args: Any, kwargs: Any) -> Any:
            await _aguard(_connection(endpoint, args, kwargs), rule, of_instance(page, endpoint, args))
            return await endpoint(*args, **kwargs)

        return cast("Endpoint", _given_a_request(wrap_view(endpoint, rule, call, acall), endpoint))

    return decorate


def _checked_before(endpoint: Any, rule: Rule, page: Page) -> Any:
    """A generator with a dependency that checks the request: FastAPI makes generators, and starts responses, before any runs."""
    from fastapi import Depends  # Starlette has no endpoints that yield

    async def check(connection: HTTPConnection) -> None:
        await _aguard(connection, rule, page)

    async def remove(_args: Any, kwargs: dict[str, Any]) -> None:
        kwargs.pop(name, None)

    def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        kwargs.pop(name, None)
        return (yield from endpoint(*args, **kwargs))

    signature = evaluated(endpoint)
    name = f"{PARAMETER}_{len(signature.parameters)}"
    wrapper: Any = wraps(endpoint)(generate if is_generator(endpoint) else forwarding(endpoint, remove))
    ours = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=Depends(check), annotation=None)
    wrapper.__signature__ = with_keyword(signature, ours)
    return recorded(wrapper, endpoint, rule)


def install(app: Any, policy: Policy) -> None:
    """Limit a FastAPI or Starlette application by a policy, which also writes the refusals of endpoints.

    Install it before the CORS middleware, because the middleware added last is outermost. A policy without rules
    serves dependencies and decorators only.
    """
    app.add_middleware(_Middleware, policy=policy)
    app.add_exception_handler(RateLimited, _refusal)


class _Middleware(RateLimitMiddleware):
    """The ASGI middleware, which before the first lifespan or request also checks how endpoints are decorated."""

    needs_rules = False
    _looked = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if not self._looked and "app" in scope:
            self._looked = True
            routes = [route for _, route in routes_of(scope["app"].routes) if hasattr(route, "endpoint")]
            refusal = misplaced([route.endpoint for route in routes], "@app.get(...)")
            if refusal is not None and self._refusal is None:
                self._refusal = refusal if scope["type"] == "lifespan" else refusal.without_exit()
        await super().__call__(scope, receive, send)


async def _refusal(connection: HTTPConnection, error: RateLimited) -> Response | None:
    response = Response(error.result.body, error.result.status)
    response.raw_headers = scope.raw_fields(error.result.headers)
    if not isinstance(connection, WebSocket):
        return response
    # Starlette sends a returned response only since 0.41, and then even if the server cannot pass it on.
    deny = getattr(connection, "send_denial_response", None)  # since 0.37
    if (
        deny is None
        or _is_accepted(connection)
        or "websocket.http.response" not in connection.scope.get("extensions", {})
    ):
        await connection.close(TRY_AGAIN_LATER)
    else:
        await deny(response)
    return None


def _guard(connection: HTTPConnection, rule: Rule, page: Page, *, again: bool = False) -> None:
    """Check an endpoint's own rule before it is called; `again` charges a request once more."""
    policy = _policy(connection)
    request = _request(connection, again=again)
    bound = bound_rule(policy, rule, page, lambda: _route(connection))
    result = policy.check(request, [bound], page.beside)
    _keep(connection, result, again=again)


async def _aguard(connection: HTTPConnection, rule: Rule, page: Page, *, again: bool = False) -> None:
    """Do what `_guard` does."""
    policy = _policy(connection)
    request = _request(connection, again=again)
    bound = bound_rule(policy, rule, page, lambda: _route(connection))
    result = await policy.acheck(request, [bound], page.beside)
    _keep(connection, result, again=again)


def _request(connection: HTTPConnection, *, again: bool) -> Any:
    """The request as rules see it; `again` as if nothing had been charged yet."""
    asked = {**connection.scope, ALREADY_CHARGED: AlreadyCharged()} if again else connection.scope
    return scope.request_of(asked, raw=connection)


def _is_accepted(connection: HTTPConnection) -> bool:
    """Whether this is a WebSocket whose handshake is over: what is asked for now are its messages."""
    return isinstance(connection, WebSocket) and connection.application_state is not WebSocketState.CONNECTING


def _keep(connection: HTTPConnection, result: CheckResult, *, again: bool) -> None:
    """Keep the result for the response, which gets its fields whoever writes it, and raise if the request was refused."""
    if not again or (result.denied and connection.scope["type"] == "http"):
        connection.scope[RESULTS].append(result)
    if result.denied:
        raise RateLimited(result)


def _policy(connection: HTTPConnection) -> Policy:
    policy = connection.scope.get(POLICY)
    if not isinstance(policy, Policy):
        raise OptionError(
            "the limit of an endpoint finds no policy: write install(app, policy) where the application is created"
        )
    return policy


def _route(connection: HTTPConnection) -> str:
    """The path of the route as written, with its mount point; the same for all values of its parameters.

    A page without a FastAPI route is named after its endpoint.
    """
    application, route = connection.scope[APPLICATION], connection.scope.get("route")
    if route is None:
        return name_of(connection.scope.get("endpoint", application))
    paths = paths_to(application, route)
    if len(paths) == 1:
        return f"path.{paths[0]}"
    outer = connection.scope.get("app_root_path", connection.scope.get("root_path", ""))
    asked = connection.scope["path"].removeprefix(outer)
    return f"path.{next((path for path in paths if compile_path(path)[0].match(asked)), paths[0])}"


def _connection(endpoint: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> HTTPConnection:
    """The request among the arguments of an endpoint; the decorator's own parameter is removed."""
    given = kwargs.get(PARAMETER) if _has_ours(endpoint) else kwargs.pop(PARAMETER, None)
    for value in (given, *args, *kwargs.values()):
        if isinstance(value, HTTPConnection):
            return value
    raise OptionError(
        f"@ratelimit was given no request by {name_of(endpoint)}: it limits endpoints, below their route. For other "
        "functions use ratelimit_kit.ratelimit"
    )


def _given_a_request(wrapper: Any, endpoint: Callable[..., Any]) -> Any:
    """Add a parameter for the request, if the endpoint has none.

    Annotations become objects: FastAPI before 0.123.7 looks up their names in the wrapper's module, which is this one.
    """
    signature = wrapper.__signature__ = evaluated(endpoint)
    if any(_takes_request(parameter) for parameter in signature.parameters.values()):
        return wrapper
    ours = inspect.Parameter(PARAMETER, inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    wrapper.__signature__ = with_keyword(signature, ours)
    return wrapper


def _has_ours(endpoint: Callable[..., Any]) -> bool:
    """Whether a decorator below has added the parameter already."""
    signature = getattr(endpoint, "__signature__", None)
    return signature is not None and PARAMETER in signature.parameters


def _takes_request(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    if annotation is inspect.Parameter.empty:
        return parameter.name in {"request", "websocket", "connection"}
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] in {"Request", "WebSocket", "HTTPConnection"}
    return inspect.isclass(annotation) and issubclass(annotation, HTTPConnection)
