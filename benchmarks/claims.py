"""What libraries of the field do where it matters, tried out on the versions that requirements.txt pins.

    make claims        writes the table that docs/explanation/comparison.md shows

A claim is a small experiment through a library's public API, in the memory store that each of them has. It
tells what happened, not what a manual promises; where a library has no such thing it says so with a dash.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

Experiment = Callable[[], str]

NONE = "-"


def burst(hit: Callable[[], bool], per: float) -> str:
    """The most that passes within 0.4 s around the end of a window of `per` seconds, under a limit of 10."""
    time.sleep(per - time.time() % per)
    passed = [hit()]  # some libraries begin their window with the first hit
    time.sleep(per - 0.2)
    passed += [hit() for _ in range(12)]
    time.sleep(0.3)
    passed += [hit() for _ in range(12)]
    return f"{sum(passed[1:])} of 10"


def spent(hit: Callable[[int], bool]) -> str:
    """Whether a refused cost is charged: 8 of 10, then 5 (refused), then 1."""
    return "no" if [hit(8), hit(5), hit(1)] == [True, False, True] else "yes"


def remembered(hit: Callable[[str], bool], keys: int) -> str:
    """Whether a client at its limit is still refused after so many others have come by."""
    hit("victim")
    assert not hit("victim")
    for number in range(keys):
        hit(f"other-{number}")
    return "no" if not hit("victim") else f"yes, after {keys} others"


def ours() -> dict[str, Experiment]:
    """This library."""
    from ratelimit_kit import Limiter, QuotaError

    def misread() -> str:
        try:
            Limiter("100/mnth")
        except QuotaError:
            return "refused, with the nearest spelling"
        return "accepted"

    def stacked() -> str:
        limiter = Limiter("5/minute", "1/hour")
        limiter.hit("key")
        before = limiter.peek("key").verdicts[0].remaining
        limiter.hit("key")
        return "no" if limiter.peek("key").verdicts[0].remaining == before else "yes"

    def of(text: str) -> Any:
        return Limiter(text)

    one, two, three = of("10/2 seconds"), of("10/minute"), of("1/hour")
    return {
        "burst": lambda: burst(lambda: bool(one.hit("key")), 2),
        "spent": lambda: spent(lambda cost: bool(two.hit("key", cost))),
        "stacked": stacked,
        "misread": misread,
        "evicted": lambda: remembered(lambda key: bool(three.hit(key)), 5000),
        "workers": lambda: workers("from ratelimit_kit import Limiter; limiter = Limiter('10/minute')"),
    }


def limits_library() -> dict[str, Experiment]:
    """limits, by its default strategy, on which Flask-Limiter and slowapi stand."""
    from limits import parse, storage, strategies

    strategy = strategies.FixedWindowRateLimiter(storage.MemoryStorage())

    def misread() -> str:
        try:
            parse("100/mnth")
        except ValueError:
            return "refused"
        return "accepted"

    return {
        "burst": lambda: burst(lambda: strategy.hit(parse("10/2 second"), "burst"), 2),
        "spent": lambda: spent(lambda cost: strategy.hit(parse("10/minute"), "spent", cost=cost)),
        "stacked": lambda: NONE,
        "misread": misread,
        "evicted": lambda: remembered(lambda key: strategy.hit(parse("1/hour"), key), 5000),
        "workers": lambda: workers("from limits import storage; limiter = storage.MemoryStorage()"),
    }


def flask_limiter_library() -> dict[str, Experiment]:
    """Flask-Limiter, with its defaults."""
    import flask
    import flask_limiter
    from flask_limiter.util import get_remote_address

    def answers(*rules: str, tries: int = 3) -> tuple[list[int], Any]:
        app = flask.Flask("claims")
        limiter = flask_limiter.Limiter(get_remote_address, app=app, storage_uri="memory://")
        view: Any = lambda: "ok"  # noqa: E731 - a view to decorate
        for number, rule in enumerate(rules):
            view = limiter.limit(rule, key_func=lambda number=number: f"key-{number}")(view)
        app.add_url_rule("/", "view", view)
        client = app.test_client()
        return [client.get("/").status_code for _ in range(tries)], limiter.storage

    def stacked() -> str:
        _, storage = answers("1/hour", "5/minute")
        counted = [count for key, count in storage.storage.items() if "/5/" in key]
        return "no" if counted == [1] else "yes"

    def stacked_the_other_way() -> str:
        _, storage = answers("5/minute", "1/hour")
        counted = [count for key, count in storage.storage.items() if "/5/" in key]
        return stacked() if counted == [1] else "yes"

    def misread() -> str:
        statuses, _ = answers("100/mnth")
        return "accepted: the view has no limit" if statuses == [200] * 3 else "refused"

    return {
        "burst": lambda: f"{limits_library()['burst']()} (by limits)",
        "spent": lambda: f"{limits_library()['spent']()} (by limits)",
        "stacked": stacked_the_other_way,
        "misread": misread,
        "evicted": lambda: f"{limits_library()['evicted']()} (by limits)",
        "workers": lambda: workers(
            "import flask, flask_limiter; app = flask.Flask('x'); limiter = flask_limiter.Limiter(lambda: 'key', app=app)"
        ),
    }


def slowapi_library() -> dict[str, Experiment]:
    """slowapi, with its defaults."""
    from slowapi import Limiter
    from slowapi.util import get_remote_address

    def misread() -> str:
        def view(request: Any) -> None:
            """Do nothing."""

        try:
            Limiter(key_func=get_remote_address).limit("100/mnth")(view)
        except ValueError:
            return "refused"
        return "accepted: the view has no limit"

    return {
        "burst": lambda: f"{limits_library()['burst']()} (by limits)",
        "spent": lambda: f"{limits_library()['spent']()} (by limits)",
        "stacked": lambda: NONE,
        "misread": misread,
        "evicted": lambda: f"{limits_library()['evicted']()} (by limits)",
        "workers": lambda: workers("from slowapi import Limiter; limiter = Limiter(key_func=lambda: 'key')"),
    }


def throttled_library() -> dict[str, Experiment]:
    """throttled-py, by its default algorithm (a token bucket) and, for windows, its fixed window."""
    from throttled import Throttled, rate_limiter, store

    def of(quota: Any) -> Any:
        return Throttled(using="fixed_window", quota=quota, store=store.MemoryStore())

    one, two, three = (
        of(rate_limiter.per_duration(timedelta(seconds=2), 10)),
        of(rate_limiter.per_min(10)),
        of(rate_limiter.per_hour(1)),
    )
    return {
        "burst": lambda: burst(lambda: not one.limit("key").limited, 2),
        "spent": lambda: spent(lambda cost: not two.limit("key", cost=cost).limited),
        "stacked": lambda: NONE,
        "misread": lambda: NONE,
        "evicted": lambda: remembered(lambda key: not three.limit(key).limited, 5000),
        "workers": lambda: workers("from throttled import Throttled; limiter = Throttled(key='key')"),
    }


def django_ratelimit_library() -> dict[str, Experiment]:
    """django-ratelimit, on Django's default cache."""
    from django.conf import settings

    import django

    if not settings.configured:
        settings.configure(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}})
        django.setup()
    from django.test import RequestFactory
    from django_ratelimit.core import is_ratelimited

    def hit(group: str, rate: str, key: str) -> bool:
        request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7", HTTP_X_KEY=key)
        return not is_ratelimited(request, group=group, key="header:x-key", rate=rate, increment=True)

    def misread() -> str:
        from django_ratelimit.core import get_usage

        request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7")
        usage = get_usage(request, group="misread", key="ip", rate="100/month", increment=True)
        return f"'100/month' is 100 in {max(60, usage['time_left'])} s"

    return {
        "burst": lambda: burst(lambda: hit("burst", "10/2s", "key"), 2),
        "spent": lambda: NONE,
        "stacked": lambda: NONE,
        "misread": misread,
        "evicted": lambda: remembered(lambda key: hit("evicted", "1/h", key), 400),
        "workers": lambda: workers("import django_ratelimit; limiter = django_ratelimit"),
    }


LIBRARIES: dict[str, Callable[[], dict[str, Experiment]]] = {
    "ratelimit-kit": ours,
    "limits": limits_library,
    "flask-limiter": flask_limiter_library,
    "slowapi": slowapi_library,
    "throttled-py": throttled_library,
    "django-ratelimit": django_ratelimit_library,
}

QUESTIONS = {
    "burst": "passes in 0.4 s around a window's end, under a limit of 10 in 2 s",
    "spent": "a refused request uses up quota",
    "stacked": "a request that one limit refuses uses up another",
    "misread": "a limit with a misspelt or unknown unit",
    "evicted": "throw-away clients make it forget one at its limit",
    "workers": "in memory under `gunicorn --workers 4`",
}


def workers(code: str) -> str:
    """Whether gunicorn starts four workers that each count for themselves, by a server that is started and stopped."""
    application = (
        f"{code}\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"
    )
    folder = Path(__file__).parent / ".claims"
    folder.mkdir(exist_ok=True)
    (folder / "application.py").write_text(application)
    command = [sys.executable, "-m", "gunicorn", "--workers", "4", "--bind", "127.0.0.1:0", "application:application"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as server:
        try:
            status = server.wait(5)
        except subprocess.TimeoutExpired:
            server.terminate()
            return "starts: four limits"
    return f"refuses to start (exit status {status})"


def table() -> str:
    """Every question to every library, as Markdown."""
    asked = {name: make() for name, make in LIBRARIES.items()}
    head = ["", *(f"{name} {version(name)}" for name in asked)]
    rows = [head, ["---"] * len(head)]
    for key, question in QUESTIONS.items():
        rows.append([question, *(experiments[key]() for experiments in asked.values())])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    found = table()
    sys.stdout.write(found)
    for target in sys.argv[1:]:
        Path(target).write_text(found, encoding="utf-8")
