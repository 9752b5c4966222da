"""Which responses count: `count="failures"` and the like.

The hit is charged before the response exists, and refunded if the response does not count, so that concurrent
requests cannot exceed a limit on failures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.callables import AtOnce, check_callable
from ratelimit_kit.web.http.messages import Response

Counts = Callable[[Response], Any]


@dataclass(frozen=True)
class Statuses(AtOnce):
    """A test of responses by their status; two tests for the same statuses are equal."""

    listed: frozenset[int] | range

    def __call__(self, response: Response) -> bool:
        """Whether the response counts."""
        return response.status in self.listed


_WORDS: dict[str, Counts | None] = {
    "all": None,
    "failures": Statuses(range(400, 1000)),
    "successes": Statuses(range(400)),
}


def read_count(count: Any) -> Counts | None:
    """The test for responses that count, None if every request counts; OptionError for an invalid `count`."""
    if callable(count):
        own: Counts = check_callable("count", count, "response")
        return own
    if isinstance(count, list | tuple | set | frozenset) and count:
        statuses = [status for status in count if type(status) is int and 100 <= status <= 599]
        if len(statuses) == len(count):
            return Statuses(frozenset(statuses))
    if not isinstance(count, str) or count not in _WORDS:
        raise OptionError(
            f"count={count!r} does not say which responses count; {nearest(count, _WORDS)}, give statuses such as "
            "[401, 403], or a callable of the response"
        )
    return _WORDS[count]
