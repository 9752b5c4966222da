from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stores.memcached.peers import Peer, running_peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    with running_peer() as one:
        yield one
