"""Options of a store in the query of its URL, for those who have nothing but a URL: `redis://host?timeout=1`."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ratelimit_kit.errors import StoreURLError


def taken_out(url: str, names: Sequence[str]) -> tuple[str, dict[str, float]]:
    """The URL without these options, and their numbers; StoreURLError for what is no number."""
    parts = urlsplit(url)
    if not parts.query:
        return url, {}
    kept: list[tuple[str, str]] = []
    found: dict[str, float] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in names:
            kept.append((name, value))
            continue
        try:
            found[name] = float(value)
        except ValueError:
            raise StoreURLError(
                f"{name}={value!r} in the store's URL is no number of seconds: write for example {name}=1"
            ) from None
    return (urlunsplit(parts._replace(query=urlencode(kept))) if found else url), found
