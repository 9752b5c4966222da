"""Print the lowest declared version of each run-time dependency as constraints for pip; `make test-minimum` installs them.

python scripts/minimum_versions.py > minimum.txt && pip install -e ".[all]" --group minimum -c minimum.txt
"""

import re
import tomllib
from itertools import chain
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def constraints() -> list[str]:
    """One line for each name; it is an error to declare one twice with different floors, or in another form."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    lines = set()
    for requirement in chain(project["dependencies"], *project["optional-dependencies"].values()):
        if requirement.startswith(f"{project['name']}["):
            continue
        declared = re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+)(,<[0-9.]+)?", requirement)
        if declared is None:
            raise SystemExit(
                f"{requirement!r} in pyproject.toml is neither 'name>=version' nor 'name>=version,<version'"
            )
        lines.add(f"{declared[1]}=={declared[2]}")
    names = [line.partition("==")[0] for line in lines]
    if len(set(names)) < len(names):
        raise SystemExit(f"a dependency has two floors in pyproject.toml: {sorted(lines)}")
    return sorted(lines)


if __name__ == "__main__":
    print("\n".join(constraints()))
