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
    error = failures.meaning(client_library.ResponseError(text))
    assert type(error) is kind
    for noise in ("@user_script", "Error running script", "script: 0a"):
        assert noise not in str(error)


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


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            client_library.InvalidResponse("Protocol Error: b'HTTP/1.1 400 Bad Request'"),
            "cannot be used: the server sent b'HTTP/1.1 400 Bad Request', which is not a Redis reply. Check that the URL",
        ),
        (client_library.InvalidResponse("Protocol Error: b'-OOM BUSY LOADING '"), "is not a Redis reply"),
        (
            client_library.exceptions.RedisClusterException("not one node: Protocol Error: b'ERROR'"),
            "Check that the server runs, that the URL names a Redis",
        ),
        (client_library.ConnectionError("Connection closed by server."), "that the URL names a Redis"),
        (
            ConnectionRefusedError(111, "Connection refused"),
            "does not answer: [Errno 111] Connection refused. Check that the server runs",
        ),
        (TimeoutError(), "does not answer: no reply within 0.25 s. Check that the server runs"),
        (
            client_library.ResponseError("Protocol error: unauthenticated multibulk length"),
            "cannot be used: Protocol error: unauthenticated multibulk length. The server runs: check the user and password",
        ),
        (client_library.exceptions.AuthenticationError("Authentication required."), "check the user and password"),
        (
            client_library.exceptions.NoPermissionError("User x has no permissions to run the 'evalsha' command"),
            "this user may not do that: it needs EVALSHA",
        ),
        (
            client_library.ResponseError("ACL failure in script: User x has no permissions to run the 'get' command"),
            "this user may not do that: it needs EVALSHA",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_advice_fits_the_cause(error: Exception, said: str) -> None:
    found = Failures("RedisStore(...)", 0.25, clustered=False).meaning(error)
    assert found.rlk == "RLK301"
    assert said in str(found)


def test_a_server_that_is_busy_says_first_that_nothing_was_charged() -> None:
    found = Failures("RedisStore(...)", 0.25, clustered=False).meaning(
        client_library.ResponseError("BUSY Redis is busy")
    )
    assert str(found) == (
        "RedisStore(...) is busy with another client's script: nothing was charged. To end that script, type redis-cli "
        "script kill [RLK302]"
    )


def test_a_key_of_another_type_names_the_prefix_and_the_way_out() -> None:
    failures = Failures("RedisStore(...)", 0.25, clustered=False, prefix="shop")
    found = str(failures.meaning(client_library.ResponseError("WRONGTYPE Operation script: 0a, on @user_script:9.")))
    assert "prefix 'shop'" in found
    assert "ratelimit-kit reset KEY deletes it" in found


def interrupted(told: Exception, by: Exception) -> Exception:
    """The error of a call that redis-py tried again after what the server had said."""
    try:
        try:
            raise told
        except type(told):
            raise by  # noqa: B904 - as it is when a deadline passes there
    except type(by) as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        client_library.exceptions.ClusterDownError("The cluster is down"),
        client_library.ResponseError("CLUSTERDOWN Hash slot not served"),
        interrupted(client_library.exceptions.ClusterDownError("Hash slot not served"), TimeoutError()),
        interrupted(client_library.exceptions.ClusterDownError("x"), client_library.TimeoutError("Timeout")),
        client_library.exceptions.RedisClusterException(
            "All slots are not covered after query all startup_nodes. 5461 of 16384 covered..."
        ),
    ],
    ids=["library", "text", "stopped", "late", "uncovered"],
)
def test_a_cluster_that_is_down_is_not_said_to_be_silent(error: Exception) -> None:
    failures = Failures("RedisStore(...)", 0.25, clustered=True)
    for found in (failures.meaning(error), failures.of_call(error, 0.2, 0.25, 0.3)):
        assert found.rlk == "RLK301"
        assert "cannot be used" in str(found)
        assert "redis-cli --cluster check" in str(found)
        assert "no reply" not in str(found)


def test_rights_that_a_cluster_client_lacks_are_named() -> None:
    denied = client_library.exceptions.NoPermissionError(
        "this user has no permissions to run the 'cluster|slots' command"
    )
    error = interrupted(
        denied, client_library.exceptions.RedisClusterException("Cluster mode is not enabled on this node")
    )
    found = str(Failures("RedisStore(...)", 0.25, clustered=True).meaning(error))
    assert "no permissions to run the 'cluster|slots' command" in found
    assert "CLUSTER SLOTS and COMMAND in a cluster" in found
