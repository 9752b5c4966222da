"""Two uvicorns on two ports with environments of their own: `two_sites.py PORT PORT MODULE MODULE`."""

import os
import signal
import subprocess
import sys

children = [
    subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--port", port, module], env={**os.environ, "SITE": f"{name} site"}
    )
    for name, port, module in zip(("one", "other"), sys.argv[1:3], sys.argv[3:], strict=True)
]


def stop(*_):
    for one in children:
        one.terminate()


signal.signal(signal.SIGTERM, stop)
for one in children:
    one.wait()
