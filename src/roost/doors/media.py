"""Media inside requests: data URLs and base64."""

from __future__ import annotations

import binascii
from typing import Any

from roost.errors import Invalid
from roost.log.content import Image


def image_part(url: str, where: str) -> Image:
    """Return an image by its URL. Raises `Invalid`."""
    if (found := data_url(url)) is not None:
        return Image(found[0], base64_data(found[1], where))
    if not url.startswith(("http://", "https://")):
        raise Invalid(f"{where}: an image is a data URL in base64, or an http(s) URL")
    return Image("image/*", url=url)


def data_url(url: str) -> tuple[str, str] | None:
    """Return the media type and the content of a data URL in base64; None for anything else."""
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        return None
    return head[5:-7] or "application/octet-stream", data


def base64_data(data: Any, where: str) -> str:
    """Check that `data` is base64. Raises `Invalid`."""
    try:
        if not isinstance(data, str) or not data:
            raise ValueError("it is empty")
        binascii.a2b_base64(data.encode("ascii"), strict_mode=True)
    except ValueError as error:
        raise Invalid(f"{where}: the data is not base64: {error}") from None
    return data
