"""The store that the environment names, for the applications that the guard's tests serve."""

import os


def given_store():
    """The store of STORE_URL."""
    return os.environ.get("STORE_URL", "memory://")
