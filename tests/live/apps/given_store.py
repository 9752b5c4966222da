"""The store that the environment names, for the applications that the guard's tests serve."""

import os

from ratelimit_kit import MemoryStore, Scope


class HostStore(MemoryStore):
    """Stands for a store that all processes of a host share: the guard has nothing to say about it."""

    scope = Scope.HOST


def given_store():
    """The store of STORE_URL; "host" is the one above."""
    url = os.environ.get("STORE_URL", "memory://")
    return HostStore() if url == "host" else url
