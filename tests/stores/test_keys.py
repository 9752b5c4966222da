from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from ratelimit_kit.stores.keys import MAX_ENCODED_LENGTH, encode, scoped

any_text = st.text(st.characters(codec=None, categories=None), max_size=200)


@given(any_text)
def test_an_encoded_key_breaks_no_protocol(text: str) -> None:
    encoded = encode(text)
    assert encoded.isascii()
    assert encoded == "" or encoded.isprintable()
    assert not set(encoded) & set(" {}\r\n\0")
    assert len(encoded) <= MAX_ENCODED_LENGTH


@given(any_text, any_text)
def test_different_texts_have_different_keys(first: str, second: str) -> None:
    assume(first != second)
    assert encode(first) != encode(second)


@given(any_text, any_text)
def test_a_text_never_reads_like_another_ones_encoding(first: str, second: str) -> None:
    assume(second != first)
    assert encode(encode(first)) == encode(first) or encode(encode(first)) != encode(second)


names = st.text(st.sampled_from("ab:%/ "), max_size=6)


@given(names, names, names, names)
def test_name_and_key_are_kept_apart(name: str, key: str, other_name: str, other_key: str) -> None:
    assume((name, key) != (other_name, other_key))
    assert encode(scoped(name, key)) != encode(scoped(other_name, other_key))


def test_readable_keys_stay_readable() -> None:
    assert encode("user:42@example.org/a,b") == "user:42@example.org/a,b"
