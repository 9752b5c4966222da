"""uvicorn started by a program: `uvicorn_program.py PORT WORKERS`."""

import sys

import uvicorn

if __name__ == "__main__":
    uvicorn.run("memory_app:asgi_application", port=int(sys.argv[1]), workers=int(sys.argv[2]))
