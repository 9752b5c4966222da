"""uWSGI without `enable-threads`: Python threads stand still between requests, so work is done after a response."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ratelimit_kit.guard.workers.detection import first_set


class AfterRequests:
    """Does `work` after each request of a uWSGI without threads, beside what the application has put there.

    uWSGI looks for `uwsgi.after_req_hook` once, when the application has been loaded.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._hook: Callable[[], None] | None = None

    @staticmethod
    def has_threads() -> bool:
        """Whether threads run: they do everywhere but in a uWSGI that was not told to."""
        module: Any = sys.modules.get("uwsgi")
        return module is None or bool(first_set(module.opt, "enable-threads", "threads"))

    def hook(self) -> None:
        """Ask uWSGI to do it; only before requests, and where it must."""
        module: Any = sys.modules.get("uwsgi")
        if module is None or self._hook is not None or self.has_threads():
            return
        before = getattr(module, "after_req_hook", None)

        def after_request() -> None:
            if before is not None:
                before()
            self._work()

        module.after_req_hook = self._hook = after_request

    def hooked(self) -> bool:
        """Whether uWSGI does it."""
        module: Any = sys.modules.get("uwsgi")
        return self._hook is not None and getattr(module, "after_req_hook", None) is self._hook
