"""Detect media types by their first bytes; declared types are not trusted."""

from __future__ import annotations

import struct

from roost.models.profile import MediaKind

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"FLV\x01", "video/x-flv"),
    (b"\0\0\x01\xba", "video/mpeg"),
    (b"%PDF-", "application/pdf"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/avi"}
_FORM = {b"AIFF": "audio/aiff", b"AIFC": "audio/aiff"}
_BRANDS = {
    b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif", b"msf1": "image/heif",
    b"avif": "image/avif", b"avis": "image/avif", b"M4A ": "audio/mp4", b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
}  # fmt: skip
_SAME = {
    "image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png", "image/x-ms-bmp": "image/bmp",
    "audio/mp3": "audio/mpeg", "audio/x-mp3": "audio/mpeg", "audio/x-wav": "audio/wav", "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav", "audio/x-flac": "audio/flac", "audio/x-aac": "audio/aac", "audio/aacp": "audio/aac",
    "audio/x-aiff": "audio/aiff", "audio/m4a": "audio/mp4", "audio/x-m4a": "audio/mp4", "audio/opus": "audio/ogg",
    "video/mov": "video/quicktime", "video/x-msvideo": "video/avi", "application/x-pdf": "application/pdf",
}  # fmt: skip
_SIZED = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
"""JPEG frame headers."""


def canonical(media_type: str) -> str:
    """Return the one name used for each type, in lower case and without parameters."""
    plain = media_type.partition(";")[0].strip().lower()
    return _SAME.get(plain, plain)


def sniff(data: bytes, kind: MediaKind) -> str | None:
    """Return the media type; None if the first bytes do not tell. Containers for both sound and pictures get the type
    of `kind`."""
    if data[4:8] == b"ftyp":
        either = "video/mp4" if kind != "audio" else "audio/mp4"
        return _BRANDS.get(data[8:12], either)
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12])
    if data[:4] == b"FORM":
        return _FORM.get(data[8:12])
    if data[:4] == b"OggS":
        return "video/ogg" if kind == "video" else "audio/ogg"
    if data[:4] == b"\x1aE\xdf\xa3":
        return "audio/webm" if kind == "audio" else "video/webm"
    known = next((media_type for start, media_type in _STARTS if data.startswith(start)), None)
    if known is None and b"%PDF-" in data[:1024]:
        return "application/pdf"
    if known is None and len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2:
        return "audio/mpeg"
    return known


def dimensions(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of a picture in pixels, from its header alone; None for an unsupported format."""
    try:
        if data.startswith(b"\x89PNG"):
            return struct.unpack(">II", data[16:24])
        if data.startswith(b"GIF8"):
            return struct.unpack("<HH", data[6:10])
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
    except (struct.error, IndexError):
        pass
    return None


def animated(data: bytes) -> bool:
    """Whether a GIF or a WebP is animated."""
    if data.startswith(b"GIF8"):
        return data.count(b"\x21\xf9\x04") > 1
    return data[8:16] == b"WEBPVP8X" and len(data) > 20 and bool(data[20] & 2)


def _webp(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8X":
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return width & 0x3FFF, height & 0x3FFF
        case _:
            return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _SIZED:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None
