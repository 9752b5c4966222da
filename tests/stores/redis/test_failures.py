"""What the errors of Redis mean: an outage, a busy or a full server, or trouble with one key."""

from __future__ import annotations

import pytest
import redis as client_library

from ratelimit_kit.errors import StoreContendedError, StoreError, StoreFullError
from ratelimit_kit.stores.redis.failures import Failures


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", StoreFullError),
        (
            "Error running script (call to f_0a): @user_script:9: @user_script: 9: -OOM command not allowed.",
            StoreFullError,
        ),
        (
            "Error running script (call to f_0a): @user_script:9: @user_script: 9: -WRONGTYPE Operation against a key",
            StoreError,
        ),
        ("Error running script (call to f_0a): @user_script:9: user_script:9: bad argument #2 to 'unpack'", StoreError),
        ("user_script:9: bad argument #2 to 'unpack' script: 0a, on @user_script:9.", StoreError),
        (
            "WRONGTYPE Operation against a key holding the wrong kind of value script: 0a, on @user_script:9.",
            StoreError,
        ),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", StoreContendedError),
        ("LOADING Redis is loading the dataset in memory", StoreContendedError),
        ("TRYAGAIN Multiple keys request during rehashing of slot", StoreContendedError),
    ],
)
def test_redis_of_every_age_is_understood(text: str, kind: type[StoreError]) -> None:
    failures = Failures("RedisStore(...)", 0.25, clustered=False)
    assert type(failures.meaning(client_library.ResponseError(text))) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (client_library.exceptions.OutOfMemoryError("command not allowed"), StoreFullError),
        (client_library.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), StoreContendedError),
        (client_library.exceptions.TryAgainError("Multiple keys request"), StoreContendedError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_the_classes_of_the_client_are_understood(error: Exception, kind: type[StoreError]) -> None:
    assert type(Failures("RedisStore(...)", 0.25, clustered=False).meaning(error)) is kind


@pytest.mark.parametrize(
    "text",
    [
        "MISCONF Redis is configured to save RDB snapshots script: 0a, on @user_script:9.",
        "CLUSTERDOWN The cluster is down",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOREPLICAS Not enough good replicas to write.",
        "Error running script (call to f_0a): @user_script:9: @user_script: 9: -READONLY You can't write against a replica",
    ],
)
def test_what_concerns_every_key_stays_an_outage(text: str) -> None:
    failures = Failures("RedisStore(...)", 0.25, clustered=False)
    assert failures.meaning(client_library.ResponseError(text)).rlk == "RLK301"
