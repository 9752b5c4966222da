"""Several uvicorns on one socket, as a process supervisor starts them: `shared_socket.py PORT PROCESSES [OPTIONS]`."""

import signal
import socket
import subprocess
import sys

listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
command = [
    sys.executable,
    "-m",
    "uvicorn",
    "--fd",
    str(listening.fileno()),
    "memory_app:asgi_application",
    *sys.argv[3:],
]
children = [subprocess.Popen(command, pass_fds=[listening.fileno()]) for _ in range(int(sys.argv[2]))]
listening.close()


def stop(*_):
    for one in children:
        one.terminate()


signal.signal(signal.SIGTERM, stop)
print("ended with", [one.wait() for one in children], flush=True)
