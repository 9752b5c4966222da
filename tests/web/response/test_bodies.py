"""The response that the client really gets decides what counts, in every integration on WSGI and on ASGI."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import flask
import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, Http404, StreamingHttpResponse
from django.test import RequestFactory
from django.test.utils import override_settings

import ratelimit_kit.django
import ratelimit_kit.flask
from django.urls import path
from ratelimit_kit import MemoryStore, Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as Asgi
from ratelimit_kit.wsgi import RateLimitMiddleware as Wsgi
from tests.integrations import ask_asgi, ask_wsgi

Application = Callable[[Any, Any], Any]


def policy(count: Any = "failures", limit: int = 2) -> Policy:
    return Policy(Rule(f"{limit}/minute", name="r", count=count), store=MemoryStore())


def replaced(environ: Any, start_response: Any) -> Any:
    """Starts a response with 200, then replaces it."""
    start_response("200 OK", [])
    try:
        raise PermissionError
    except PermissionError:
        start_response("403 Forbidden", [], sys.exc_info())
    return [b"no"]


def replaced_while_streaming(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b""
    try:
        raise PermissionError
    except PermissionError:
        start_response("403 Forbidden", [], sys.exc_info())
    yield b"no"


def failing_before_the_first_byte(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b""
    raise ValueError


def failing_before_it_returns(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    raise ValueError


def failing_later(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"half"
    raise ValueError


def written(environ: Any, start_response: Any) -> Iterator[bytes]:
    write = start_response("200 OK", [])
    write(b"half")
    yield b""
    raise ValueError


def streamed(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"a"
    yield b"b"


def empty(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    return iter(())


FAILURES = [replaced, replaced_while_streaming, failing_before_the_first_byte, failing_before_it_returns]
SUCCESSES = [failing_later, written, streamed, empty]


def asked(site: Any, number: int = 6) -> int:
    """The number of requests that reached the application."""
    reached = 0
    for _ in range(number):
        try:
            reached += ask_wsgi(site, "/login", "POST", [], "203.0.113.9").status != 429
        except ValueError:
            reached += 1
    return reached


@pytest.mark.parametrize("application", FAILURES)
def test_what_becomes_a_failure_before_its_first_byte_is_one(application: Application) -> None:
    assert asked(Wsgi(application, policy())) == 2
    assert asked(Wsgi(application, policy("successes"))) == 6


@pytest.mark.parametrize("application", SUCCESSES)
def test_what_the_client_has_begun_to_read_is_a_success(application: Application) -> None:
    assert asked(Wsgi(application, policy())) == 6
    assert asked(Wsgi(application, policy("successes"))) == 2


def test_the_fields_are_those_of_the_last_response() -> None:
    answer = ask_wsgi(Wsgi(replaced, policy(limit=5)), "/", "GET", [], "203.0.113.9")
    assert (answer.status, answer.fields["ratelimit"].partition(";t")[0]) == (403, '"r";r=4')
    answer = ask_wsgi(Wsgi(streamed, policy(limit=5)), "/", "GET", [], "203.0.113.9")
    assert (answer.status, answer.fields["ratelimit"].partition(";t")[0], answer.body) == (200, '"r";r=5', b"ab")


def test_a_body_that_is_never_read_is_closed_and_settled() -> None:
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"never"

        def close(self) -> None:
            closed.append(True)

    def application(environ: Any, start_response: Any) -> Body:
        start_response("200 OK", [])
        return Body()

    site = Wsgi(application, policy())
    for _ in range(4):
        site({"REQUEST_METHOD": "HEAD", "PATH_INFO": "/", "REMOTE_ADDR": "203.0.113.9"}, lambda *_: None).close()
    assert closed == [True] * 4


def test_a_file_for_the_server_and_a_whole_body_are_passed_through() -> None:
    class Wrapper:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __iter__(self) -> Iterator[bytes]:
            yield b"file"

    bodies: list[Any] = []

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        bodies.append(Wrapper(None) if environ["PATH_INFO"] == "/file" else [b"whole"])
        return bodies[-1]

    site = Wsgi(application, policy())
    for where in ("/file", "/whole", "/file", "/whole", "/file"):
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": where,
            "REMOTE_ADDR": "203.0.113.9",
            "wsgi.file_wrapper": Wrapper,
        }
        assert site(environ, lambda *_: None) is bodies[-1]


def broken(late: bool) -> Iterator[bytes]:
    yield b"half" if late else b""
    raise ValueError


def plain() -> Iterator[bytes]:
    yield b"a"


def of_flask(body: Callable[[], Iterator[bytes]], counts: str, *, decorated: bool) -> Any:
    app = flask.Flask("settling")
    ratelimit_kit.flask.RateLimit(app, Policy(store=MemoryStore()) if decorated else policy(counts))
    limit = ratelimit_kit.flask.ratelimit("2/minute", name="r", count=counts)

    def login() -> flask.Response:
        return flask.Response(body())

    app.add_url_rule("/login", view_func=limit(login) if decorated else login, methods=["POST"])
    return app


def of_django(body: Callable[[], Iterator[bytes]], counts: str, *, decorated: bool) -> Any:
    limit = ratelimit_kit.django.ratelimit("2/minute", name="r", count=counts)

    def login(request: Any) -> StreamingHttpResponse:
        return StreamingHttpResponse(body())

    urls = type("Urls", (), {"urlpatterns": [path("login", limit(login) if decorated else login)]})
    rules = [] if decorated else [{"limits": "2/minute", "name": "r", "count": counts}]
    other = [{"limits": "1000/minute", "name": "other"}]
    settings = override_settings(ROOT_URLCONF=urls, RATELIMIT_KIT={"store": MemoryStore(), "rules": rules + other})

    def site(environ: Any, start_response: Any) -> Any:
        with settings:
            return WSGIHandler()(environ, start_response)

    return site


@pytest.mark.parametrize("decorated", [False, True], ids=["policy", "decorator"])
@pytest.mark.parametrize("make", [of_flask, of_django])
@pytest.mark.parametrize(
    ("body", "failures", "successes"),
    [(lambda: broken(late=False), 2, 6), (lambda: broken(late=True), 6, 2), (plain, 6, 2)],
    ids=["fails at once", "fails later", "succeeds"],
)
def test_so_do_streams_of_frameworks(make: Any, body: Any, failures: int, successes: int, decorated: bool) -> None:
    for counts, expected in (("failures", failures), ("successes", successes)):
        site = make(body, counts, decorated=decorated)
        assert asked(site) == expected


def test_a_file_of_djangos_is_not_touched(tmp_path: Any) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"file")
    from ratelimit_kit.django.site import finished

    answer = policy().check(request_of_a_login())
    response = FileResponse(file.open("rb"))
    to_stream = response.file_to_stream
    assert finished(answer, response, RequestFactory().get("/")).file_to_stream is to_stream
    assert b"".join(response.streaming_content) == b"file"
    response.close()


def request_of_a_login() -> Any:
    from tests.web.identity.test_address import request

    return request(path="/login")


def asked_of_django(view: Any, *, middleware: Sequence[str] = (), number: int = 6) -> int:
    """The number of requests that reach a view with a limit of two failures per minute."""
    ran: list[int] = []

    def counted(request: Any) -> Any:
        ran.append(1)
        return view(request)

    limit = ratelimit_kit.django.ratelimit("2/minute", name="r", count="failures")
    urls = type("Urls", (), {"urlpatterns": [path("login", limit(counted))]})
    setting = {"store": MemoryStore(), "rules": [{"limits": "1000/minute", "name": "other"}]}
    with override_settings(ROOT_URLCONF=urls, RATELIMIT_KIT=setting, MIDDLEWARE=list(middleware)):
        handler = WSGIHandler()
        for _ in range(number):
            with contextlib.suppress(ValueError):
                ask_wsgi(handler, "/login", "GET", [("If-None-Match", '"a"')], "203.0.113.9")
    return len(ran)


def raising(error: Exception) -> Callable[[Any], Any]:
    def view(_: Any) -> Any:
        raise error

    return view


@pytest.mark.parametrize("error", [PermissionDenied(), Http404(), SuspiciousOperation()])
def test_what_django_makes_of_an_error_counts(error: Exception) -> None:
    """With count=[404] a page that was not found counts, and one that was forbidden does not."""
    status = {PermissionDenied: 403, Http404: 404, SuspiciousOperation: 400}[type(error)]
    from ratelimit_kit.django.site import failed_with

    assert failed_with(error).status == status
    assert asked_of_django(raising(error)) == 2


def test_a_response_that_is_replaced_by_a_304_is_settled() -> None:
    def page(_: Any) -> Any:
        return StreamingHttpResponse(plain(), headers={"ETag": '"a"'})

    assert asked_of_django(page, middleware=["django.middleware.http.ConditionalGetMiddleware"]) == 6


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
@pytest.mark.parametrize(("fails", "reached"), [(True, 2), (False, 6)])
def test_an_asynchronous_stream_under_wsgi_is_settled_by_what_becomes_of_it(fails: bool, reached: int) -> None:
    async def stream() -> AsyncIterator[bytes]:
        if fails:
            raise ValueError
        yield b"a"

    assert asked_of_django(lambda _: StreamingHttpResponse(stream())) == reached


def test_flasks_decorators_need_no_extension() -> None:
    app = flask.Flask("settling")
    limit = ratelimit_kit.flask.ratelimit("2/minute", name="r", count="failures")
    other = ratelimit_kit.flask.ratelimit("2/minute", name="s", count="failures")
    app.add_url_rule("/login", view_func=limit(lambda: ("no", 403)), endpoint="login")
    app.add_url_rule("/in", view_func=other(lambda: "in"), endpoint="in")
    app.wsgi_app = Wsgi(app.wsgi_app, Policy(Rule("1000/minute", name="other"), store=MemoryStore()))
    answers = [ask_wsgi(app, "/login", "GET", [], "203.0.113.9") for _ in range(3)]
    assert [answer.status for answer in answers] == [403, 403, 429]
    assert answers[0].fields["ratelimit-policy"] == '"r";q=2;w=60, "other";q=1000;w=60'
    assert [ask_wsgi(app, "/in", "GET", [], "203.0.113.9").status for _ in range(4)] == [200] * 4


async def test_under_asgi_the_status_is_out_with_the_start() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError

    site, reached = Asgi(application, policy()), 0
    for _ in range(4):
        with pytest.raises(ValueError):
            await ask_asgi(site, "/login", "POST", [], "203.0.113.9")
        reached += 1
    assert reached == 4
