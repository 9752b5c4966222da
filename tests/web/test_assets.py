"""The two files for the browser: what is served, and that nothing else is."""

from __future__ import annotations

import pytest

from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.assets import FRESH, MEDIA_TYPES, asset, serving
from ratelimit_kit.web.request import Headers, Request


def request(path: str, method: str = "GET", **fields: str) -> Request:
    headers = Headers(lambda: [(name.replace("_", "-"), value) for name, value in fields.items()])
    return Request(method=method, path=path, peer=None, headers=headers, raw=None, user=lambda: None)


@pytest.mark.parametrize(("name", "media_type"), MEDIA_TYPES.items())
def test_both_files_are_served_with_type_tag_and_length(name: str, media_type: str) -> None:
    answer = serving("/kit")(request(f"/kit/{name}"))
    assert answer is not None
    assert (answer.status, answer.body) == (200, asset(name).data)
    fields = dict(answer.headers)
    assert fields["Content-Type"] == media_type
    assert fields["Content-Length"] == str(len(answer.body))
    assert fields["Cache-Control"] == FRESH
    assert fields["X-Content-Type-Options"] == "nosniff"


def test_head_has_the_fields_and_no_body() -> None:
    whole, head = (serving("/kit")(request("/kit/ratelimit.js", method)) for method in ("GET", "HEAD"))
    assert whole is not None
    assert head is not None
    assert (head.status, head.body, head.headers) == (200, b"", whole.headers)


@pytest.mark.parametrize("known", ["{etag}", "W/{etag}", '"other", {etag}', "*"])
def test_a_known_tag_is_not_sent_again(known: str) -> None:
    etag = asset("ratelimit.css").etag
    answer = serving("/kit")(request("/kit/ratelimit.css", if_none_match=known.format(etag=etag)))
    assert answer is not None
    assert (answer.status, answer.body) == (304, b"")
    assert dict(answer.headers)["ETag"] == etag


def test_another_tag_is_sent_the_file() -> None:
    answer = serving("/kit")(request("/kit/ratelimit.css", if_none_match='"other"'))
    assert answer is not None
    assert answer.status == 200


@pytest.mark.parametrize(
    "path",
    ["/kit", "/kit/", "/kit/else.js", "/kit/../kit/ratelimit.js", "/kit//ratelimit.js", "/kit/ratelimit.js/", "/kit/%2e%2e/__init__.py", "/ratelimit.js", "/kit/../../__init__.py"],
)  # fmt: skip
def test_any_other_path_is_not_ours(path: str) -> None:
    assert serving("/kit")(request(path)) is None


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_any_other_method_is_not_ours(method: str) -> None:
    assert serving("/kit")(request("/kit/ratelimit.js", method)) is None


def test_no_prefix_serves_nothing() -> None:
    assert serving(None)(request("/ratelimit-kit/ratelimit.js")) is None


@pytest.mark.parametrize("prefix", ["", "/", "kit", "/kit/", 7, True])
def test_what_is_no_prefix_is_refused(prefix: object) -> None:
    with pytest.raises(OptionError, match='write for example assets="/ratelimit-kit"'):
        serving(prefix)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../__init__.py", "else.js", ""])
def test_an_asset_has_one_of_two_names(name: str) -> None:
    with pytest.raises(KeyError):
        asset(name)


def test_the_module_stands_alone() -> None:
    """Django's hashed names would break an import, and its collectstatic a source map that is not there."""
    text = asset("ratelimit.js").data.decode()
    assert "sourceMappingURL" not in text
    assert not [line for line in text.splitlines() if line.lstrip().startswith("import ")]
    assert "innerHTML" not in text
    assert "url(" not in asset("ratelimit.css").data.decode()
