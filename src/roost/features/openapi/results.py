"""Turn the answer of an API into the result of a call."""

from __future__ import annotations

import base64
from typing import NamedTuple

from roost.features.openapi.calling import Called
from roost.features.openapi.catalog import Operation
from roost.features.openapi.compile import is_text
from roost.features.openapi.credentials import scrubbed
from roost.features.openapi.pagination import next_page
from roost.log.content import Image
from roost.tools.charsets import charset_of, decoded
from roost.tools.checked_http import Answer
from roost.tools.text_limits import clean

KEPT = 512 * 1024
"""Most characters of a response that are kept to be read in parts."""
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_IMAGE = 1024 * 1024


class Shown(NamedTuple):
    """A result. head: lines about the response. text: its content. image: in place of text."""

    head: tuple[str, ...]
    text: str
    image: Image | None = None


def media_of(answer: Answer) -> str:
    """Return the media type of an answer, in lower case and without parameters."""
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def shown(operation: Operation, called: Called) -> Shown:
    """Return what the model is shown of an answer: untrusted text."""
    answer, media = called.answer, media_of(called.answer)
    head = [f"[HTTP {answer.status} {clean(answer.reason)}".rstrip() + f"{' · ' + media[:80] if media else ''}]"]
    head += called.notes
    if answer.cut:
        head.append(f"[only the first {len(answer.body)} bytes were read: ask for less at once]")
    if (wait := answer.headers.get("retry-after")) and answer.status in (429, 503):
        head.append(f"[it says: try again after {wait[:40]}]")
    if answer.status < 300 and (more := next_page(operation, answer, called.url)):
        head.append(more)
    lines = tuple(scrubbed(line, called.masked) for line in head)
    if not answer.body:
        return Shown(lines, "(no content)")
    if media in _IMAGES and len(answer.body) <= _IMAGE and not answer.cut:
        return Shown(lines, "", Image(media, base64.b64encode(answer.body).decode()))
    if (media and not is_text(media) and b"\0" in answer.body[:8192]) or _is_binary(media, answer.body):
        return Shown(lines, f"({len(answer.body)} bytes of {media or 'an unknown type'}, which are not text)")
    text = decoded(answer.body, charset_of(answer.headers.get("content-type", "")))
    text = clean(scrubbed(text, called.masked))
    return Shown(lines, text[:KEPT])


def _is_binary(media: str, body: bytes) -> bool:
    if is_text(media):
        return False
    try:
        body[:4096].decode()
    except UnicodeDecodeError as error:
        return error.start < len(body[:4096]) - 4
    return False
