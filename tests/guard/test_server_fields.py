"""The warnings about WSGI servers that change header fields: given at startup, only if a proxy is trusted."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ratelimit_kit import MemoryStore, Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as Asgi
from ratelimit_kit.guard.checks import server_fields
from ratelimit_kit.guard.workers import detection
from ratelimit_kit.wsgi import RateLimitMiddleware as Wsgi
from tests.web.rules.test_costs import Heard


def loaded_by(server: str) -> Any:
    """The result of `finding` when this server's code loads the application."""
    scope: dict[str, Any] = {"__name__": f"{server}.loader", "finding": server_fields.finding}
    exec("def load(header):\n    return finding(header)", scope)
    return scope["load"]("x-forwarded-for")


@pytest.mark.parametrize("server", ["granian", "hypercorn", "uvicorn", "cheroot"])
def test_servers_that_merge_hyphens_and_underscores_are_named(server: str) -> None:
    found = str(loaded_by(server))
    assert found.endswith("[RLK262]")
    for word in (server, "X_Forwarded_For", "underscore", "Caddy", "HAProxy", "Traefik", "nginx"):
        assert word in found


@pytest.mark.parametrize("server", ["gunicorn", "werkzeug", "mod_wsgi", "somebody"])
def test_others_are_not(server: str) -> None:
    assert loaded_by(server) is None


def test_gunicorn_is_where_it_was_told_to_keep_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_fields, "gunicorn_setting", {"header_map": "dangerous"}.get)
    assert "gunicorn with header_map=dangerous makes one field" in str(loaded_by("gunicorn"))


def test_uwsgi_is_known_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", ModuleType("uwsgi"))
    assert str(server_fields.finding("x-real-ip")).startswith("uWSGI makes one field of X-Real-Ip and X_Real_Ip")


def test_waitress_drops_the_field_unless_it_is_told_to_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["waitress-serve", "site:application"])
    assert str(loaded_by("waitress")).startswith("waitress removes x-forwarded-for unless")
    monkeypatch.setitem(sys.modules, "waitress.server", ModuleType("waitress.server"))
    assert "RLK261" in str(server_fields.finding("x-forwarded-for"))
    monkeypatch.setattr(sys, "argv", ["waitress-serve", "--trusted-proxy", "10.0.0.1", "site:application"])
    assert "RLK261" in str(loaded_by("waitress"))  # it still removes the field
    sys.argv.append("--trusted-proxy-headers=x-forwarded-for")
    assert loaded_by("waitress") is None


@pytest.mark.parametrize(
    ("door", "options", "told"),
    [
        (Wsgi, {"trusted_proxies": ["10.0.0.0/8"]}, ["RLK262"]),
        (Wsgi, {"trusted_proxies": 1}, ["RLK262"]),
        (Wsgi, {}, []),
        (Asgi, {"trusted_proxies": ["10.0.0.0/8"]}, []),
    ],
)
def test_the_start_says_so_where_a_proxy_is_trusted(
    door: Any, options: dict[str, Any], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(worker_id=lambda: 1, numproc=1))
    monkeypatch.setattr(detection, "_seen", {})  # so that other tests do not see what is detected here
    heard = Heard()
    door(lambda *_: [], Policy(Rule("9/minute"), store=MemoryStore(), workers=1, observer=heard, **options))
    assert [event.facts["warning"] for event in heard.events] == told
