"""The environment variables that the library reads, and misspelt ones.

RATELIMIT_KIT_STORE    the store, instead of the configured one
RATELIMIT_KIT_WORKERS  the number of worker processes on all hosts together
RATELIMIT_KIT_MODE     enforce, shadow or off: the switch for a rollback, overrides every other setting
"""

from __future__ import annotations

import os
from typing import Final

from ratelimit_kit.core.validation import alike, nearest
from ratelimit_kit.errors import OptionError

PREFIX: Final = "RATELIMIT_KIT_"
STORE: Final = PREFIX + "STORE"
WORKERS: Final = PREFIX + "WORKERS"
MODE: Final = PREFIX + "MODE"

KNOWN: Final = (STORE, WORKERS, MODE)


def variable(name: str) -> str | None:
    """The value of a variable, None if it is unset or empty; OptionError if one is misspelt.

    Other variables with our prefix may come from elsewhere: Kubernetes sets some for a service with that name.
    """
    for other in os.environ:
        if other.startswith(PREFIX) and other not in KNOWN and alike(other, KNOWN, 0.85):
            raise OptionError(f"the environment variable {other} is not known; {nearest(other, KNOWN)}")
    return os.environ.get(name) or None
