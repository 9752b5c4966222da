"""What importing costs, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.harness import Contestant, Work, floor, ours, peer, scenario
from benchmarks.place import Place


def importing(module: str) -> Work:
    """Seconds that `import module` takes in a fresh process."""
    code = f"import time; begun = time.perf_counter(); import {module}; print(time.perf_counter() - begun)"

    def work(seconds: float) -> list[float]:
        end = time.perf_counter() + seconds
        samples = []
        while not samples or time.perf_counter() < end:
            samples.append(float(subprocess.check_output([sys.executable, "-c", code])))
        return samples

    return work


@scenario("import", unit="ms", note="in a fresh process; the promise is about what comes on top of `import wrapt`")
def start_up(_: Place) -> list[Contestant]:
    """Nothing that is not needed is imported."""
    return [
        floor("import wrapt", importing("wrapt")),
        ours("import ratelimit_kit", importing("ratelimit_kit"), 40),
        ours("import Limiter from it", importing("ratelimit_kit; ratelimit_kit.Limiter")),
        peer("import limits", importing("limits")),
        peer("import throttled", importing("throttled")),
        peer("import pyrate_limiter", importing("pyrate_limiter")),
    ]
