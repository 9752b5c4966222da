"""Errors that travel: between processes, and through the JSON results of task queues."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from ratelimit_kit import Limiter, LimitExceeded
from ratelimit_kit.errors import RateLimitKitError, UnsafeWorkersError


def every_error(above: type[RateLimitKitError] = RateLimitKitError) -> list[type[RateLimitKitError]]:
    below = [one for kind in above.__subclasses__() for one in every_error(kind)]
    return [one for one in (above, *below) if one.__module__ == "ratelimit_kit.errors"]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_an_error_can_be_rebuilt_from_its_own_arguments(kind: type[RateLimitKitError]) -> None:
    """As Celery does with what a task has raised, because its results are JSON."""
    error = kind("what was found")
    for again in (kind(*json.loads(json.dumps(error.args))), pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert (str(again), again.args, again.rlk, again.code) == (str(error), error.args, error.rlk, error.code)


def test_a_refusal_of_a_call_keeps_its_decision_in_another_process_and_its_text_in_json() -> None:
    limiter = Limiter("1/minute")
    limiter.hit("key")
    error = LimitExceeded(limiter.hit("key"), "work")
    pickled = pickle.loads(pickle.dumps(error))
    assert (str(pickled), pickled.what, pickled.decision.retry_after) == (
        str(error),
        "work",
        error.decision.retry_after,
    )
    rebuilt = LimitExceeded(*json.loads(json.dumps(error.args)))
    for again in (rebuilt, pickle.loads(pickle.dumps(rebuilt)), copy.deepcopy(rebuilt)):
        assert (str(again), again.decision, again.rlk) == (str(error), None, "RLK429")


def test_a_refusal_that_must_not_exit_keeps_its_code_when_it_is_pickled() -> None:
    plain = UnsafeWorkersError("found").without_exit()
    again = pickle.loads(pickle.dumps(plain))
    assert (str(again), again.rlk, again.code) == ("found [RLK201]", "RLK201", "RLK201")
