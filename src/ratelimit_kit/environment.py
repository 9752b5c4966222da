"""The environment variables that the library reads, and misspelt ones.

RATELIMIT_KIT_STORE    the store, instead of the configured one
RATELIMIT_KIT_WORKERS  the number of worker processes on all hosts together
RATELIMIT_KIT_HOSTS    the number of hosts on which they run
RATELIMIT_KIT_MODE     enforce, shadow or off: the switch for a rollback, overrides every other setting
"""

from __future__ import annotations

import os
import re
from typing import Final

from ratelimit_kit.core.validation import LIKENESS, alike, nearest
from ratelimit_kit.errors import OptionError

PREFIX: Final = "RATELIMIT_KIT_"
STORE: Final = PREFIX + "STORE"
WORKERS: Final = PREFIX + "WORKERS"
HOSTS: Final = PREFIX + "HOSTS"
MODE: Final = PREFIX + "MODE"

KNOWN: Final = (STORE, WORKERS, HOSTS, MODE)

_OTHERS: Final = {"REPLICAS": "HOSTS", "INSTANCES": "HOSTS", "PROCESSES": "WORKERS", "URL": "STORE"}

_OF_KUBERNETES: Final = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$")
"""What Kubernetes sets in every container for a service whose name begins like our variables."""


def variable(name: str) -> str | None:
    """The value of a variable, None if it is unset or empty; OptionError if there is an unknown one with our prefix."""
    for other in os.environ:
        if other.startswith(PREFIX) and other not in KNOWN and not _OF_KUBERNETES.search(other):
            raise OptionError(
                f"the environment variable {other} is not known, and would have no effect; {_meant(other)} Anything else is "
                "an option of the policy or the limiter, or of the store's URL"
            )
    return os.environ.get(name) or None


def _meant(name: str) -> str:
    """The variable that was meant; the names are compared without what all of them have in common."""
    plain = name.removeprefix(PREFIX)
    close = _OTHERS.get(plain) or alike(plain, [known.removeprefix(PREFIX) for known in KNOWN], LIKENESS)
    return nearest(PREFIX + close if close else "", KNOWN) + ("" if close else ".")
