"""Two uvicorns on two ports, as for a balancer: `two_ports.py PORT PORT [MODULE MODULE]`."""

import signal
import subprocess
import sys

modules = sys.argv[3:] or ["memory_app:asgi_application"] * 2
children = [
    subprocess.Popen([sys.executable, "-m", "uvicorn", "--port", port, module])
    for port, module in zip(sys.argv[1:3], modules, strict=True)
]


def stop(*_):
    for one in children:
        one.terminate()


signal.signal(signal.SIGTERM, stop)
for one in children:
    one.wait()
