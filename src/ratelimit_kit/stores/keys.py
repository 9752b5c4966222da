"""Store keys: any text, encoded so that no two counters collide and no protocol breaks.

A key reads `prefix:limit:{text}`. The braces make it a hash tag, so that all limits of one text
live in one slot of a Redis Cluster.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from urllib.parse import quote

from ratelimit_kit.errors import OptionError

LONGEST = 150
"""Characters of encoded text that are kept; longer text is hashed (Memcached takes 250 bytes in all)."""

LONGEST_TEXT = 250
"""Characters of a key that reach a store as they are."""

LONGEST_PREFIX = 36
"""Characters in front of a key in Memcached, of whose 250 the limit and the key may need the rest."""

_PLAIN = re.compile(r"[A-Za-z0-9_.:@/+=,;~!*()$'&|^<>?-]*", re.ASCII)
_SAFE = ":@/+=,;~!*()$'&|^<>?"


def encode(text: str) -> str:
    """The text in printable ASCII without blanks, braces, `%` or `#`; equal only for equal texts.

    Text above LONGEST becomes `#` and 40 hexadecimal digits of its BLAKE2b hash.
    """
    if not _PLAIN.fullmatch(text):
        text = quote(text, safe=_SAFE, errors="surrogatepass")
    if len(text) > LONGEST:
        return "#" + blake2b(text.encode(), digest_size=20).hexdigest()
    return text


def shortened(text: str) -> str:
    """The text, or a hash of one that is longer than honest ones: a client must not fill a store with its own texts."""
    if len(text) <= LONGEST_TEXT:
        return text
    return "#" + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def scoped(name: str, text: str) -> str:
    """`text` within the namespace `name`: no other (name, text) gives the same result."""
    return f"{quote(name, safe='')}:{text}"


def short_prefix(prefix: str) -> str:
    """An encoded prefix that leaves room in Memcached for every limit and key; OptionError for one that does not."""
    encoded = encode(prefix)
    if len(encoded) > LONGEST_PREFIX:
        raise OptionError(
            f"prefix={prefix!r} is too long: give at most {LONGEST_PREFIX} characters, of Memcached's 250"
        )
    return encoded
