"""gunicorn started from a program that has made its application before: `gunicorn_program.py PORT WORKERS`."""

import sys

from gunicorn.app.base import BaseApplication
from memory_app import application


class Program(BaseApplication):
    """Serves the application that it is given."""

    def load_config(self):
        self.cfg.set("bind", f"127.0.0.1:{sys.argv[1]}")
        self.cfg.set("workers", int(sys.argv[2]))

    def load(self):
        return application


Program().run()
