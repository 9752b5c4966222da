"""werkzeug's development server with a process for each request: `werkzeug_processes.py PORT PROCESSES`."""

import sys

from memory_app import application
from werkzeug.serving import run_simple

run_simple("127.0.0.1", int(sys.argv[1]), application, processes=int(sys.argv[2]))
