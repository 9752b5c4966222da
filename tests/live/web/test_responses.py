"""Responses, byte for byte: every family of fields and every body format, from a real gunicorn and a real uvicorn."""

from __future__ import annotations

import json
from collections.abc import Iterator

import http_sfv
import pytest

from ratelimit_kit.web.response.headers import FAMILIES
from tests.live.raw_http import Raw, ask
from tests.live.servers import APPS
from tests.processes import Process, free_port, python_program, redis_server, running

pytestmark = pytest.mark.live

ACCEPTS = {
    "no Accept": (None, "application/problem+json"),
    "anything": ("*/*", "application/problem+json"),
    "problem": ("application/problem+json", "application/problem+json"),
    "json": ("application/json", "application/problem+json"),
    "browser": ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
    "text": ("text/plain", "text/plain; charset=utf-8"),
    "image": ("image/png", "application/problem+json"),
    "HEAD": ("text/plain", "text/plain; charset=utf-8"),
}
"""The Accept field, and the media type of a refusal."""

FIELDS = {
    200: {
        "draft11": [
            'RateLimit-Policy: "burst";q=3;w=60, "daily";q=5;w=86400',
            'RateLimit: "burst";r=2;t=40, "daily";r=4;t=69120',
        ],
        "draft6": [
            "RateLimit-Limit: 3",
            "RateLimit-Remaining: 2",
            "RateLimit-Reset: 60",
            "RateLimit-Policy: 3;w=60, 5;w=86400",
        ],
        "x-ratelimit": ["X-RateLimit-Limit: 3", "X-RateLimit-Remaining: 2", "X-RateLimit-Reset: now + 60"],
        "none": [],
    },
    429: {
        "draft11": [
            'RateLimit-Policy: "burst";q=3;w=60, "daily";q=5;w=86400',
            'RateLimit: "burst";r=0;t=60, "daily";r=2;t=34560',
        ],
        "draft6": [
            "RateLimit-Limit: 3",
            "RateLimit-Remaining: 0",
            "RateLimit-Reset: 60",
            "RateLimit-Policy: 3;w=60, 5;w=86400",
        ],
        "x-ratelimit": ["X-RateLimit-Limit: 3", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: now + 60"],
        "none": [],
    },
    503: {"draft11": [], "draft6": [], "x-ratelimit": [], "none": []},
}
"""The rate-limit fields, in order."""

PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{0}</title></head>
<body><h1>{0}</h1><p>{1}</p></body>
</html>
"""
WORDS = {
    429: ("Too many requests", "Try again in 60 seconds."),
    503: ("Temporarily unavailable", "Try again in 1 second."),
}
TYPES = {429: "quota-exceeded", 503: "temporary-reduced-capacity"}
NAMES = {429: ["burst"], 503: []}


Answers = dict[tuple[int | str, str, str], Raw]
UNTOUCHED = ["moved", "unchanged", "shared", "aged"]


@pytest.fixture(scope="module", params=["gunicorn", "uvicorn"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Process, Process]]:
    """The server and its Redis."""
    port = free_port()
    commands = {
        "gunicorn": ["answers:application", "--bind", f"127.0.0.1:{port}"],
        "uvicorn": ["answers:asgi_application", "--port", str(port), "--lifespan", "off"],
    }
    command = [python_program(request.param), "--workers", "2", "--log-level", "critical", *commands[request.param]]
    with redis_server() as store, running(command, port, cwd=APPS, env={"STORE_URL": store.url()}) as process:
        yield process, store.process


@pytest.fixture(scope="module")
def answers(server: tuple[Process, Process]) -> Answers:
    """Each status in each family and format, and the other responses used below; then the store is stopped."""
    process, store = server
    found: Answers = {}

    def collect(status: int, requests: int) -> None:
        for family in FAMILIES:
            for accept, (field, _) in ACCEPTS.items():
                method = "HEAD" if accept == "HEAD" else "GET"
                fields = {"Accept": field, "X-Client": f"{status} {accept}"}
                for _ in range(requests):
                    found[status, family, accept] = ask(process.port, f"/{family}/page", method=method, fields=fields)

    collect(200, 1)
    collect(429, 4)
    for family in FAMILIES:
        for path in UNTOUCHED:
            found[path, family, ""] = ask(process.port, f"/{family}/{path}", fields={"X-Client": path})
        for number in range(4):
            fields = {"X-Client": "script", "Origin": "https://elsewhere.example"}
            found["script", family, str(number)] = ask(process.port, f"/{family}/page", fields=fields)
    store.stop()
    collect(503, 1)
    return found


def refusal(status: int, kind: str) -> bytes:
    title, detail = WORDS[status]
    if kind.startswith("text/html"):
        return PAGE.format(title, detail).encode()
    if kind.startswith("text/plain"):
        return f"{title}. {detail}\n".encode()
    problem = {
        "type": f"https://iana.org/assignments/http-problem-types#{TYPES[status]}",
        "title": title,
        "status": status,
        "detail": detail,
        **({"violated-policies": NAMES[status]} if NAMES[status] else {}),
    }
    return json.dumps(problem).encode()


def golden(status: int, family: str, accept: str) -> tuple[list[str], bytes]:
    """The expected field lines and body."""
    if status == 200:
        return ["Content-Type: text/plain", "Content-Length: 7", *FIELDS[200][family]], b"Hello!\n"
    kind = ACCEPTS[accept][1]
    body = refusal(status, kind)
    described = [f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Cache-Control: no-store", "Vary: Accept"]
    return [*described, f"Retry-After: {60 if status == 429 else 1}", *FIELDS[status][family]], body


def with_known_time(line: str, at: float) -> str:
    """The line with a time since the epoch relative to now; other lines are unchanged."""
    name, _, value = line.partition(": ")
    if name.lower() != "x-ratelimit-reset":
        return line
    assert abs(int(value) - (at + 60)) <= 3
    return f"{name}: now + 60"


def lower(lines: list[str]) -> list[str]:
    """The lines with lower-case names, as ASGI servers send them; HTTP names are case-insensitive."""
    return [":".join([line.partition(":")[0].lower(), line.partition(":")[2]]) for line in lines]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("status", [200, 429, 503])
def test_every_answer_is_the_one_that_is_documented(answers: Answers, status: int, family: str) -> None:
    phrases = {200: "OK", 429: "Too Many Requests", 503: "Service Unavailable"}
    for accept in ACCEPTS:
        got = answers[status, family, accept]
        fields, body = golden(status, family, accept)
        assert got.status == f"HTTP/1.1 {status} {phrases[status]}"
        assert lower([with_known_time(line, got.at) for line in got.fields]) == lower(fields), accept
        assert got.body == (b"" if accept == "HEAD" else body), accept


def values(lines: list[str]) -> dict[str, str]:
    return {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines}


@pytest.mark.parametrize("status", [200, 429])
def test_an_independent_library_reads_the_structured_fields(answers: Answers, status: int) -> None:
    left = {200: {"burst": 2, "daily": 4}, 429: {"burst": 0, "daily": 2}}[status]
    new = values(answers[status, "draft11", "no Accept"].fields)
    policies, states = http_sfv.List(), http_sfv.List()
    policies.parse(new["ratelimit-policy"].encode())
    states.parse(new["ratelimit"].encode())
    assert [(item.value, dict(item.params)) for item in policies] == [
        ("burst", {"q": 3, "w": 60}),
        ("daily", {"q": 5, "w": 86400}),
    ]
    assert {item.value: item.params["r"] for item in states} == left
    old = values(answers[status, "draft6", "no Accept"].fields)
    policies = http_sfv.List()
    policies.parse(old["ratelimit-policy"].encode())
    assert [(item.value, dict(item.params)) for item in policies] == [(3, {"w": 60}), (5, {"w": 86400})]
    for name in ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"):
        item = http_sfv.Item()
        item.parse(old[name].encode())
        assert type(item.value) is int
        assert item.value >= 0


@pytest.mark.parametrize("family", FAMILIES)
def test_redirects_and_what_caches_may_share_are_left_alone(answers: Answers, family: str) -> None:
    got = {path: answers[path, family, ""] for path in UNTOUCHED}
    assert got["moved"].status == "HTTP/1.1 302 Found"
    assert lower(got["moved"].fields) == ["location: /elsewhere", "content-length: 0"]
    assert got["unchanged"].status == "HTTP/1.1 304 Not Modified"
    assert lower(got["unchanged"].fields) == ['etag: "1"']
    assert lower(got["shared"].fields) == ["cache-control: public, max-age=60", "content-length: 7"]
    assert lower(got["aged"].fields) == ["age: 5", "content-length: 7"]


@pytest.mark.parametrize("family", FAMILIES)
def test_scripts_of_other_origins_may_read_exactly_what_is_there(answers: Answers, family: str) -> None:
    names = [line.partition(":")[0] for line in FIELDS[200][family]]
    *passed, denied = [answers["script", family, str(number)] for number in range(4)]
    for got in passed:
        assert got.status == "HTTP/1.1 200 OK"
        exposed = values(got.fields).get("access-control-expose-headers")
        assert exposed == (", ".join([*names, "Retry-After"]) if names else None)
    assert denied.status == "HTTP/1.1 429 Too Many Requests"
    assert values(denied.fields)["access-control-expose-headers"] == ", ".join([*names, "Retry-After"])
