"""With a store that workers share, every server of the matrix starts, however many workers it has, and none is refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.guard.test_servers import answer, params, started
from tests.live.servers import APPS, SEVERAL, SINGLE, Case
from tests.processes import Process, RedisServer, free_port, python_program, request, running

pytestmark = pytest.mark.live


@pytest.fixture
def store_name() -> Iterator[str]:
    """A name in the usual place: Apache's processes run as another user, who has a folder of his own there."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    for path in (
        *Path("/dev/shm").glob(f"ratelimit_kit-*/{name}.*"),
        *Path("/dev/shm").glob(f"ratelimit_kit-*/.{name}.*"),
    ):
        path.unlink()


@pytest.mark.parametrize("case", params([case for case in (*SEVERAL, *SINGLE) if case.folder == APPS]))
def test_with_a_store_of_the_host_every_server_starts_and_the_limit_holds(case: Case, store_name: str) -> None:
    with started(case, STORE_URL=f"host://{store_name}?timeout=5") as process:
        first = answer(process).status
        with ThreadPoolExecutor(8) as pool:
            statuses = [first, *pool.map(lambda _: request(process.port, "/", method="GET").status, range(99))]
        assert "RLK2" not in process.text()
    assert (statuses.count(200), statuses.count(429)) == (10, 90)


@pytest.mark.parametrize("case", params([*SEVERAL, *SINGLE]))
def test_with_redis_every_server_starts_and_the_limit_holds(case: Case, redis: RedisServer) -> None:
    path = "/contact" if case.server == "runserver" else "/"
    with started(case, STORE_URL=redis.patient_url()) as process:
        first = answer(process, path).status
        statuses = [request(process.port, path, method="POST" if path != "/" else "GET").status for _ in range(19)]
        assert "RLK2" not in process.text()
    assert sorted([first, *statuses]) == [200] * 10 + [429] * 10


@pytest.mark.parametrize("kind", ["redis", "memcached"])
def test_workers_that_uwsgi_forks_have_connections_of_their_own(
    kind: str, redis: RedisServer, memcached: Process
) -> None:
    """It tells Python nothing of the fork: the connection of the check at the start would be one of all workers."""
    url = redis.patient_url() if kind == "redis" else f"memcached://127.0.0.1:{memcached.port}?timeout=5"
    port = free_port()
    command = [python_program("pyuwsgi"), "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "4"]
    command += ["--wsgi-file", "memory_app.py", "--die-on-term", "--listen", "100"]
    with running(command, port, cwd=APPS, env={"STORE_URL": url, "LIMIT": "100/minute"}) as process:
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: request(port, method="GET").status, range(300)))
        assert "RLK" not in process.text()
    assert (statuses.count(200), statuses.count(429)) == (100, 200)
