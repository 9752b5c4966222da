"""The documentation is true: every Python snippet runs, every local link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.processes import RedisServer

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent.parent.parent
AT_THE_ROOT = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
PAGES = [*AT_THE_ROOT, *sorted((ROOT / "docs").rglob("*.md"))]
WITH_SNIPPETS = [page for page in PAGES if "```python" in page.read_text()]
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
REDIS = "redis://127.0.0.1:6379/0"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def application(environ: Any, start_response: Any) -> Iterable[bytes]:
    """The application that a reader already has."""
    start_response("200 OK", [])
    return []


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=name_of)
def test_every_snippet_runs(page: Path, redis: RedisServer) -> None:
    text = page.read_text().replace(REDIS, redis.url())
    namespace: dict[str, Any] = {"application": application, "__name__": "snippet"}
    for snippet in SNIPPET.finditer(text):
        line = text.count("\n", 0, snippet.start()) + 1
        exec(compile("\n" * line + snippet[1], page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_local_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).is_file(), target
