"""Decode texts of the network, whose sender names the charset."""

from __future__ import annotations

import codecs
import re

_SAFE = re.compile(
    r"ascii|utf-8(-sig)?|utf-(16|32)(-[bl]e)?|iso8859-\d+|cp\d+|koi8-[rtu]|mac-\w+|tis-620"
    r"|shift_jis\w*|euc_\w+|iso2022_jp\w*|gb2312|gbk|gb18030|big5\w*|johab"
)
"""Codecs whose time grows as the text does. That of `punycode` grows with its square: hours for 8 MB."""
_CHARSET = re.compile(r"charset=[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)


def charset_of(content_type: str) -> str | None:
    """Return the charset that a `Content-Type` names."""
    said = _CHARSET.search(content_type)
    return said[1] if said else None


def decoded(data: bytes, charset: str | None) -> str:
    """Decode a text. A charset that is missing, unknown or not allowed counts as UTF-8. Takes long for megabytes: call
    it in a thread."""
    try:
        codec = codecs.lookup(charset or "utf-8").name
        return data.decode(codec if _SAFE.fullmatch(codec) else "utf-8", "replace")
    except (LookupError, UnicodeError):
        return data.decode("utf-8", "replace")
