"""Put what a run was made of into docs/reference/compatibility-table.md, in place of the last run of that name.

python scripts/compatibility.py "`make test`" all    (or "unit" and "stores": servers are named where they were used)
"""

import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

TABLE = Path(__file__).parent.parent / "docs" / "reference" / "compatibility-table.md"
HEAD = ("run", "system", "Python", "tests", "servers", "clients", "frameworks")
TESTS = {"all": "all", "unit": "unit", "stores": "live stores"}
CLIENTS = {"redis-py": "redis", "pymemcache": "pymemcache"}
FRAMEWORKS = {
    "Django": "django",
    "REST framework": "djangorestframework",
    "Flask": "flask",
    "FastAPI": "fastapi",
    "Starlette": "starlette",
}


def servers() -> str:
    """What the tests started: a program called redis-server may be Valkey."""
    redis = subprocess.check_output(["redis-server", "--version"], text=True)
    memcached = subprocess.check_output(["memcached", "-V"], text=True)
    name, number = re.search(r"(Redis|Valkey) server v=(\S+)", redis).groups()
    return f"{name} {number}, Memcached {memcached.split()[1]}"


def installed(packages: dict[str, str]) -> str:
    return ", ".join(f"{name} {version(package)}" for name, package in packages.items())


def system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform(terse=True)


def main(name: str, *kinds: str) -> None:
    row = (
        name,
        system(),
        platform.python_version(),
        " and ".join(TESTS[kind] for kind in kinds),
        servers() if {"all", "stores"} & set(kinds) else "",
        installed(CLIENTS),
        installed(FRAMEWORKS),
    )
    kept = TABLE.read_text().splitlines()[2:] if TABLE.exists() else []
    rows = {line.split(" | ")[0]: line for line in [*kept, f"| {' | '.join(row)} |"]}
    lines = [f"| {' | '.join(HEAD)} |", f"| {' | '.join(['---'] * len(HEAD))} |", *sorted(rows.values())]
    TABLE.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
