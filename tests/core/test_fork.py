"""A forked child has locks of its own: whoever held one of the parent's is not there to let go of it."""

from __future__ import annotations

import os
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from ratelimit_kit.core import fork
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


def test_a_fork_without_a_word_to_python_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As uWSGI forks its workers."""
    renewed: list[str] = []
    monkeypatch.setattr(fork, "_renewers", [fork._note, lambda: renewed.append("all")])
    monkeypatch.setattr(fork, "_renewed_in", [os.getpid()])
    fork.catch_up()
    assert renewed == []
    monkeypatch.setattr(fork, "_renewed_in", [1])
    fork.catch_up()
    fork.catch_up()
    assert renewed == ["all"]


def test_uwsgi_is_asked_to_tell_of_it_beside_what_the_application_has_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    module = SimpleNamespace(post_fork_hook=lambda: told.append("the application's"))
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    monkeypatch.setattr(fork, "catch_up", lambda: told.append("ours"))
    fork.hook_uwsgi()
    module.post_fork_hook()
    assert told == ["ours", "the application's"]
