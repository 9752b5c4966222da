"""A pre-forking server as people write them by hand: `prefork.py PORT PROCESSES`.

The application is loaded first; the children share the socket and are not started again.
"""

import os
import signal
import socket
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from memory_app import application


class Inherited(WSGIServer):
    """Serves from a socket that is bound already."""

    def __init__(self, bound):
        super().__init__(bound.getsockname(), WSGIRequestHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.server_name, self.server_port = bound.getsockname()
        self.setup_environ()


listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
children = []
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        server = Inherited(listening)
        server.set_app(application)
        server.serve_forever()
    children.append(child)
listening.close()


def stop(*_):
    for one in children:
        os.kill(one, signal.SIGKILL)
    sys.exit(0)


signal.signal(signal.SIGTERM, stop)
for _ in range(len(children)):
    ended, status = os.wait()
    children.remove(ended)
    print(f"child {ended} ended with {os.waitstatus_to_exitcode(status)}", flush=True)
