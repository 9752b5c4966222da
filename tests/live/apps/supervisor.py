"""Starts several processes of one command, as a supervisor does: `supervisor.py HOW PORT,... COMMAND...`.

HOW is "port": one process for each port, which stands for "{port}" in the command; a port may be given twice.
It is "socket": two processes that are given one listening socket as systemd does (sd_listen_fds(3)).
"""

import os
import signal
import socket
import subprocess
import sys

ACTIVATED = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execvp(sys.argv[1], sys.argv[1:])"

how, ports, command = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
children = []
if how == "socket":
    listening = socket.create_server(("127.0.0.1", int(ports[0]))).detach()
    os.dup2(listening, 3)
    os.environ["LISTEN_FDS"] = "1"
    for _ in range(2):
        children.append(subprocess.Popen([sys.executable, "-c", ACTIVATED, *command], pass_fds=[3]))
    for descriptor in {listening, 3}:
        os.close(descriptor)
else:
    for port in ports:
        children.append(subprocess.Popen([word.replace("{port}", port) for word in command]))


def stop(*_):
    for one in children:
        one.terminate()


signal.signal(signal.SIGTERM, stop)
for one in children:
    one.wait()
