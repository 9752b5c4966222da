"""Store keys: any text, encoded so that no two counters collide and no protocol breaks.

A key has the form `prefix:2:counter:{text}`, where 2 is the format of the states (3 in Memcached). The braces make the text a hash tag, so
that all limits of one text are in the same slot of a Redis Cluster.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from urllib.parse import quote

from ratelimit_kit.errors import OptionError

FORMAT = 2
"""The format of states in Redis: states of another format are not read."""

MAX_ENCODED_LENGTH = 128
"""Maximum length of encoded text; longer text is hashed (Memcached takes 250 bytes in all)."""

MAX_TEXT_LENGTH = 250
"""Maximum length of a key that reaches a store unchanged; longer keys are hashed."""

MAX_PREFIX_LENGTH = 36
"""Maximum length of a prefix: the limit and the key may need the rest of Memcached's 250."""

_PLAIN = re.compile(r"[A-Za-z0-9_.:@/+=,;~!*()$'&|^<>?-]*", re.ASCII)
_SAFE = ":@/+=,;~!*()$'&|^<>?"


def encode(text: str) -> str:
    """The text in printable ASCII without spaces or braces; equal only for equal texts.

    Text longer than MAX_ENCODED_LENGTH becomes `#` and 40 hexadecimal digits of its BLAKE2b hash.
    """
    if not _PLAIN.fullmatch(text):
        text = quote(text, safe=_SAFE, errors="surrogatepass")
    if len(text) > MAX_ENCODED_LENGTH:
        return "#" + blake2b(text.encode(), digest_size=20).hexdigest()
    return text


def encode_all(texts: Sequence[str]) -> Sequence[str]:
    """All texts encoded, in much less time if none of them has to be changed."""
    if _PLAIN.fullmatch("".join(texts)) and max(map(len, texts)) <= MAX_ENCODED_LENGTH:
        return texts
    return [encode(text) for text in texts]


def key_prefix(prefix: str, number: int = FORMAT) -> str:
    """The beginning of the keys of all counters with a format of that number; the prefix is encoded already."""
    return f"{prefix}:{number}:"


def counter_key(beginning: str, counter: str, text: str) -> str:
    """The key of a counter in a shared store, after its beginning."""
    return f"{beginning}{counter}:{{{encode(text)}}}"


def shortened(text: str) -> str:
    """The text, or a hash if it is longer than legitimate keys are: no client may fill a store with long keys."""
    if len(text) <= MAX_TEXT_LENGTH:
        return text
    return "#" + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def scoped(name: str, text: str) -> str:
    """`text` within the namespace `name`; no other (name, text) gives the same result. OptionError if that is no text."""
    if not isinstance(name, str):
        raise OptionError(f"name must be a text, got {name!r}. For example: name='login'")
    return f"{quote(name, safe='')}:{text}"


def check_prefix(prefix: str) -> str:
    """The encoded prefix; raises OptionError if it is no text."""
    if not isinstance(prefix, str):
        raise OptionError(f"prefix must be a text, got {prefix!r}. For example: prefix='rlk'")
    return encode(prefix)


def short_prefix(prefix: str) -> str:
    """The encoded prefix; raises OptionError if it leaves too little room in Memcached for limits and keys."""
    encoded = check_prefix(prefix)
    if len(encoded) > MAX_PREFIX_LENGTH:
        raise OptionError(
            f"prefix={prefix!r} is too long: give at most {MAX_PREFIX_LENGTH} characters, of Memcached's 250"
        )
    return encoded
