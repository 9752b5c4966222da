"""One function a scenario; importing this package enters them all, in the order of the report."""

from benchmarks.scenarios import memory

__all__ = ["memory"]
