"""Unnamed decorators: every decorated view has its own counter, whatever its kind and whichever URLs lead to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper, wraps
from typing import Any

import flask
import flask.views
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings
from django.utils.decorators import method_decorator
from django.views import View
from fastapi import APIRouter, Depends, FastAPI
from fastapi import Request as Asked
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router

import ratelimit_kit.django
import ratelimit_kit.flask
from django.urls import path
from ratelimit_kit import MemoryStore, Policy, Rule
from ratelimit_kit.errors import StartupRefused
from ratelimit_kit.fastapi import RateLimit, install
from ratelimit_kit.fastapi import ratelimit as of_fastapi
from ratelimit_kit.web.rules.pages import decorated, name_of
from tests.integrations import Site, ask_asgi, ask_wsgi

LIMIT = "2/minute"


class CallableView:
    """A view that is a callable object."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __call__(self, *arguments: Any) -> Any:
        return self.word


class AwaitableView(CallableView):
    async def __call__(self, *arguments: Any) -> Any:
        return self.word


def worded(word: str, *arguments: Any) -> Any:
    return word


async def aworded(word: str) -> str:
    return word


def made(word: str) -> Callable[..., Any]:
    def view(*arguments: Any) -> Any:
        return word

    return view


VIEWS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "functions of one factory": (made("a"), made("b")),
    "partials": (partial(worded, "a"), partial(worded, "b")),
    "partials of a coroutine function": (partial(aworded, "a"), partial(aworded, "b")),
    "objects": (CallableView("a"), CallableView("b")),
    "asynchronous objects": (AwaitableView("a"), AwaitableView("b")),
    "lambdas": (lambda *_: "a", lambda *_: "b"),
}


def flask_site(first: Any, second: Any) -> Site:
    app = flask.Flask("pages")
    ratelimit_kit.flask.RateLimit(app, Policy(store=MemoryStore()))
    for number, view in enumerate((first, second)):
        app.add_url_rule(f"/{number}", view_func=ratelimit_kit.flask.ratelimit(LIMIT)(view), endpoint=str(number))
    return Site(app, asgi=False, ran=[])


def fastapi_site(first: Any, second: Any) -> Site:
    app = FastAPI()
    install(app, Policy(store=MemoryStore()))
    for number, view in enumerate((first, second)):
        app.router.routes.append(Route(f"/{number}", starlette(of_fastapi(LIMIT)(view))))
    return Site(app, asgi=True, ran=[])


def starlette(view: Any) -> Any:
    import inspect

    async def endpoint(request: Asked) -> PlainTextResponse:
        answer = view(ratelimit_kit_request=request)
        return PlainTextResponse(await answer if inspect.isawaitable(answer) else answer)

    return endpoint


def django_site(first: Any, second: Any, limit: Any = None) -> Site:
    limit = limit or ratelimit_kit.django.ratelimit(LIMIT)

    def answering(view: Any) -> Any:
        kind = type(view)
        if isinstance(view, partial):
            return partial(lambda word, request: HttpResponse(word), *view.args)
        if kind in {CallableView, AwaitableView}:
            return type(
                kind.__name__, (), {"__call__": lambda _, request: HttpResponse(view.word), "__module__": "m"}
            )()
        return made_for_django(view)

    urls = type(
        "Urls", (), {"urlpatterns": [path(str(at), limit(answering(one))) for at, one in enumerate((first, second))]}
    )
    setting = {"store": MemoryStore(), "rules": [{"limits": "1000/minute", "name": "other"}]}
    settings = override_settings(ROOT_URLCONF=urls, RATELIMIT_KIT=setting)

    def application(environ: Any, start_response: Any) -> Any:
        with settings:
            return WSGIHandler()(environ, start_response)

    return Site(application, asgi=False, ran=[])


def made_for_django(view: Any) -> Any:
    def answered(request: Any) -> HttpResponse:
        return HttpResponse(view())

    return answered


SITES = {"flask": flask_site, "fastapi": fastapi_site, "django": django_site}


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("name", SITES)
def test_each_view_has_a_counter_of_its_own(name: str, kind: str) -> None:
    site = SITES[name](*VIEWS[kind])
    answers = [site.ask("/0") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [site.ask("/1").status for _ in range(3)] == [200, 200, 429]
    assert answers[0].body == b"a"
    assert '"limit"' in answers[0].fields["ratelimit-policy"]
    assert "." not in answers[0].fields["ratelimit-policy"]
    assert b'"limit"' in answers[2].body


@pytest.mark.parametrize(
    "view", [made("a"), partial(worded, "a"), CallableView("a")], ids=["function", "partial", "object"]
)
@pytest.mark.parametrize("name", SITES)
def test_one_view_has_one_counter_whatever_leads_to_it(name: str, view: Any) -> None:
    if name == "django":
        one = ratelimit_kit.django.ratelimit(LIMIT)(made_for_django(view))
        site = django_site(view, view, limit=lambda _: one)
    else:
        site = SITES[name](view, view)
    assert [site.ask(where).status for where in ("/0", "/1", "/0", "/1")] == [200, 200, 429, 429]


def test_names_tell_methods_and_repetitions_apart() -> None:
    views = [made("a"), made("b")]
    rule, posts = Rule(LIMIT), Rule(LIMIT, methods=["POST", "PUT"])
    first = decorated(views[0], rule)
    assert first.name.startswith("tests.web.rules.test_pages.made.<locals>.view")
    assert decorated(views[0], rule).name == first.name
    assert decorated(views[1], rule).name != first.name
    assert decorated(views[0], posts).name.partition("#")[0] == "tests.web.rules.test_pages.made.<locals>.view.POST-PUT"
    assert decorated(views[0], Rule(LIMIT, name="own")).name == "own"
    assert name_of(partial(partial(worded, 1), 2)) == "tests.web.rules.test_pages.worded"
    assert name_of(CallableView("a")) == "tests.web.rules.test_pages.CallableView"


def test_a_view_that_is_decorated_in_each_request_keeps_its_counter() -> None:
    app = flask.Flask("late")
    ratelimit_kit.flask.RateLimit(app, Policy(store=MemoryStore()))

    @app.get("/")
    def late() -> Any:
        def inner() -> str:
            return "in"

        return ratelimit_kit.flask.ratelimit(LIMIT)(inner)()

    site = Site(app, asgi=False, ran=[])
    assert site.statuses(3, "/") == [200, 200, 429]


@pytest.mark.parametrize("order", [1, -1])
def test_two_decorators_for_two_methods(order: int) -> None:
    app = flask.Flask("methods")
    ratelimit_kit.flask.RateLimit(app, Policy(store=MemoryStore()))
    both = [ratelimit_kit.flask.ratelimit("3/minute", methods=[method]) for method in ("GET", "POST")][::order]
    app.add_url_rule("/", view_func=both[0](both[1](made("a"))), methods=["GET", "POST"])
    site = Site(app, asgi=False, ran=[])
    assert site.statuses(4, "/") == [200, 200, 200, 429]
    assert site.statuses(4, "/", method="POST") == [200, 200, 200, 429]


def test_two_decorators_of_one_kind_have_names_of_their_own_in_fields() -> None:
    app = flask.Flask("twice")
    ratelimit_kit.flask.RateLimit(app, Policy(store=MemoryStore()))
    limit = ratelimit_kit.flask.ratelimit
    app.add_url_rule("/", view_func=limit("5/minute", key="ip")(limit("3/minute", key="global")(made("a"))))
    answers = [Site(app, asgi=False, ran=[]).ask("/") for _ in range(4)]
    assert answers[0].fields["ratelimit-policy"] == '"limit-2";q=5;w=60, "limit";q=3;w=60'
    assert [answer.status for answer in answers] == [200, 200, 200, 429]


def test_flasks_class_based_views_and_blueprints() -> None:
    class Page(flask.views.View):
        decorators = [ratelimit_kit.flask.ratelimit(LIMIT)]  # noqa: RUF012 - as Flask's documentation writes it

        def dispatch_request(self) -> str:
            return "page"

    app = flask.Flask("classes")
    ratelimit_kit.flask.RateLimit(app, Policy(store=MemoryStore()))
    for name in ("a", "b"):
        app.add_url_rule(f"/{name}", view_func=Page.as_view(name))
    blueprint = flask.Blueprint("shop", __name__)
    blueprint.get("/shop")(made("shop"))
    ratelimit_kit.flask.ratelimit(LIMIT, methods=["GET"])(blueprint)
    ratelimit_kit.flask.ratelimit(LIMIT, methods=["HEAD"])(blueprint)
    app.register_blueprint(blueprint)
    site = Site(app, asgi=False, ran=[])
    assert [site.statuses(3, f"/{name}") for name in ("a", "b", "shop")] == [[200, 200, 429]] * 3
    assert site.statuses(3, "/shop", method="HEAD") == [200, 200, 429]


def test_djangos_methods_are_called_by_their_class() -> None:
    limit = method_decorator(ratelimit_kit.django.ratelimit(LIMIT))

    def page(word: str) -> type[View]:
        class Page(View):
            @limit
            @method_decorator(ratelimit_kit.django.ratelimit("9/minute", methods=["POST"]))
            def get(self, request: Any) -> HttpResponse:
                return HttpResponse(word)

        return Page

    views = [page("a").as_view(), page("b").as_view()]
    urls = type("Urls", (), {"urlpatterns": [path("a", views[0]), path("again", views[0]), path("b", views[1])]})
    with override_settings(ROOT_URLCONF=urls, RATELIMIT_KIT={"store": MemoryStore(), "rules": [{"limits": "99/s"}]}):
        handler = WSGIHandler()
        asked = [
            ask_wsgi(handler, where, "GET", [], "203.0.113.9").status
            for where in ("/a", "/again", "/a", "/b", "/b", "/b")
        ]
    assert asked == [200, 200, 429, 200, 200, 429]


def of_routes() -> tuple[FastAPI, APIRouter]:
    app = FastAPI()
    install(app, Policy(store=MemoryStore()))
    return app, APIRouter()


def limited_route(router: Any, where: str, **options: Any) -> None:
    router.add_api_route(
        where,
        endpoint=made("in"),
        methods=["GET", "POST"],
        dependencies=[Depends(RateLimit(LIMIT, **options))],
        response_model=None,
    )


def test_a_dependency_is_called_by_the_route_as_it_is_written() -> None:
    app, router = of_routes()
    inner = FastAPI()
    for one, where in ((app, "/items/{number}"), (router, "/"), (inner, "/report")):
        one.add_api_route(where, plain, dependencies=[Depends(RateLimit(LIMIT))])
    app.include_router(router, prefix="/users/{user}")
    other = APIRouter()
    other.add_api_route("/", plain, dependencies=[Depends(RateLimit(LIMIT))])
    app.include_router(other, prefix="/groups")
    app.include_router(other, prefix="/teams/{team}")
    app.mount("/shops/{shop}", inner)
    app.mount("/caf\u00e9s", inner)
    site = Site(app, asgi=True, ran=[])
    for paths in (
        ["/items/1", "/items/2", "/items/3"],
        ["/users/a/", "/users/b/", "/users/c/"],
        ["/groups/", "/groups/", "/groups/"],
        ["/teams/a/", "/teams/b/", "/teams/c/"],
        ["/shops/a/report", "/shops/b/report", "/shops/c/report"],
        ["/caf\u00e9s/report"] * 3,
    ):
        assert [site.ask(where).status for where in paths] == [200, 200, 429], paths


async def plain() -> str:
    return "in"


def test_two_dependencies_of_one_route_are_two() -> None:
    app, _ = of_routes()
    gets, posts = RateLimit(LIMIT, methods=["GET"]), RateLimit(LIMIT, methods=["POST"])
    twice = RateLimit("3/minute", key="global")
    app.add_api_route("/", plain, methods=["GET", "POST"], dependencies=[Depends(one) for one in (gets, posts, twice)])
    site = Site(app, asgi=True, ran=[])
    first = site.ask("/")
    assert first.fields["ratelimit-policy"] == '"limit-3";q=3;w=60, "limit";q=2;w=60'
    assert [site.ask("/").status, site.ask("/").status] == [200, 429]
    assert [site.ask("/", method="POST").status for _ in range(2)] == [200, 429]


def test_a_page_of_starlette_is_called_by_its_endpoint() -> None:
    limit = RateLimit(LIMIT)

    async def page(request: Asked) -> PlainTextResponse:
        await limit(request)
        return PlainTextResponse("in")

    async def shop(request: Asked) -> PlainTextResponse:
        return await page(request)

    app, _ = of_routes()
    app.router.routes += [Route("/a/{number}", page), Mount("/m/{shop}", Router([Route("/b", shop)]))]
    site = Site(app, asgi=True, ran=[])
    assert [site.ask(f"/a/{number}").status for number in range(3)] == [200, 200, 429]
    assert [site.ask(f"/m/{shop}/b").status for shop in "xyz"] == [200, 200, 429]


def test_a_misplaced_decorator_is_found_in_an_included_router() -> None:
    app, router = of_routes()
    view = made("in")
    router.add_api_route("/", view, response_model=None)
    of_fastapi(LIMIT)(view)
    app.include_router(router, prefix="/api")
    with pytest.raises(Exception, match="RLK210") as caught:
        Site(app, asgi=True, ran=[]).ask("/api/")
    assert not isinstance(caught.value, StartupRefused)


def test_another_decorator_between_two_of_ours_hides_none() -> None:
    def between(view: Any) -> Any:
        @wraps(view)
        def wrapped(*arguments: Any) -> Any:
            return view(*arguments)

        return wrapped

    app = flask.Flask("between")
    ratelimit_kit.flask.RateLimit(app, Policy(store=MemoryStore()))
    limit = ratelimit_kit.flask.ratelimit
    view = limit("1/minute", methods=["GET"])(between(limit("3/minute", methods=["HEAD"])(made("a"))))
    app.add_url_rule("/", view_func=view)
    assert Site(app, asgi=False, ran=[]).statuses(4, "/", method="HEAD") == [200, 200, 200, 429]


def test_view_classes_that_inherit_a_decorated_handler_count_for_themselves() -> None:
    class Base(flask.views.MethodView):
        @ratelimit_kit.flask.ratelimit(LIMIT)
        def get(self) -> str:
            return "in"

    app = flask.Flask("inherited")
    ratelimit_kit.flask.RateLimit(app, Policy(store=MemoryStore()))
    for kind in (Base, type("First", (Base,), {}), type("Second", (Base,), {})):
        app.add_url_rule(f"/{kind.__name__}", view_func=kind.as_view(kind.__name__))
    site = Site(app, asgi=False, ran=[])
    assert [site.statuses(3, f"/{name}") for name in ("Base", "First", "Second")] == [[200, 200, 429]] * 3


def test_so_do_starlettes_endpoints() -> None:
    class Base(HTTPEndpoint):
        @of_fastapi(LIMIT)
        async def get(self, request: Asked) -> PlainTextResponse:
            return PlainTextResponse("in")

    app, _ = of_routes()
    app.router.routes += [Route("/a", type("First", (Base,), {})), Route("/b", type("Second", (Base,), {}))]
    site = Site(app, asgi=True, ran=[])
    assert [site.statuses(3, where) for where in ("/a", "/b")] == [[200, 200, 429]] * 2


async def test_a_dependency_asked_again_by_hand_charges_again() -> None:
    limit = RateLimit("3/minute", key="ip")
    app, _ = of_routes()
    passed: list[int] = []

    async def page(request: Asked) -> PlainTextResponse:
        for _ in range(5):
            await limit(request)
            passed.append(len(request.scope["ratelimit_kit.results"]))
        return PlainTextResponse("in")

    app.router.routes.append(Route("/", page))
    assert (await ask_asgi(app, "/", "GET", [], "203.0.113.9")).status == 429
    assert passed == [2, 2, 2]


def test_the_same_class_may_be_several_decorated_views() -> None:
    from django.views.generic import TemplateView

    limit = ratelimit_kit.django.ratelimit(LIMIT)

    class Page(TemplateView):
        def get(self, request: Any) -> HttpResponse:  # type: ignore[override]
            return HttpResponse("in")

    assert django_statuses([limit(Page.as_view()), limit(Page.as_view())]) == [[200, 200, 429]] * 2


def test_partials_that_take_over_a_name_are_views_by_themselves() -> None:
    def page(word: str, request: Any) -> HttpResponse:
        return HttpResponse(word)

    limit = ratelimit_kit.django.ratelimit(LIMIT)
    views = [limit(update_wrapper(partial(page, word), page)) for word in "ab"]
    assert django_statuses(views) == [[200, 200, 429]] * 2


def django_statuses(views: list[Any]) -> list[list[int]]:
    """The statuses of three requests to each view."""
    urls = type("Urls", (), {"urlpatterns": [path(str(at), view) for at, view in enumerate(views)]})
    with override_settings(ROOT_URLCONF=urls, RATELIMIT_KIT={"store": MemoryStore(), "rules": [{"limits": "99/s"}]}):
        site = Site(WSGIHandler(), asgi=False, ran=[])
        return [site.statuses(3, f"/{at}") for at in range(len(views))]


def test_blueprints_of_one_name_count_for_themselves() -> None:
    app = flask.Flask("nested")
    ratelimit_kit.flask.RateLimit(app, Policy(store=MemoryStore()))
    for parent in ("a", "b"):
        outer, inner = flask.Blueprint(parent, __name__), flask.Blueprint("shop", __name__)
        inner.get("/shop")(made(parent))
        ratelimit_kit.flask.ratelimit(LIMIT)(inner)
        outer.register_blueprint(inner)
        app.register_blueprint(outer, url_prefix=f"/{parent}")
    site = Site(app, asgi=False, ran=[])
    assert [site.statuses(3, f"/{parent}/shop") for parent in ("a", "b")] == [[200, 200, 429]] * 2


def test_views_that_are_decorated_while_a_request_is_served_are_told_by_their_page() -> None:
    """As in an application that is built on its first request."""
    built: list[flask.Flask] = []

    def application(environ: Any, start_response: Any) -> Any:
        if not built:
            app = flask.Flask("late")
            ratelimit_kit.flask.RateLimit(app, Policy(store=MemoryStore()))
            for name in ("a", "b"):
                app.add_url_rule(f"/{name}", view_func=ratelimit_kit.flask.ratelimit(LIMIT)(made(name)), endpoint=name)
            built.append(app)
        return built[0](environ, start_response)

    site = Site(application, asgi=False, ran=[])
    assert [site.statuses(3, where) for where in ("/a", "/b")] == [[200, 200, 429]] * 2


def test_mounted_applications_within_middlewares_and_hosts_are_told_apart() -> None:
    app, _ = of_routes()

    class Around:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    for where in ("/a", "/b"):
        inner = FastAPI()
        inner.add_api_route("/report", plain, dependencies=[Depends(RateLimit(LIMIT))])
        app.mount(where, Around(Around(inner)))
    site = Site(app, asgi=True, ran=[])
    assert [site.statuses(3, f"{where}/report") for where in ("/a", "/b")] == [[200, 200, 429]] * 2
