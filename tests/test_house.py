"""The house keeps itself in order: floors, twins, public names, file sizes, error codes, pages for those who carry on."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import ratelimit_kit
from ratelimit_kit import errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "ratelimit_kit"
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS = {
    "errors": 0,
    "core": 1,
    "environment": 2,
    "stores": 10,
    "observe": 10,
    "guard": 10,
    "breaker": 15,
    "outage": 15,
    "local": 16,
    "gate": 20,
    "limiter": 21,
    "decorator": 22,
    "web": 30,
    "wsgi": 40,
    "asgi": 40,
    "flask": 40,
    "fastapi": 41,
    "drf": 41,
    "django": 40,
    "testing": 40,
    "cli": 41,
    "apps": 50,
    "__init__": 50,
    "__main__": 50,
}
"""Rooms by floor; a room imports from itself and from lower floors."""

GUESTS = {
    "wrapt": {"decorator"},
    "redis": {"stores/redis_library", "stores/redis_cluster"},
    "pymemcache": {"stores/memcached_line"},
    "django": {"django", "apps", "stores/django_cache", "cli/source"},
    "asgiref": {"django"},
    "rich": {"cli/terminal"},
    "prometheus_client": {"observe/prometheus"},
    "opentelemetry": {"observe/opentelemetry"},
    "flask": {"flask"},
    "click": {"flask"},
    "werkzeug": {"flask"},
    "flask_login": {"flask"},
    "starlette": {"fastapi"},
    "rest_framework": {"drf"},
    "pytest": {"testing/fixtures"},
}
"""Packages that are not in the standard library, and the rooms that may import them."""


def room(module: str) -> str:
    return ([*module.split("."), "__init__"])[1]


def name_of(path: Path) -> str:
    return ".".join(["ratelimit_kit", *path.relative_to(PACKAGE).with_suffix("").parts])


def imports(path: Path) -> Iterator[str]:
    """Modules that importing or running this file imports; what only type checkers read is left out."""
    ahead: list[ast.AST] = [ast.parse(path.read_text())]
    while ahead:
        node = ahead.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        ahead.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.ImportFrom):
            yield f"{node.module}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_floor_imports_only_what_is_below_it(path: Path) -> None:
    here = room(name_of(path))
    for module in imports(path):
        there = room(module) if module.startswith("ratelimit_kit") else here
        assert there == here or FLOORS[there] < FLOORS[here], module


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_guests_are_imported_only_in_their_rooms(path: Path) -> None:
    inside = path.relative_to(PACKAGE).with_suffix("").as_posix()
    for module in imports(path):
        top = module.split(".")[0]
        if top not in sys.stdlib_module_names and top not in {"ratelimit_kit", "_typeshed"}:
            assert any(inside == place or inside.startswith(place + "/") for place in GUESTS[top]), module


@pytest.mark.parametrize("path", [*MODULES, *sorted(PACKAGE.rglob("*.lua"))], ids=str)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_importing_the_package_imports_no_client_library_and_no_framework() -> None:
    code = "import sys, ratelimit_kit; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not loaded & {"redis", "django", "asgiref", "pymemcache", "rich", "prometheus_client", "opentelemetry"}


def twins(tree: ast.AST) -> Iterator[tuple[ast.stmt, ast.stmt]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef):
            continue
        functions = {
            child.name: child for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for name, function in functions.items():
            prefix = "_" if name.startswith("_") else ""
            twin = functions.get(f"{prefix}a{name.removeprefix(prefix)}")
            if isinstance(twin, ast.AsyncFunctionDef):
                yield function, twin


class Strip(ast.NodeTransformer):
    """Removes `await`, docstrings, and the `a` in front of the names that have a twin."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)

    def _bare(self, name: str) -> str:
        match = re.fullmatch(r"(_?)a(\w+)", name)
        return match[1] + match[2] if match and match[1] + match[2] in self.names else name

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.attr = self._bare(node.attr)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._bare(node.id)
        return node


TWINS = {
    "sleep", "decide", "_tell", "hit", "peek", "reset", "refund", "acquire", "close", "ping", "check", "identify", "run", "_decide", "_delete", "_drive", "_step", "call", "admits", "measure", "health", "called",
    "matches", "claim", "claims", "finish", "fail", "ask", "_ask", "_refund", "guarded", "_guarded", "_value", "user_id",
    "judge", "give_back", "finished",
}  # fmt: skip
TWIN_FILES = [
    "limiter.py",
    "gate.py",
    "stores/redis.py",
    "stores/redis_client.py",
    "web/answer.py",
    "web/claims.py",
    "web/enforcement.py",
    "web/keys.py",
    "web/plan.py",
    "web/policy.py",
    "web/rules.py",
    "django/decorator.py",
    "django/site.py",
]


def body(function: ast.stmt) -> str:
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    inner = [
        ast.FunctionDef(one.name, one.args, one.body, [], one.returns) if isinstance(one, ast.AsyncFunctionDef) else one
        for one in statements
    ]
    return "\n".join(ast.unparse(ast.fix_missing_locations(Strip(TWINS).visit(statement))) for statement in inner)


def pairs() -> Iterator[object]:
    for file in TWIN_FILES:
        for function, twin in twins(ast.parse((PACKAGE / file).read_text())):
            if getattr(function, "name", "") not in {
                "call",
                "run",
                "close",
                "_decide",
            }:  # their clients differ: a pool, a client per loop, and tasks' decisions travel together
                yield pytest.param(function, twin, id=f"{file}:{getattr(function, 'name', '')}")


@pytest.mark.parametrize(("function", "twin"), list(pairs()))
def test_the_async_twin_is_the_sync_function(function: ast.stmt, twin: ast.stmt) -> None:
    assert body(twin) == body(function)


def test_the_limiter_has_a_twin_of_every_method() -> None:
    names = {name for name in vars(ratelimit_kit.Limiter) if not name.startswith("_")} - {"store"}
    plain = {"hit", "peek", "reset", "refund", "acquire", "close"}
    assert names == plain | {"a" + name for name in plain}


def test_public_names_are_sorted_and_exist() -> None:
    assert ratelimit_kit.__all__ == sorted(ratelimit_kit.__all__, key=lambda name: (name == name.lower(), name))
    for name in ratelimit_kit.__all__:
        assert getattr(ratelimit_kit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Limitr'"):
        _ = ratelimit_kit.Limitr


def every_error() -> list[type[errors.RateLimitKitError]]:
    found, ahead = [], [errors.RateLimitKitError]
    while ahead:
        one = ahead.pop()
        found.append(one)
        ahead += one.__subclasses__()
    return [one for one in found if one.__module__ == "ratelimit_kit.errors"]


def test_every_error_has_a_code_of_its_own_and_a_heading_in_the_docs() -> None:
    codes = [error.rlk for error in every_error()]
    assert len(codes) == len(set(codes))
    final = {error.rlk for error in every_error() if not error.__subclasses__()}
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    assert set(re.findall(r"^## (RLK\d{3})\b", page, re.MULTILINE)) == final
    assert set(re.findall(r"RLK\d{3}", errors.__doc__ or "")) == final


def test_lua_lives_in_files_that_are_loaded() -> None:
    text = "".join(path.read_text() for path in MODULES)
    for path in PACKAGE.rglob("*.lua"):
        assert f'"{path.name}"' in text
    assert "redis.call" not in text


def test_classifiers_name_the_pythons_that_are_run() -> None:
    table = (ROOT / "docs" / "reference" / "compatibility-table.md").read_text().splitlines()[2:]
    run = {row.split(" | ")[2].rpartition(".")[0] for row in table if "test-nightly" not in row}
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    named = {one.rpartition(" ")[2] for one in classifiers if one.startswith("Programming Language :: Python :: 3.")}
    assert named == run


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())


def test_the_pages_for_those_who_carry_on_exist() -> None:
    named = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert {"CONTRIBUTING.md", "SECURITY.md", "docs/explanation/architecture.md"} <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_only_make_targets_that_exist(page: Path) -> None:
    named = set(re.findall(r"(?:`|^\$ )make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE))
    assert named <= TARGETS


def test_the_workflow_runs_make_targets_that_exist() -> None:
    runs = {step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step}
    runs |= {f"make {target}" for target in WORKFLOW["jobs"]["live"]["strategy"]["matrix"]["target"]}
    targets = {run.removeprefix("make ") for run in runs if run.startswith("make ") and "$" not in run}
    assert {"test", "test-fast", "test-minimum"} <= targets <= TARGETS


def test_the_workflow_runs_the_pythons_that_the_classifiers_name() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    named = {one.rpartition(" ")[2] for one in classifiers if one.startswith("Programming Language :: Python :: 3.")}
    assert set(WORKFLOW["jobs"]["unit"]["strategy"]["matrix"]["python"]) == named


def test_hooks_before_a_commit_need_no_network() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    assert {repository["repo"] for repository in repositories} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system", "pygrep"}
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks if hook["language"] == "system")


def test_every_decision_record_is_in_the_index_and_has_its_parts() -> None:
    folder = ROOT / "docs" / "explanation" / "decisions"
    records = {path.stem: path.read_text() for path in folder.glob("*.md") if path.stem != "index"}
    index = re.search(r"```\{toctree\}\n(?::.*\n)*\n(.*?)```", (folder / "index.md").read_text(), re.DOTALL)
    assert index is not None
    assert set(index[1].split()) == set(records)
    for name, text in records.items():
        assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], name
        assert re.search(r"^Status: (accepted|replaced by .*)\.$", text, re.MULTILINE), name


@pytest.mark.skipif(shutil.which("make") is None, reason="it is about the Makefile, and make is missing")
@pytest.mark.parametrize("python", ["python3", "python3.13", "/opt/a/bin/python3"])
def test_each_python_has_an_environment_of_its_own(python: str) -> None:
    words = ["make", "-n", "lint", f"PYTHON={python}"]
    commands = subprocess.check_output(words, cwd=ROOT, text=True, stderr=subprocess.DEVNULL)
    environment = {"python3": ".venv", "/opt/a/bin/python3": ".venvs/opt-a-bin-python3"}
    assert f"\n{environment.get(python, '.venvs/' + python)}/bin/ruff check ." in commands
