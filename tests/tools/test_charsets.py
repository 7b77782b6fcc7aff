"""Charsets that a sender names."""

from __future__ import annotations

import pytest

from roost.tools.charsets import charset_of, decoded


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "base64", "utf-7", "none-such", None])
def test_charsets_that_can_take_for_ever_count_as_utf_8(charset: str | None) -> None:
    assert decoded("abc-größe".encode(), charset) == "abc-größe"


@pytest.mark.parametrize(
    "charset", ["latin1", "windows-1252", "shift_jis", "euc-kr", "gbk", "big5", "koi8-r", "utf-16"]
)
def test_charsets_of_texts_are_followed(charset: str) -> None:
    assert decoded("abc".encode(charset), charset_of(f"text/plain; charset={charset}")) == "abc"
