"""The structure of the project: import layers, sync/async twins, public names, sizes, codes, maintainers' pages."""

from __future__ import annotations

import ast
import copy
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import ratelimit_kit
from ratelimit_kit import errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "ratelimit_kit"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = [
    ["errors", "waiting"],
    ["core"],
    ["environment", "background"],
    ["observe", "guard", "stores"],
    ["census"],
    ["outage"],
    ["guarded_store"],
    ["limiter", "web"],
    ["decorator"],
    ["wsgi", "asgi", "flask", "django"],
    ["fastapi", "drf"],
    ["testing", "cli"],
    ["apps", "__init__", "__main__"],
]
"""The modules and subpackages in layers, lowest first: each imports only itself and what is in lower layers."""

INNER_LAYERS = {
    "cli": [
        ["exits", "terminal", "source"],
        ["findings"],
        ["check", "clients", "demo", "doctor", "simulate", "verify"],
    ],
    "cli/clients": [["__init__"], ["inspect"], ["reset"]],
    "cli/doctor": [["fixes", "host"], ["checkup"]],
    "cli/simulate": [["access_log"], ["order", "report"], ["replay"]],
    "cli/verify": [["fields", "site"], ["judgement"]],
    "core": [
        ["calling", "fork", "validation"],
        ["durations"],
        ["limit"],
        ["decision", "sliding_window", "token_bucket", "fixed_window"],
        ["grammar", "events"],
    ],
    "django": [["site", "exemption"], ["middleware", "decorator", "checks"]],
    "flask": [["requests"], ["decorators"], ["extension", "views"]],
    "guard": [
        ["claims"],
        ["workers", "listening"],
        ["platforms", "socket_locks", "announce"],
        ["checks", "messages"],
        ["abort", "declarations", "forks"],
        ["siblings"],
        ["process_guard"],
    ],
    "guard/checks": [["decorator_order", "per_request_limiters", "server_fields", "unreachable_limits"]],
    "guard/workers": [["count"], ["detection"], ["servers", "uwsgi"]],
    "observe": [["labels", "log"], ["__init__", "opentelemetry", "prometheus"]],
    "outage": [["policy", "breaker"], ["local", "outcomes"], ["outages"]],
    "stores": [
        ["urls", "keys", "pool", "event_loops", "charges", "census"],
        ["__init__"],
        ["denial_cache"],
        ["memory", "host", "redis", "memcached"],
        ["django_cache"],
    ],
    "stores/django_cache": [["options"], ["store"]],
    "stores/host": [
        ["files"],
        ["shard", "states"],
        ["counters"],
        ["access", "inspection"],
        ["fast_path"],
        ["store"],
    ],
    "stores/host/files": [["layout", "boot"], ["place"], ["file"], ["opening"]],
    "stores/memcached": [
        ["commands", "failures", "checks"],
        ["protocol", "states"],
        ["servers", "conversations"],
        ["connection", "turns"],
        ["client"],
        ["event_loop"],
        ["store"],
    ],
    "stores/memcached/event_loop": [["connection"], ["client"], ["clients"]],
    "stores/memory": [["table"], ["tables", "fast_path"], ["store"]],
    "stores/redis": [
        ["url", "deadline"],
        ["opening"],
        ["driver"],
        ["failures", "checks"],
        ["connections"],
        ["calls"],
        ["pipeline", "cluster"],
        ["client"],
        ["census"],
        ["store"],
    ],
    "stores/redis/calls": [["scripts", "arguments", "replies"], ["shapes", "library_calls"]],
    "stores/redis/connections": [["resp"], ["connection"], ["pool"]],
    "stores/redis/pipeline": [
        ["timeout", "exchange", "protocol", "abort"],
        ["call_queue", "pipeline"],
        ["batching"],
        ["loop_client"],
    ],
    "testing": [
        ["clock", "model", "sync_async"],
        ["counter_conformance", "switches"],
        ["conformance"],
        ["__init__"],
        ["fixtures"],
    ],
    "web": [["callables"], ["http"], ["identity"], ["rules"], ["response"], ["policy"], ["request", "problem"]],
    "web/http": [["cookies", "routes", "spellings", "users"], ["messages"], ["wsgi", "asgi"]],
    "web/identity": [["forwarded"], ["address"], ["keys"]],
    "web/policy": [["reports"], ["ruleset"], ["config", "startup"], ["reload"], ["policy"], ["decorators"]],
    "web/response": [["headers", "denial", "health"], ["result"], ["responder", "bodies", "assets"]],
    "web/rules": [
        ["paths", "counting"],
        ["rule"],
        ["charges", "exemption", "pages"],
        ["combined", "index"],
        ["matching"],
    ],
}
"""The same inside the subpackages; an `__init__` that is not named is empty, or imports what is offered there."""

APART = {("web", "limiter"), ("decorator", "web")}
"""Modules and subpackages that must not import each other, although their layers would allow it."""

THIRD_PARTY = {
    "wrapt": {"decorator"},
    "redis": {"stores/redis/driver", "stores/redis/cluster"},
    "pymemcache": {"stores/memcached/servers"},
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
    "fastapi": {"fastapi"},
    "rest_framework": {"drf"},
    "pytest": {"testing/fixtures"},
}
"""Packages that are not in the standard library, and the modules and subpackages that may import them."""


def name_of(path: Path) -> str:
    return ".".join(["ratelimit_kit", *path.relative_to(PACKAGE).with_suffix("").parts])


SUBMODULES = {name_of(path).removesuffix(".__init__") for path in MODULES}


def imports(path: Path) -> Iterator[str]:
    """What this file imports, at the top, inside functions or for type checkers: modules, or names in modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from (named & SUBMODULES) or {f"{node.module}"}
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def ours(path: Path) -> Iterator[str]:
    """The modules of this package that a file imports; a package is represented by its __init__."""
    modules = {name_of(one) for one in MODULES}
    for name in imports(path):
        found = name if name in modules else f"{name}.__init__"
        if found in modules and found != name_of(path):
            yield found


def layer(layers: Sequence[Sequence[str]], name: str) -> int:
    return next(number for number, names in enumerate(layers) if name in names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_layer_imports_only_what_is_below_it(path: Path) -> None:
    here = name_of(path).split(".")[1:]
    for module in ours(path):
        if module == "ratelimit_kit.__init__":
            assert here[0] in {"__init__", "__main__"}, "the package's own front is for users"
            continue
        there = module.split(".")[1:]
        depth = next(depth for depth, (one, other) in enumerate(zip(here, there, strict=False)) if one != other)
        layers = INNER_LAYERS.get("/".join(here[:depth]), []) if depth else LAYERS
        own, other = here[depth], there[depth]
        if own != "__init__" or any(own in names for names in layers):
            assert layer(layers, other) < layer(layers, own), module
        assert (own, other) not in APART, module


def test_every_folder_has_its_layers() -> None:
    folders = {path.relative_to(PACKAGE).parent.as_posix() for path in MODULES} - {"."}
    for folder in folders:
        modules = {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"}
        inner = {path.name for path in (PACKAGE / folder).iterdir() if (path / "__init__.py").exists()}
        named = {name for names in INNER_LAYERS.get(folder, []) for name in names} - {"__init__"}
        assert named == modules | inner if len(modules | inner) > 1 else not named, folder


def test_no_module_imports_itself_in_a_circle() -> None:
    """Not even for type checkers or inside functions; importing a module also imports the packages that contain it."""
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        here = name_of(path)
        graph[here] = set()
        for module in ours(path):
            parts = module.split(".")[:-1]
            around = {".".join([*parts[:depth], "__init__"]) for depth in range(2, len(parts) + 1)}
            graph[here] |= {module, *(one for one in around if not here.startswith(one.removesuffix("__init__")))}
    while graph:
        free = {module for module, needs in graph.items() if not needs & graph.keys() - {module}}
        assert free, f"a circle among {sorted(graph)}"
        graph = {module: needs for module, needs in graph.items() if module not in free}


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES}), ids=str)
def test_a_folder_has_about_ten_files(folder: Path) -> None:
    most = {"ratelimit_kit": 15, "redis": 12}
    assert len(list(folder.glob("*.py"))) <= most.get(folder.name, 12)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_third_party_packages_are_imported_only_where_they_may_be(path: Path) -> None:
    inside = path.relative_to(PACKAGE).with_suffix("").as_posix()
    for module in imports(path):
        top = module.split(".")[0]
        if top not in sys.stdlib_module_names and top not in {"ratelimit_kit", "_typeshed"}:
            assert any(inside == place or inside.startswith(place + "/") for place in THIRD_PARTY[top]), module


@pytest.mark.parametrize("path", [*MODULES, *sorted(PACKAGE.rglob("*.lua"))], ids=str)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


HOLDERS = {"Request", "Rule", "_PlainStore"}
"""Classes with an attribute for each option that a user writes, part that a client sends, or method of a store."""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_classes_stay_small(path: Path) -> None:
    """About 150 lines, without the docstring, and about 8 attributes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            lines = (node.end_lineno or 0) - node.lineno + 1 - len((ast.get_docstring(node) or "").splitlines())
            attributes = {
                one.attr
                for one in ast.walk(node)
                if isinstance(one, ast.Attribute)
                and isinstance(one.ctx, ast.Store)
                and isinstance(one.value, ast.Name)
                and one.value.id == "self"
            }
            assert lines <= 170, f"{node.name}: {lines} lines"
            assert len(attributes) <= 10 or node.name in HOLDERS, f"{node.name}: {sorted(attributes)}"


def test_importing_the_package_imports_no_client_library_and_no_framework() -> None:
    code = "import sys, ratelimit_kit; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not loaded & {"redis", "django", "asgiref", "pymemcache", "rich", "prometheus_client", "opentelemetry"}


Function = ast.FunctionDef | ast.AsyncFunctionDef


class Twins(NamedTuple):
    """A sync function and its async twin, with the place where they are."""

    place: str
    sync: ast.FunctionDef
    twin: ast.AsyncFunctionDef


def functions_of(node: ast.Module | ast.ClassDef) -> dict[str, Function]:
    return {child.name: child for child in node.body if isinstance(child, Function)}


def every_pair() -> Iterator[Twins]:
    """Functions in the same place whose names differ by a leading `a`, and the methods of X and AsyncX."""
    for path in MODULES:
        file = path.relative_to(PACKAGE).as_posix()
        tree = ast.parse(path.read_text())
        scopes = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
        for scope in scopes:
            functions = functions_of(scope)
            around = f"{scope.name}." if isinstance(scope, ast.ClassDef) else ""
            for name, function in functions.items():
                stem = name.lstrip("_")
                twin = functions.get(name[: len(name) - len(stem)] + "a" + stem)
                if isinstance(function, ast.FunctionDef) and isinstance(twin, ast.AsyncFunctionDef):
                    yield Twins(f"{file}:{around}{name}", function, twin)
        classes = {node.name: functions_of(node) for node in scopes if isinstance(node, ast.ClassDef)}
        for name, functions in classes.items():
            twins = classes.get(f"Async{name}", {})
            for method, function in functions.items():
                twin = twins.get(method) or twins.get(method.replace("__", "__a", 1))
                if isinstance(function, ast.FunctionDef) and isinstance(twin, ast.AsyncFunctionDef):
                    yield Twins(f"{file}:{name}.{method}", function, twin)


PAIRS = list(every_pair())

APART_TWINS = {
    "core/calling.py:settled": "only the async API can await what a callable returns",
    "stores/__init__.py:BaseStore.decide": "the async methods call the sync ones",
    "stores/__init__.py:BaseStore.refund": "likewise",
    "stores/__init__.py:BaseStore.reset": "likewise",
    "stores/__init__.py:BaseStore.ping": "likewise",
    "stores/__init__.py:BaseStore.close": "likewise",
    "census.py:Census.look": "a thread does it",
    "census.py:Census.leave": "likewise",
    "stores/redis/client.py:Client.call": "a pool of connections for threads, and a client for each event loop",
    "stores/redis/client.py:Client.decide": "likewise",
    "stores/redis/client.py:Client.run": "likewise",
    "stores/redis/client.py:Client.command": "likewise",
    "stores/redis/calls/library_calls.py:execute": "redis-py looks at the connections of its sync pools itself",
    "stores/redis/store.py:RedisStore.decide": "what tasks of an event loop decide travels together",
    "testing/switches.py:_admitted": "there is nothing to wait for",
    "waiting.py:sleep": "a thread waits by itself, and a task under asyncio or trio",
    "web/callables.py:called": "only the async API can await what a callable returns",
    "web/http/messages.py:Request.user_id": "not every framework finds its user by awaiting",
}
"""Pairs that differ, and why."""

NAMES = {pair.place.rpartition(":")[2].rpartition(".")[2] for pair in PAIRS} | {"sleep", "client", "_client"}
"""Names that have a twin with a leading `a`."""


NOT_AWAITED = {
    "self.guard.admits": "looks at the siblings once, and does not wait",
    "self.outages.decide": "decides without the store",
    "self._arguments.refund": "makes the arguments of a script",
    "self._conversations.refund": "makes a conversation",
    "self._conversations.reset": "likewise",
    "client.ping": "is awaited by what calls it",
}
"""Calls in async twins of what has the name of a twin and is none."""


class Bare(ast.NodeTransformer):
    """Removes `async`, docstrings, and the leading `a` of names that have a twin; marks what must be awaited.

    That is every call of a name that has a twin: in the sync function as it stands, in the twin where it is awaited.
    """

    def __init__(self, *, twin: bool) -> None:
        self._twin = twin

    def visit_Call(self, node: ast.Call) -> ast.AST:
        called = ast.unparse(node.func)
        waits = not self._twin and called.rpartition(".")[2] in NAMES and called not in NOT_AWAITED
        found = self.generic_visit(node)
        return ast.Call(ast.Name("AWAIT"), [found], []) if waits else found

    def visit_Await(self, node: ast.Await) -> ast.AST:
        found = self.visit(node.value)
        waits = isinstance(found, ast.Call) and ast.unparse(found.func).rpartition(".")[2] in NAMES
        return ast.Call(ast.Name("AWAIT"), [found], []) if waits else found

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        return self.generic_visit(ast.For(node.target, node.iter, node.body, node.orelse))

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.generic_visit(ast.FunctionDef(node.name, node.args, node.body, [], node.returns))

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.attr = self._bare(node.attr)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._bare(node.id)
        return node

    def _bare(self, name: str) -> str:
        match = re.fullmatch(r"(_*)a(\w+)", name)
        return match[1] + match[2] if match and match[1] + match[2] in NAMES else name


def body(function: Function) -> str:
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    bare = Bare(twin=isinstance(function, ast.AsyncFunctionDef))
    whole = [ast.Expr(function.args), *statements]  # type: ignore[arg-type]  # only to be written out
    return "\n".join(ast.unparse(ast.fix_missing_locations(bare.visit(copy.deepcopy(one)))) for one in whole)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.place not in APART_TWINS], ids=lambda pair: pair.place)
def test_the_async_twin_is_the_sync_function(pair: Twins) -> None:
    assert body(pair.twin) == body(pair.sync)


def test_what_is_no_twin_is_named_and_exists() -> None:
    assert set(APART_TWINS) <= {pair.place for pair in PAIRS}
    assert len(PAIRS) >= 59


def test_the_limiter_has_a_twin_of_every_method() -> None:
    names = {name for name in vars(ratelimit_kit.Limiter) if not name.startswith("_")} - {"store"}
    plain = {"hit", "peek", "reset", "refund", "acquire", "close"}
    assert names == plain | {"a" + name for name in plain}


def test_public_names_are_sorted_and_exist() -> None:
    assert ratelimit_kit.__all__ == sorted(
        ratelimit_kit.__all__, key=lambda name: (not name.isupper(), name == name.lower(), name)
    )
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
    final = {error.rlk for error in every_error() if not error.__subclasses__()} | {
        errors.StoreError.rlk
    }  # raised itself too
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    assert set(re.findall(r"^## (RLK\d{3})\b", page, re.MULTILINE)) == final
    assert set(re.findall(r"RLK\d{3}", errors.__doc__ or "")) == final


def test_lua_lives_in_files_that_are_loaded() -> None:
    text = "".join(path.read_text() for path in MODULES)
    for path in PACKAGE.rglob("*.lua"):
        assert f'"{path.name}"' in text
    assert "redis.call(" not in text


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
