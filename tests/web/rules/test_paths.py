"""Paths: their canonical form, how rules and exemptions match them, and which patterns are invalid."""

from __future__ import annotations

import re
from typing import Any

import fastapi
import pytest
from starlette.testclient import TestClient

import ratelimit_kit.fastapi
from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import HealthApplication
from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.http.spellings import canonical, spellings
from ratelimit_kit.web.rules.paths import PathPatterns, read_exempt_paths
from tests import integrations
from tests.web.identity.test_address import request

SPELLINGS = [
    "//login",
    "///login",
    "/login/",
    "/login//",
    "/login\n",
    "/login\r\n",
    "/./login",
    "/x/../login",
    "/../login",
    "/log%69n",
    "/login%2f",
    "/%2flogin",
    "/login/\n",
    "login",
    "/login\ufffd",
    "/log\ufffdin",
    "/login%ff",
    "http://example.org/login",
    "http://example.org//login",
]
"""Spellings that some router, server or proxy accepts for /login."""

OTHERS = ["/LOGIN", "/login ", "/login;a", "\\login", "/login\u2028", "/logins", "/login.", "/a/login", "/", ""]
"""Paths that none accepts for /login."""


@pytest.mark.parametrize("path", SPELLINGS)
def test_every_spelling_has_one_canonical_form(path: str) -> None:
    assert canonical(path) == "/login"
    assert canonical(canonical(path)) == "/login"


@pytest.mark.parametrize("path", OTHERS)
def test_other_paths_are_others(path: str) -> None:
    assert canonical(path) != "/login"


@pytest.mark.parametrize("path", ["/", "/login", "/.well-known/x", "/a.b/c", "/100%25", "/café", "/a b"])
def test_a_plain_path_is_its_own_canonical_form(path: str) -> None:
    plain = path.replace("%25", "%")
    assert canonical(plain) == plain


@pytest.mark.parametrize(
    ("path", "mount", "seen"),
    [
        ("/login", "", {"/login"}),
        ("/login", "/api", {"/login", "/api/login"}),
        ("/api/login", "/api", {"/api/login", "/login"}),
        ("/api/login", "/api/", {"/api/login", "/login"}),
        ("/api//login/", "/api", {"/api//login/", "//login/", "/api/login", "/login"}),
        ("/apis/login", "/api", {"/apis/login", "/api/apis/login"}),
        ("/api", "/api", {"/api", "", "/"}),
    ],
)
def test_a_mounted_application_is_seen_with_and_without_its_mount(path: str, mount: str, seen: set[str]) -> None:
    assert set(spellings(path, mount)) == seen


@pytest.mark.parametrize("pattern", ["/login", "/login/", "//login"])
@pytest.mark.parametrize("path", ["/login", *SPELLINGS])
def test_a_literal_pattern_matches_every_spelling(pattern: str, path: str) -> None:
    assert PathPatterns("paths", [pattern]).match(spellings(path, ""))


@pytest.mark.parametrize("path", ["/api", "/api/", "//api//users", "/x/../api/users", "/api/users/", "/%61pi/x"])
def test_a_prefix_matches_every_spelling(path: str) -> None:
    assert PathPatterns("paths", ["/api/*"]).match(spellings(path, ""))
    assert not PathPatterns("paths", ["/apis/*"]).match(spellings(path, ""))


def test_a_regular_expression_sees_the_path_as_it_came_and_in_canonical_form() -> None:
    assert PathPatterns("paths", [re.compile(r"^/users/\d+$")]).match(spellings("//users/42/", ""))
    assert PathPatterns("paths", [re.compile(r"^//")]).match(spellings("//users/42/", ""))
    assert not PathPatterns("paths", [re.compile(r"^/users/\d+$")]).match(spellings("/users/me", ""))


@pytest.mark.parametrize("path", SPELLINGS)
@pytest.mark.parametrize("pattern", ["/login", "/*", re.compile("login")])
def test_an_exemption_matches_no_spelling_but_the_plain_one(pattern: Any, path: str) -> None:
    matches = read_exempt_paths("exempt", [pattern])
    assert matches("/login", "")
    assert not matches(path, "") or (path == "/login/" and pattern != "/login")


def test_an_exemption_is_compared_as_it_is_written() -> None:
    matches = read_exempt_paths("exempt", ["/healthz/", "/static/*", "/a"])
    assert [matches(path, "") for path in ("/healthz/", "/static/", "/static", "/static/a/b.css", "/a")] == [True] * 5
    assert [
        matches(path, "") for path in ("/healthz", "/a/", "/static/../login", "/static//x", "/static/%2e%2e/login")
    ] == [False] * 5


@pytest.mark.parametrize(
    ("pattern", "path", "mount", "free"),
    [
        ("/static/*", "/static/login", "/static", False),
        ("/healthz", "/healthz", "/healthz", False),
        ("/healthz/", "/healthz/", "/healthz", False),
        (re.compile("^/static/"), "/static/login", "/static", False),
        ("/api/*", "/api/login", "/api", False),
        ("/api/static/*", "/api/static/a.css", "/api", True),
        ("/api/healthz", "/api/healthz", "/api", True),
        (re.compile(r"\.css$"), "/api/a.css", "/api", True),
        ("/healthz", "/api/healthz", "/api", True),
        ("/healthz/*", "/api/healthz/", "/api/", True),
        (re.compile("^/static/"), "/api/static/a.css", "/api", True),
        ("/healthz", "/apihealthz", "/api", False),
        ("/healthz/*", "/api/healthz/../login", "/api", False),
        ("/healthz/*", "/api//healthz/", "/api", False),
    ],
)
def test_a_mount_point_alone_frees_nothing(pattern: Any, path: str, mount: str, free: bool) -> None:
    """Some servers read it from a field (SCRIPT_NAME) that a client may send."""
    assert read_exempt_paths("exempt", [pattern])(path, mount) is free


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("/items/{id}", r're.compile\(r"\^/items/\[\^/\]\+\$"\)'),
        ("/items/{id}", '"/items/\\*"'),
        ("/users/<int:id>", '"/users/\\*"'),
        ("/items/{id}/reviews", r'in a file "re:\^/items/\[\^/\]\+/reviews\$"'),
        ("/{shop}", '"/\\*"'),
    ],
)
@pytest.mark.parametrize("option", ["paths", "exempt"])
def test_a_routes_template_is_refused_with_what_to_write(option: str, pattern: str, hint: str) -> None:
    with pytest.raises(OptionError, match=hint):
        Rule("1/minute", **{option: [pattern]})
    if option == "exempt":
        with pytest.raises(OptionError, match=hint):
            Policy(Rule("1/minute"), exempt=[pattern])


@pytest.mark.parametrize("name", ["wsgi", "flask", "django", "asgi", "fastapi"])
def test_rules_and_exemptions_hold_in_every_integration(name: str) -> None:
    exempt = ["/static/*"]
    with integrations.site(
        name, Rule("3/minute", paths=["/login"], name="login"), Rule("4/minute"), exempt=exempt
    ) as site:
        spelt = [site.ask(path).status for path in ["/login", "//login", "/login/", "/./login", "/x/../login"]]
        assert spelt[3:] == [429, 429]
        assert 429 not in spelt[:3]
        assert 429 not in site.statuses(5, "/static/a.css")
        assert [site.ask(path).status for path in ["/other", "/static/../login"]][1] == 429


@pytest.mark.parametrize(
    ("name", "mounted"),
    [("wsgi", {"SCRIPT_NAME": "/api"}), ("flask", {"SCRIPT_NAME": "/api"}), ("django", {"SCRIPT_NAME": "/api"})],
)
@pytest.mark.parametrize("pattern", ["/login", "/api/login"])
def test_a_rule_may_name_the_path_with_or_without_the_mount(name: str, mounted: dict[str, str], pattern: str) -> None:
    with integrations.site(name, Rule("2/minute", paths=[pattern])) as site:
        assert site.statuses(3, "/login", **mounted) == [200, 200, 429]


@pytest.mark.parametrize("path", ["/login", "/api/login"])
@pytest.mark.parametrize("pattern", ["/login", "/api/login"])
@pytest.mark.parametrize("name", ["asgi", "fastapi"])
def test_a_root_path_is_no_way_around_a_rule(name: str, path: str, pattern: str) -> None:
    """Starlette's router treats a path with the root path and one without it alike."""
    with integrations.site(name, Rule("2/minute", paths=[pattern])) as site:
        assert site.statuses(3, path, root_path="/api") == [200, 200, 429]


@pytest.mark.parametrize("pattern", ["/healthz", "/api/healthz"])
@pytest.mark.parametrize(
    ("name", "path", "mounted"),
    [
        *((name, "/healthz", {"SCRIPT_NAME": "/api"}) for name in ("wsgi", "flask", "django")),
        *((name, "/api/healthz", {"root_path": "/api"}) for name in ("asgi", "fastapi")),
    ],
    ids=str,
)
def test_an_exemption_may_name_the_path_with_or_without_the_mount(
    name: str, path: str, mounted: dict[str, str], pattern: str
) -> None:
    with integrations.site(name, Rule("1/minute"), exempt=[pattern]) as site:
        assert 429 not in site.statuses(3, path, **mounted)
        assert 429 in site.statuses(3, path.replace("healthz", "other"), **mounted)


def test_the_documented_health_mount_is_not_limited() -> None:
    """At the top, below the server's root path, and in an application that is itself mounted."""
    policy = Policy(Rule("1/minute", key="ip", name="site"), store="memory://", exempt=["/healthz/*"])
    app, top = fastapi.FastAPI(), fastapi.FastAPI()
    ratelimit_kit.fastapi.install(app, policy)
    app.mount("/healthz", HealthApplication(policy))
    top.mount("/shop", app)
    for application, root, paths in (
        (app, "", ("/healthz", "/healthz/")),
        (app, "/api", ("/api/healthz", "/api/healthz/")),
        (top, "", ("/shop/healthz", "/shop/healthz/")),
    ):
        client = TestClient(application, root_path=root)
        assert [client.get(path).status_code for path in paths * 3] == [200] * 6
    assert [TestClient(app).get("/").status_code for _ in range(2)] == [404, 429]


def test_a_segment_is_counted_in_the_canonical_path() -> None:
    site = Policy(Rule("1/minute", key="path:2"), store="memory://", workers=1)
    answers = [site.check(request(path=path)).status for path in ("/t/acme/a", "//t//acme/b", "/t/./acme", "/t/other")]
    assert answers == [0, 429, 429, 0]
