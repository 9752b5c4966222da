"""The Flask extension and its decorators, in Flask's own test client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flask
import pytest
from flask_login import LoginManager, UserMixin
from flask_login import login_user as login

from ratelimit_kit import MemoryStore, Policy, Rule
from ratelimit_kit.errors import ConfigurationError, IdentityError, OptionError, UnsafeWorkersError
from ratelimit_kit.flask import RateLimit, exempt, health, liveness, ratelimit
from ratelimit_kit.wsgi import RateLimitMiddleware
from tests.web.policy.test_policy import BrokenStore


def site(*rules: Rule, **options: Any) -> flask.Flask:
    app = flask.Flask(__name__)
    app.secret_key = "test"
    RateLimit(app, Policy(*rules, **options))
    app.add_url_rule("/", view_func=lambda: "home", endpoint="home")
    return app


def codes(app: flask.Flask, *paths: str, **options: Any) -> list[int]:
    client = app.test_client()
    return [client.get(path, **options).status_code for path in paths]


def test_every_request_is_limited_found_or_not() -> None:
    app = site(Rule("2/minute", name="site"))
    client = app.test_client()
    first, missing, third = client.get("/"), client.get("/nowhere"), client.get("/")
    assert [answer.status_code for answer in (first, missing, third)] == [200, 404, 429]
    assert first.headers["RateLimit"] == '"site";r=1;t=30'
    assert missing.headers["RateLimit"].startswith('"site";r=0;')
    assert third.content_type == "application/problem+json"
    assert third.json["violated-policies"] == ["site"]
    assert 1 <= int(third.headers["Retry-After"]) <= 60


def test_a_view_has_limits_of_its_own_beneath_its_route() -> None:
    app = site(Rule("10/minute", name="site"))

    @app.get("/items/<int:number>")
    @ratelimit("1/minute")
    def item(number: int) -> str:
        return f"item {number}"

    @app.get("/named")
    @ratelimit("1/minute", name="own", key="path:2")
    async def named() -> str:
        return "async"

    client = app.test_client()
    first, second = client.get("/items/1"), client.get("/items/2")
    assert (first.status_code, second.status_code) == (200, 429)
    assert first.headers["RateLimit"] == '"site";r=9;t=54, "limit";r=0;t=60'
    assert second.headers["RateLimit"].count('"site"') == 1
    assert codes(app, "/named", "/named") == [200, 429]
    assert item.__name__ == "item"


def test_counting_by_a_value_of_the_route() -> None:
    app = site()

    @app.get("/<tenant>/report")
    @ratelimit("1/minute", key="path:tenant", name="report")
    def report(tenant: str) -> str:
        return tenant

    assert codes(app, "/a/report", "/b/report", "/a/report") == [200, 200, 429]


def test_a_blueprint_is_limited_together() -> None:
    app = site()
    api = ratelimit("2/minute")(flask.Blueprint("api", __name__, url_prefix="/api"))
    api.add_url_rule("/a", view_func=lambda: "a", endpoint="a")
    api.add_url_rule("/b", view_func=lambda: "b", endpoint="b")
    app.register_blueprint(api)
    assert codes(app, "/api/a", "/api/b", "/api/a", "/") == [200, 200, 429, 200]


def test_views_and_blueprints_may_be_exempt() -> None:
    app = site(Rule("1/minute"))
    app.add_url_rule("/free", view_func=exempt(lambda: "free"), endpoint="free")
    app.add_url_rule("/healthz", view_func=health)
    app.add_url_rule("/livez", view_func=liveness)
    hooks = exempt(flask.Blueprint("hooks", __name__, url_prefix="/hooks"))
    hooks.add_url_rule("/in", view_func=lambda: "in", endpoint="in")
    app.register_blueprint(hooks)
    assert codes(app, "/free", "/free", "/hooks/in", "/hooks/in", "/healthz", "/healthz", "/livez", "/", "/") == [
        200
    ] * 8 + [429]
    assert app.test_client().get("/healthz").content_type == "application/health+json"


def test_only_failures_count_where_a_rule_says_so() -> None:
    app = site()
    calls = []

    @app.post("/login")
    @ratelimit("2/minute", count="failures", name="login")
    def sign_in() -> tuple[str, int]:
        calls.append(1)
        return ("no", 401) if flask.request.form["password"] == "wrong" else ("yes", 200)

    client = app.test_client()
    tries = ("right", "right", "wrong", "right", "wrong", "right")
    assert [client.post("/login", data={"password": one}).status_code for one in tries] == [
        200,
        200,
        401,
        200,
        401,
        429,
    ]
    assert len(calls) == 5


def test_an_error_handler_of_the_application_words_the_refusal() -> None:
    app = site(Rule("1/minute", name="site"))
    app.register_error_handler(429, lambda error: ("my own page", 429))
    client = app.test_client()
    client.get("/")
    refused = client.get("/")
    assert refused.text == "my own page"
    assert refused.headers["RateLimit"].startswith('"site";r=0;')
    assert refused.headers["Retry-After"]
    assert refused.content_type.startswith("text/html")


def test_an_exception_passes_and_the_view_is_called_once() -> None:
    app = site(Rule("5/minute"))
    app.testing = True
    calls = []

    @app.get("/fail")
    def fail() -> str:
        calls.append(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        app.test_client().get("/fail")
    assert calls == [1]


def test_streams_stay_streams() -> None:
    app = site(Rule("5/minute"))

    @app.get("/stream")
    def stream() -> flask.Response:
        return flask.Response(iter(["a", "b"]))

    answer = app.test_client().get("/stream")
    assert answer.is_streamed
    assert (answer.data, "RateLimit" in answer.headers) == (b"ab", True)


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


def test_users_of_flask_login_are_counted_one_by_one() -> None:
    app = site(Rule("1/minute", key="user", paths=["/"]))
    manager = LoginManager(app)
    manager.user_loader(User)

    @app.get("/login/<name>")
    def sign_in(name: str) -> str:
        login(User(name))
        return name

    ann, bob, nobody = app.test_client(), app.test_client(), app.test_client()
    ann.get("/login/ann")
    bob.get("/login/bob")
    assert [one.get("/").status_code for one in (ann, bob, nobody, ann, bob, nobody)] == [200, 200, 200, 429, 429, 429]


def test_counting_by_user_needs_one() -> None:
    app = site(Rule("1/minute", key="user"))
    app.testing = True
    with pytest.raises(IdentityError, match="no LoginManager of Flask-Login"):
        app.test_client().get("/")
    assert app.test_client().get("/", environ_base={"REMOTE_USER": "ann"}).status_code == 200


def test_the_policy_may_come_from_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "ratelimit.toml"
    path.write_text('[[rules]]\nlimits = "1/minute"\n')
    for setting in ({"rules": [{"limits": "1/minute"}]}, str(path), path, Policy(Rule("1/minute"))):
        app = flask.Flask(__name__)
        app.config["RATELIMIT_KIT"] = setting
        app.add_url_rule("/", view_func=lambda: "home", endpoint="home")
        extension = RateLimit()
        extension.init_app(app)
        assert codes(app, "/", "/") == [200, 429]


def test_without_a_policy_nothing_is_guessed() -> None:
    app = flask.Flask(__name__)
    with pytest.raises(OptionError, match="was given no policy"):
        RateLimit(app)
    app.testing = True
    app.add_url_rule("/", view_func=ratelimit("1/minute")(lambda: "home"))
    with pytest.raises(OptionError, match="finds no policy"):
        app.test_client().get("/")
    with pytest.raises(OptionError, match="the application first"):
        RateLimit(Policy(Rule("1/minute")))  # type: ignore[arg-type]


def test_a_decorated_view_counts_on_a_middleware_around_the_application() -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=ratelimit("1/minute", name="view")(lambda: "home"), endpoint="home")
    app.wsgi_app = RateLimitMiddleware(app.wsgi_app, Policy(Rule("5/minute", name="site")))  # type: ignore[method-assign]
    assert codes(app, "/", "/") == [200, 429]


def test_several_workers_on_a_memory_store_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for rules in ([Rule("1/minute")], []):
        with pytest.raises(UnsafeWorkersError, match="RLK201"):
            site(*rules, workers=4)
    assert "RLK201" in capsys.readouterr().err


def test_a_class_is_told_of_its_decorators() -> None:
    with pytest.raises(OptionError, match=r"decorators = \[ratelimit"):
        ratelimit("1/minute")(User)


def test_a_decorator_above_its_route_is_refused_before_the_first_answer(capsys: pytest.CaptureFixture[str]) -> None:
    app = site()

    @ratelimit("1/minute")
    @app.get("/wrong")
    def wrong() -> str:
        return "unlimited"

    app.testing = True
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"above the route of test_a_decorator.*wrong.*RLK210"):
            app.test_client().get("/")
    assert capsys.readouterr().err.count("RLK210") == 1


def test_decorators_in_any_number_beneath_the_route_are_fine() -> None:
    app = site()

    @app.get("/right")
    @ratelimit("9/minute", name="one")
    @ratelimit("1/minute", name="two")
    def right() -> str:
        return "limited"

    assert codes(app, "/right", "/right") == [200, 429]


def test_policies_on_one_store_count_once() -> None:
    app, store = flask.Flask("once"), MemoryStore()
    for _ in range(2):
        RateLimit(app, Policy(Rule("2/minute", key="ip"), store=store))
    assert codes(app, "/", "/", "/") == [404, 404, 429]


def test_a_policy_that_is_installed_twice_counts_once() -> None:
    app, policy = flask.Flask("twice"), Policy(Rule("2/minute", key="ip"), store=MemoryStore())
    RateLimit(app, policy)
    RateLimit().init_app(app, policy)
    assert codes(app, "/", "/", "/") == [404, 404, 429]
    assert app.test_client().get("/").headers.getlist("Retry-After") != []


def test_decorators_count_on_the_first_of_several_policies() -> None:
    stores = [MemoryStore(), MemoryStore()]
    app = flask.Flask("first")
    for store in stores:
        RateLimit(app, Policy(store=store))
    app.add_url_rule("/", view_func=ratelimit("1/minute")(lambda: "in"), endpoint="index")
    assert codes(app, "/", "/") == [200, 429]
    assert [len(store) for store in stores] == [1, 0]


def test_the_health_of_several_policies_is_that_of_the_worst() -> None:
    app = flask.Flask("health")
    RateLimit(app, Policy(Rule("9/minute"), store=MemoryStore()))
    RateLimit(app, Policy(Rule("9/minute"), store=BrokenStore(), on_outage="deny", start_without_store=True))
    app.add_url_rule("/healthz", view_func=health)
    assert app.test_client().get("/healthz").status_code == 503
