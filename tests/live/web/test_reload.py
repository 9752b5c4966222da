"""A policy file that changes under four workers: all of them follow, or all keep their rules and say so once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ratelimit_kit.web.policy.reload import RECHECK_SECONDS
from tests.live.servers import APPS
from tests.processes import Process, RedisServer, Response, free_port, python_program, redis_server, request, running

pytestmark = pytest.mark.live

WORKERS = 4


def policy(store: str, *, limit: str = "10/minute", mode: str = "enforce") -> str:
    return f'store = "{store}"\nmode = "{mode}"\nexempt = ["/pid"]\n\n[[rules]]\nlimits = "{limit}"\nkey = "ip"\nname = "site"\n'


def replace(file: Path, text: str) -> None:
    """Replace the old file by a new one in one step, as deployments do."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


@contextmanager
def site(file: Path, *, wait: bool = True, **env: str) -> Iterator[Process]:
    """The site with all its workers up, because one that starts later would read a later file."""
    port = free_port()
    command = [python_program("gunicorn"), "reloading:application", "--workers", str(WORKERS), "--log-level", "warning"]
    with running(
        [*command, "--bind", f"127.0.0.1:{port}"], port, cwd=APPS, env={"POLICY_FILE": str(file), **env}
    ) as one:
        if wait:
            until(lambda: len(workers(one)) == WORKERS, one)
        yield one


def at_once(process: Process, times: int = 60, path: str = "/") -> list[Response]:
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda _: request(process.port, path), range(times)))


def workers(process: Process) -> set[bytes]:
    """The responding workers, each with its number."""
    return {one.body for one in at_once(process, path="/pid")}


def counted(process: Process, times: int = 60) -> Counter[int]:
    return Counter(one.status for one in at_once(process, times))


def until(true: Callable[[], bool], process: Process, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, process.text()


def test_modes_follow_the_file_and_the_counters_stay(redis: RedisServer, tmp_path: Path) -> None:
    file, store = tmp_path / "ratelimit.toml", redis.url()
    replace(file, policy(store))
    with site(file) as process:
        assert counted(process) == {200: 10, 429: 50}
        replace(file, policy(store, mode="off"))
        until(lambda: counted(process) == {200: 60}, process)
        followed: set[bytes] = set()
        while len(followed) < WORKERS:  # a fast machine may not need all four for sixty requests
            open_answers = at_once(process)
            assert all(one.status == 200 and "ratelimit" not in one.headers for one in open_answers)
            followed |= {one.body for one in open_answers}
        replace(file, policy(store, mode="shadow"))
        until(lambda: bool(at_once(process)) and process.text().count("mode shadow") == WORKERS, process)
        assert counted(process) == {200: 60}
        assert "shadow: rule 'site' would have refused a request (10/minute)" in process.text()
        replace(file, policy(store))
        until(lambda: counted(process) == {429: 60}, process)
        replace(file, policy(store, limit="1000/minute"))
        until(lambda: counted(process) == {200: 60}, process)


def test_a_number_that_changes_under_load_gives_nobody_a_second_quota(redis: RedisServer, tmp_path: Path) -> None:
    """Also while some workers have the new number and others still the old one."""
    file, store = tmp_path / "ratelimit.toml", redis.url()
    replace(file, policy(store, limit="10/hour"))
    with site(file) as process:
        passed = 0
        for limit, total in (
            ("10/hour", 10),
            ("4/hour", 10),
            ("25/hour", 25),
            ("12/hour", 25),
            ("0/hour", 25),
            ("30/hour", 30),
        ):
            replace(file, policy(store, limit=limit))
            end = time.monotonic() + 2 * RECHECK_SECONDS
            while time.monotonic() < end or passed < total:
                passed += counted(process)[200]
                assert passed <= total
                assert time.monotonic() < end + 15, process.text()
        replace(file, policy(store, limit="token-bucket: 3/hour"))
        fresh = "count from zero, by another window or algorithm: rule 'site' (token-bucket: 3/hour burst 3)"
        until(lambda: bool(at_once(process)) and fresh in process.text(), process)


def test_a_broken_file_keeps_the_rules_and_each_worker_says_so_once(redis: RedisServer, tmp_path: Path) -> None:
    file, store = tmp_path / "ratelimit.toml", redis.url()
    replace(file, policy(store))
    broken = {
        "no TOML": "this is no policy",
        "a misspelt option": policy(store).replace("limits =", "limit ="),
        "another store": policy("redis://127.0.0.1:1/0"),
        "no rules": f'store = "{store}"\n',
    }
    with site(file) as process:
        assert counted(process) == {200: 10, 429: 50}
        for number, text in enumerate(broken.values(), start=1):
            replace(file, text)
            until(lambda told=number * WORKERS: counted(process) == {429: 60} and told <= tellings(process), process)
        end = time.monotonic() + RECHECK_SECONDS * 1.5
        while time.monotonic() < end:  # more checks of the same file
            assert counted(process) == {429: 60}
        assert tellings(process) == len(broken) * WORKERS
        assert "rule 1 has no option 'limit'; did you mean 'limits'?" in process.text()
        file.unlink()
        until(lambda: counted(process) == {429: 60} and tellings(process) == (len(broken) + 1) * WORKERS, process)
        replace(file, policy(store, mode="off"))
        until(lambda: counted(process) == {200: 60}, process)


def tellings(process: Process) -> int:
    return process.text().count("[RLK303]")


def test_the_environment_is_above_the_file(redis: RedisServer, tmp_path: Path) -> None:
    file, store = tmp_path / "ratelimit.toml", redis.url()
    replace(file, policy(store))
    with site(file, RATELIMIT_KIT_MODE="off") as process:
        assert counted(process) == {200: 60}
        replace(file, policy(store, limit="5/minute"))
        end = time.monotonic() + RECHECK_SECONDS * 1.5
        while time.monotonic() < end:
            assert counted(process) == {200: 60}


def test_off_starts_even_without_a_store(tmp_path: Path) -> None:
    """The switch for the day when the store fails must not need the store."""
    file = tmp_path / "ratelimit.toml"
    with redis_server() as server:
        replace(file, policy(server.url()))
    with site(file, RATELIMIT_KIT_MODE="off") as process:
        assert counted(process) == {200: 60}
    with site(file, wait=False) as process:
        assert process.wait_until_ended(15) == 3
        assert "[RLK204]" in process.text()
