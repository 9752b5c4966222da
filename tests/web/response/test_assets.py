"""The two files for the browser are served, and nothing else is."""

from __future__ import annotations

import asyncio
from typing import Any

import flask
import pytest
from starlette.applications import Starlette
from starlette.staticfiles import StaticFiles
from starlette.types import Message

from ratelimit_kit import Policy, Rule, asgi, wsgi
from ratelimit_kit.errors import OptionError
from ratelimit_kit.flask import RateLimit, assets
from ratelimit_kit.web.http.messages import Headers, Request
from ratelimit_kit.web.response.assets import FRESH, MEDIA_TYPES, asset, serving


def request(path: str, method: str = "GET", **fields: str) -> Request:
    headers = Headers(lambda: [(name.replace("_", "-"), value) for name, value in fields.items()])
    return Request(method=method, path=path, peer=None, headers=headers, raw=None, user=lambda: None)


@pytest.mark.parametrize(("name", "media_type"), MEDIA_TYPES.items())
def test_both_files_are_served_with_type_tag_and_length(name: str, media_type: str) -> None:
    answer = serving("/kit")(request(f"/kit/{name}"))
    assert answer is not None
    assert (answer.status, answer.body) == (200, asset(name).data)
    fields = dict(answer.headers)
    assert fields["Content-Type"] == media_type
    assert fields["Content-Length"] == str(len(answer.body))
    assert fields["Cache-Control"] == FRESH
    assert fields["X-Content-Type-Options"] == "nosniff"


def test_head_has_the_fields_and_no_body() -> None:
    whole, head = (serving("/kit")(request("/kit/ratelimit.js", method)) for method in ("GET", "HEAD"))
    assert whole is not None
    assert head is not None
    assert (head.status, head.body, head.headers) == (200, b"", whole.headers)


@pytest.mark.parametrize("known", ["{etag}", "W/{etag}", '"other", {etag}', "*"])
def test_a_known_tag_is_not_sent_again(known: str) -> None:
    etag = asset("ratelimit.css").etag
    answer = serving("/kit")(request("/kit/ratelimit.css", if_none_match=known.format(etag=etag)))
    assert answer is not None
    assert (answer.status, answer.body) == (304, b"")
    assert dict(answer.headers)["ETag"] == etag


def test_another_tag_is_sent_the_file() -> None:
    answer = serving("/kit")(request("/kit/ratelimit.css", if_none_match='"other"'))
    assert answer is not None
    assert answer.status == 200


@pytest.mark.parametrize(
    "path",
    ["/kit", "/kit/", "/kit/else.js", "/kit/../kit/ratelimit.js", "/kit//ratelimit.js", "/kit/ratelimit.js/", "/kit/%2e%2e/__init__.py", "/ratelimit.js", "/kit/../../__init__.py"],
)  # fmt: skip
def test_any_other_path_is_not_ours(path: str) -> None:
    assert serving("/kit")(request(path)) is None


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_any_other_method_is_not_ours(method: str) -> None:
    assert serving("/kit")(request("/kit/ratelimit.js", method)) is None


def test_no_prefix_serves_nothing() -> None:
    assert serving(None)(request("/ratelimit-kit/ratelimit.js")) is None


@pytest.mark.parametrize("prefix", ["", "/", "kit", "/kit/", 7, True])
def test_what_is_no_prefix_is_refused(prefix: object) -> None:
    with pytest.raises(OptionError, match='For example: assets="/ratelimit-kit"'):
        serving(prefix)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../__init__.py", "else.js", ""])
def test_an_asset_has_one_of_two_names(name: str) -> None:
    with pytest.raises(KeyError):
        asset(name)


def test_the_module_stands_alone() -> None:
    """Django's hashed file names would break an import, and a missing source map would break its collectstatic."""
    text = asset("ratelimit.js").data.decode()
    assert "sourceMappingURL" not in text
    assert not [line for line in text.splitlines() if line.lstrip().startswith("import ")]
    assert "innerHTML" not in text
    assert "url(" not in asset("ratelimit.css").data.decode()


def one_request() -> Policy:
    return Policy(Rule("1/hour", key="global"), store="memory://", workers=1)


def over_wsgi(application: Any, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    seen: list[Any] = []
    environ = {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "REMOTE_ADDR": "127.0.0.1"}
    body = b"".join(application(environ, lambda *start: seen.append(start)))
    return int(seen[0][0][:3]), dict(seen[0][1]), body


async def over_asgi(application: Any, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return await asyncio.Future()  # the client sends nothing more

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": "", "headers": []}
    await application({**scope, "query_string": b"", "client": ("127.0.0.1", 1)}, receive, send)
    fields = {name.decode().title(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], fields, b"".join(message.get("body", b"") for message in sent[1:])


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


async def ahello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def test_the_wsgi_middleware_serves_them_without_a_limit() -> None:
    site = wsgi.RateLimitMiddleware(hello, one_request(), assets="/kit")
    for _ in range(3):
        status, fields, body = over_wsgi(site, "/kit/ratelimit.js")
        assert (status, body) == (200, asset("ratelimit.js").data)
        assert "RateLimit" not in fields
    assert over_wsgi(site, "/kit/ratelimit.css", "HEAD")[2] == b""
    assert over_wsgi(site, "/kit/ratelimit.js", "POST")[2] == b"hello"  # the only one the limit admits
    assert over_wsgi(site, "/kit/else.js")[0] == 429
    assert over_wsgi(wsgi.RateLimitMiddleware(hello, one_request()), "/kit/ratelimit.js")[2] == b"hello"


async def test_the_asgi_middleware_serves_them_without_a_limit() -> None:
    site = asgi.RateLimitMiddleware(ahello, one_request(), assets="/kit")
    for _ in range(3):
        status, fields, body = await over_asgi(site, "/kit/ratelimit.js")
        assert (status, body) == (200, asset("ratelimit.js").data)
        assert fields["Content-Type"] == "text/javascript; charset=utf-8"
    assert (await over_asgi(site, "/kit/ratelimit.css", "HEAD"))[2] == b""
    assert (await over_asgi(site, "/kit/ratelimit.js", "POST"))[2] == b"hello"  # the only one the limit admits
    assert (await over_asgi(site, "/kit/else.js"))[0] == 429


def test_flask_serves_them_by_a_blueprint_that_no_rule_limits() -> None:
    app = flask.Flask("site")
    RateLimit(app, one_request())
    app.register_blueprint(assets())
    client = app.test_client()
    for name, media_type in MEDIA_TYPES.items():
        for _ in range(2):
            with client.get(f"/ratelimit-kit/{name}") as response:
                assert response.data == asset(name).data
                assert response.content_type == media_type
    assert client.get("/ratelimit-kit/../__init__.py").status_code in {404, 429}
    with app.test_request_context():
        assert flask.url_for("ratelimit_kit.static", filename="ratelimit.js") == "/ratelimit-kit/ratelimit.js"


async def test_starlettes_static_files_serve_them() -> None:
    app = Starlette()
    app.mount("/static", StaticFiles(packages=[("ratelimit_kit", "static")]))
    for name in MEDIA_TYPES:
        status, _, body = await over_asgi(app, f"/static/ratelimit_kit/{name}")
        assert (status, body) == (200, asset(name).data)
