"""Check one media part against a model's limits, and convert it to fit if possible."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import socket
import threading
import unicodedata
from collections import OrderedDict
from urllib.parse import urlsplit

import msgspec

from roost.addresses import is_public
from roost.install import install_extra
from roost.log.content import Media
from roost.models.media.images import PIXELS, CannotScale, rescaled
from roost.models.media.sniff import animated, canonical, dimensions, sniff
from roost.models.profile import MediaKind, MediaLimit
from roost.models.wire_body import kind_of

_SCHEMES = frozenset({"http", "https", "gs"})
_ENTRIES = 4_096
_LOOSE: frozenset[MediaKind] = frozenset({"audio", "video", "file"})
"""Kinds with formats that the first bytes do not identify."""


class Unfit(Exception):
    """The part cannot be sent. code: `unsupported` by this model, or `bad_request` if no model can accept it."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


class Verdict(msgspec.Struct, frozen=True):
    """The result for a part. part: its replacement, None if it stays. why: the reason. wrong: the error code if it
    cannot be sent."""

    why: str = ""
    part: Media | None = None
    wrong: str | None = None


class Verdicts:
    """Cache of verdicts by content, so that a picture in a long conversation is checked and scaled once. Thread safe.
    Keeps the newest `_ENTRIES`, up to `most` bytes of converted media."""

    def __init__(self, most: int = 64 * 1024 * 1024) -> None:
        self._most = most
        self._size = 0
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()
        self._lock = threading.Lock()

    def fitted(self, part: Media, limit: MediaLimit, *, still: bool = False) -> Verdict:
        if not part.data:
            return judged(part, limit, still=still)
        key = _key(part, limit, still)
        with self._lock:
            if (verdict := self._known.get(key)) is not None:
                self._known.move_to_end(key)
        if verdict is None:
            verdict = judged(part, limit, still=still)
            self._keep(key, verdict)
        if verdict.part is None:
            return verdict
        return msgspec.structs.replace(verdict, part=msgspec.structs.replace(verdict.part, name=part.name))

    def _keep(self, key: bytes, verdict: Verdict) -> None:
        with self._lock:
            if key in self._known:
                return
            self._known[key] = verdict
            self._size += _weight(verdict)
            while self._size > self._most or len(self._known) > _ENTRIES:
                _, old = self._known.popitem(last=False)
                self._size -= _weight(old)


def _weight(verdict: Verdict) -> int:
    return len(verdict.part.data) if verdict.part is not None else 0


def _key(part: Media, limit: MediaLimit, still: bool) -> bytes:
    data = hashlib.sha256(part.data.encode("ascii", "replace")).digest()
    rules = msgspec.json.encode([kind_of(part), part.media_type, limit, still])
    return data + hashlib.sha256(rules).digest()


def judged(part: Media, limit: MediaLimit, *, still: bool = False) -> Verdict:
    """Check and convert a part. Raises nothing: the verdict of a part that cannot be sent has `wrong`. Slow if a
    picture must be scaled."""
    try:
        return _judged(part, limit, still)
    except Unfit as error:
        return Verdict(str(error), wrong=error.code)


def _judged(part: Media, limit: MediaLimit, still: bool) -> Verdict:
    if not part.data:
        return _at_url(part, limit, still)
    if part.url is not None:
        # Send the data that was checked, not the URL.
        part = msgspec.structs.replace(part, url=None)
        verdict = _judged(part, limit, still)
        return verdict if verdict.part is not None else msgspec.structs.replace(verdict, part=part)
    data = _decoded(part.data)
    kind = kind_of(part)
    real, declared = _real_type(data, part, kind, limit), canonical(part.media_type)
    if kind == "image":
        made = _picture(part, data, real, limit, still)
        if made is not None:
            return made
    elif limit.types and real not in limit.types:
        raise Unfit("unsupported", f"its type {real} is none of {', '.join(limit.types)}")
    if limit.bytes == 0:
        raise Unfit("unsupported", f"a {kind} is taken by its URL alone")
    if limit.bytes is not None and len(data) > limit.bytes:
        raise Unfit("unsupported", f"it has {len(data):,} bytes and at most {limit.bytes:,} are taken")
    if limit.seconds is not None:
        _need_short(data, limit.seconds)
    if real == declared:
        return Verdict() if real == part.media_type else Verdict("", msgspec.structs.replace(part, media_type=real))
    return Verdict(f"it is {real}, not {declared or 'without a type'}", msgspec.structs.replace(part, media_type=real))


def _at_url(part: Media, limit: MediaLimit, still: bool) -> Verdict:
    if not part.url:
        raise Unfit("bad_request", "it has neither data nor a URL")
    head, comma, data = part.url.partition(",")
    if comma and head.lower().startswith("data:") and head.lower().endswith(";base64"):
        inner = msgspec.structs.replace(part, media_type=head[5:-7] or part.media_type, data=data, url=None)
        verdict = _judged(inner, limit, still)
        return verdict if verdict.part is not None else msgspec.structs.replace(verdict, part=inner)
    try:
        where = urlsplit(part.url)
        host = where.hostname or ""
    except ValueError as error:
        raise Unfit("bad_request", f"its URL is not valid: {error}") from None
    if not limit.urls:
        raise Unfit("unsupported", "its provider fetches no URLs, and nothing is fetched here: give its data")
    scheme = where.scheme.lower()
    if scheme not in _SCHEMES or not host or (scheme != "gs" and _inside(host)):
        raise Unfit("unsupported", "a provider can fetch no such URL: give its data, or an https URL on the internet")
    return Verdict()


def _inside(host: str) -> bool:
    """Whether a host is this machine or its network: a provider cannot fetch from there, and a local server must not. A
    name that resolves to such an address is not detected, since nothing is resolved here."""
    host = unicodedata.normalize("NFKC", host).rstrip(".")
    if ":" in host:
        return not is_public(host)
    try:
        # Parse it as clients do: 127.1, 0x7f.1, 2130706433.
        return not is_public(socket.inet_ntoa(socket.inet_aton(host)))
    except (OSError, ValueError):
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unfit("bad_request", f"its data is not base64 without line breaks: {error}") from None


def _real_type(data: bytes, part: Media, kind: MediaKind, limit: MediaLimit) -> str:
    """Return the type of the bytes, or the declared one if the bytes do not tell."""
    actual, declared = sniff(data, kind), canonical(part.media_type)
    if actual is None:
        if declared in limit.types or (kind in _LOOSE and declared and declared != "application/pdf"):
            return declared
        raise Unfit("bad_request", f"its bytes are not {declared or f'of any {kind} that is known'}")
    family = actual.partition("/")[0]
    if kind == "file":
        # A document may have any type; only a false PDF is an error.
        if declared == "application/pdf" != actual:
            raise Unfit("bad_request", f"it says application/pdf and is {actual}")
        return actual if actual == "application/pdf" or not declared else declared
    if family != kind:
        raise Unfit("bad_request", f"it is {actual} and not {'an' if kind[0] in 'ai' else 'a'} {kind}")
    return actual


def _picture(part: Media, data: bytes, real: str, limit: MediaLimit, still: bool) -> Verdict | None:
    """Convert a picture; None if it already fits."""
    size = dimensions(data)
    if size is not None and size[0] * size[1] > PIXELS:
        raise Unfit("unsupported", f"its {size[0]} x {size[1]} pixels are more than are read; scale it down")
    why: list[str] = []
    if limit.types and real not in limit.types:
        why.append(f"{real} is not taken")
    if still and animated(data):
        why.append("it is animated, and its first image is sent")
    if limit.bytes is not None and len(data) > limit.bytes:
        why.append(f"it has {len(data):,} bytes, at most {limit.bytes:,} are taken")
    if limit.side is not None and size is not None and max(size) > limit.side:
        why.append(f"its longest side has {max(size):,} pixels, at most {limit.side:,} are taken")
    if not why:
        return None
    try:
        media_type, made = rescaled(data, side=limit.side, most=limit.bytes, types=limit.types)
    except CannotScale as error:
        raise Unfit("unsupported", f"{'; '.join(why)}; {error}") from None
    text = base64.b64encode(made).decode("ascii")
    return Verdict("; ".join(why), msgspec.structs.replace(part, media_type=media_type, data=text))


def _need_short(data: bytes, most: float) -> None:
    try:
        from tinytag import TinyTag, TinyTagException
    except ImportError:
        why = f"at most {most:g} s are taken, and to see how long it plays needs tinytag"
        raise Unfit("unsupported", f"{why}: {install_extra('media')}") from None
    try:
        seconds = TinyTag.get(file_obj=io.BytesIO(data), tags=False).duration
    except (TinyTagException, OSError, ValueError, ArithmeticError, LookupError):
        # An unknown container: the provider decides.
        return
    if seconds is not None and seconds > most:
        raise Unfit("unsupported", f"it plays {seconds:.0f} s and at most {most:g} s are taken")
