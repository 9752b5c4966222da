"""With a store that workers share, every server of the matrix starts, however many workers it has, and none is refused."""

from __future__ import annotations

import pytest

from tests.live.guard.test_servers import answer, params, started
from tests.live.servers import APPS, SEVERAL, SINGLE, Case
from tests.processes import RedisServer, request

pytestmark = pytest.mark.live


@pytest.mark.parametrize("case", params([case for case in (*SEVERAL, *SINGLE) if case.folder == APPS]))
def test_a_store_of_the_host_is_never_refused(case: Case) -> None:
    with started(case, STORE_URL="host") as process:
        statuses = [answer(process).status, *(request(process.port, "/", method="GET").status for _ in range(19))]
        assert "RLK2" not in process.text()
    assert set(statuses) <= {200, 429}


@pytest.mark.parametrize("case", params([*SEVERAL, *SINGLE]))
def test_with_redis_every_server_starts_and_the_limit_holds(case: Case, redis: RedisServer) -> None:
    path = "/contact" if case.server == "runserver" else "/"
    with started(case, STORE_URL=redis.patient_url()) as process:
        first = answer(process, path).status
        statuses = [request(process.port, path, method="POST" if path != "/" else "GET").status for _ in range(19)]
        assert "RLK2" not in process.text()
    assert sorted([first, *statuses]) == [200] * 10 + [429] * 10
