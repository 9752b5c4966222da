"""What to type when a call to the store failed, by what the server, its client library or the system said."""

from __future__ import annotations

from typing import Final, NamedTuple

from ratelimit_kit.errors import StoreError, StoreUnavailableError
from ratelimit_kit.stores import Scope, Store


class Cause(NamedTuple):
    """Words that a failure is known by, in lower case, and what to type: for Redis, and for Memcached."""

    words: tuple[str, ...]
    redis: str
    memcached: str = ""


WITHOUT_TLS: Final = "redis:// instead of rediss:// in the store's URL, if the server does not use TLS there"

NO_REPLY: Final = Cause(
    ("no reply within",),
    "a server that answers in time: redis-cli -h HOST -p PORT --latency; the deadline is ?timeout= in the store's URL",
    "a server that answers in time: `echo stats | nc HOST PORT`; the deadline is ?timeout= in the store's URL",
)

CAUSES: Final = (
    Cause(
        ("readonly", "read only replica", "is a replica"),
        "the primary's address in the store's URL, or redis+sentinel://..., which follows it",
    ),
    Cause(
        ("noperm", "no permissions", "can't run this command"),
        "redis-cli acl setuser NAME +evalsha +eval ..., the whole list is in docs/explanation/security.md",
    ),
    Cause(
        ("is full", "out of memory"),
        "redis-cli config set maxmemory 256mb (more than now), or a separate Redis for the limits",
        "more memory for Memcached (-m), or a separate Memcached for the limits",
    ),
    Cause(
        ("password", "noauth", "authentication", "unauthenticated"),
        "the right user and password in the store's URL: redis://user:password@host:6379/0",
    ),
    Cause(
        ("maxclients", "max number of clients", "accepts no more connections"),
        "redis-cli config set maxclients 20000 (more than now), or fewer processes that connect",
        "a higher -c for Memcached, or fewer processes that connect",
    ),
    Cause(("script kill", "busy with"), "redis-cli script kill; then shorten the script that was running"),
    Cause(("loading its data",), "redis-cli info persistence, until it says loading:0"),
    Cause(
        ("holds something", "wrongtype"),
        "another prefix or database for the limits in the store's URL, or delete that key",
    ),
    Cause(
        ("too large",),
        "a lower resolution for the limit",
        "a larger item size for Memcached (-I), or a lower resolution",
    ),
    Cause(
        ("db index", "database number"),
        "a database in the store's URL that the server has: redis-cli config get databases",
    ),
    Cause(
        ("--cluster check",),
        "redis-cli --cluster check HOST:PORT; start the nodes that it misses, or redis-cli --cluster fix HOST:PORT",
    ),
    Cause(("redis+cluster://",), "redis+cluster://HOST:PORT in the store's URL"),
    Cause(
        ("certificate",),
        "a certificate that is valid for the URL's host name, and ?ssl_ca_certs=FILE for a CA of your own",
    ),
    Cause(
        ("[ssl", "ssl:", "wrong version number", "record layer"),
        WITHOUT_TLS,
        "a port of Memcached that does not use TLS",
    ),
    Cause(
        (
            "name or service",
            "name resolution",
            "nodename",
            "no address associated",
            "getaddrinfo",
            "name does not resolve",
        ),
        "a host name in the store's URL that this machine knows: getent hosts HOST",
        "a host name in the store's URL that this machine knows: getent hosts HOST",
    ),
    Cause(
        (
            "protocol error",
            "redis reply",
            "reply of memcached's",
            "memcached reply",
            "closed by server",
            "connection was closed",
        ),
        "a host and port in the store's URL at which `redis-cli -h HOST -p PORT ping` prints PONG (rediss:// if it uses TLS)",
        "a host and port in the store's URL at which `echo version | nc HOST PORT` prints VERSION",
    ),
    NO_REPLY,
)
"""The first that fits counts."""

NOT_RUNNING: Final = Cause(
    (),
    "sudo systemctl start redis-server; then `redis-cli -h HOST -p PORT ping` must print PONG",
    "sudo systemctl start memcached; then `echo version | nc HOST 11211` must answer",
)


def fix_of_call(store: Store, message: str, error: BaseException | None) -> str:
    """What to type for a failed call; a server that is alive needs no start, so an unknown `error` of one has no fix."""
    if store.scope is Scope.HOST:  # its errors say what to type
        return ""
    text = message.replace(repr(store), "").lower()  # a URL may contain any word
    known = next((cause for cause in CAUSES if any(word in text for word in cause.words)), None)
    if known is NO_REPLY and "'rediss://" in repr(store):
        return f"{WITHOUT_TLS}; else {known.redis}"
    if known is None and isinstance(error, StoreError) and not isinstance(error, StoreUnavailableError):
        return ""
    cause = known or NOT_RUNNING
    return cause.memcached or cause.redis if type(store).__name__ == "MemcachedStore" else cause.redis
