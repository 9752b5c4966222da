"""The census in Redis: lines of entries and the times at which they end, changed in one script call."""

from __future__ import annotations

from collections.abc import Sequence

from ratelimit_kit.stores import BaseStore
from ratelimit_kit.stores.census import MAX_PROCESSES
from ratelimit_kit.stores.keys import counter_key
from ratelimit_kit.stores.redis.calls.replies import read_lines
from ratelimit_kit.stores.redis.calls.scripts import CENSUS
from ratelimit_kit.stores.redis.client import Client


class CensusStore(BaseStore):
    """The part of RedisStore that keeps the census."""

    _client: Client
    _prefix: str

    def census(self, name: str, entry: str, seconds: float) -> Sequence[str] | None:
        """Write an entry of the census and read the others; None without a sync client, which the thread needs."""
        if not self._client.exists:
            return None
        key, arguments = counter_key(self._prefix, "census", name), (entry, round(seconds * 1000), MAX_PROCESSES)
        found: Sequence[str] = self._client.run(CENSUS, [key], arguments, read_lines)
        return found
