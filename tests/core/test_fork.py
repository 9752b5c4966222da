"""A forked child has locks of its own: whoever held one of the parent's is not there to let go of it."""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytest

from ratelimit_kit.outage.breaker import CircuitBreaker
from ratelimit_kit.stores.denial_cache import DenialCache
from ratelimit_kit.web.policy.reload import PolicyFile


def policy_file() -> Any:
    return PolicyFile("ratelimit.toml", {}, [], None)


@pytest.mark.parametrize("make", [DenialCache, CircuitBreaker, policy_file])
def test_a_lock_that_is_held_during_a_fork_is_free_in_the_child(make: Any) -> None:
    owner = make()
    with owner._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads, which is the point
        child = os.fork()
        if child == 0:
            os._exit(0 if owner._lock.acquire(blocking=False) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
