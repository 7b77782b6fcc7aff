"""Convert pictures: scale, turn upright, change the format. Needs Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from roost.install import install_extra
from roost.models.media.sniff import dimensions

if TYPE_CHECKING:
    from PIL import Image as Pil

PIXELS = 80_000_000
"""Larger pictures are never decoded: a few kilobytes can claim gigabytes. Below the limit at which Pillow warns."""
_LEAST_SIDE = 64
_SHRINK = 0.9
_QUALITIES = (88, 70)
_NAMES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


class CannotScale(Exception):
    """`str` gives the reason and a remedy."""


def rescaled(data: bytes, *, side: int | None, most: int | None, types: tuple[str, ...]) -> tuple[str, bytes]:
    """Return (media type, bytes) of the picture, at most `side` pixels and `most` bytes large, in one of `types`
    (empty: any of PNG, JPEG, WebP). Takes the first image of an animation, upright as its EXIF says, without the EXIF.
    Raises `CannotScale`. Slow: call it in a thread."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise CannotScale(f"scaling it needs Pillow: {install_extra('media')}") from None
    if (size := dimensions(data)) is not None:
        _need_sane(size)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            _need_sane(opened.size)
            if side is not None:
                opened.draft("RGB", (side, side))
            picture = _plain(ImageOps.exif_transpose(opened))
            return _fit(picture, opened.format or "", side=side, most=most, types=types)
    except CannotScale:
        raise
    except Exception as error:  # decoders raise any error on foreign bytes
        raise CannotScale(f"it cannot be read as a picture ({type(error).__name__}: {error})") from error


def _need_sane(size: tuple[int, int]) -> None:
    if size[0] * size[1] > PIXELS:
        raise CannotScale(f"it claims {size[0]} x {size[1]} pixels, and at most {PIXELS // 1_000_000} million are read")


def _plain(picture: Pil.Image) -> Pil.Image:
    """Convert to RGB, RGBA or L."""
    if picture.mode.startswith("I;16"):
        picture = picture.convert("I")
    if picture.mode == "I":
        return picture.point(lambda value: value * (1 / 256)).convert("L")
    if picture.mode in ("RGB", "RGBA", "L"):
        return picture
    clear = picture.mode in ("LA", "PA", "La", "RGBa") or "transparency" in picture.info
    return picture.convert("RGBA" if clear else "RGB")


def _fit(
    picture: Pil.Image, original: str, *, side: int | None, most: int | None, types: tuple[str, ...]
) -> tuple[str, bytes]:
    from PIL import Image

    formats = [name for name in _NAMES if not types or name in types]
    if not formats:
        raise CannotScale(f"this cannot write any of {', '.join(types)}")
    longest = max(picture.size)
    target = min(longest, side or longest)
    while True:
        size = _scaled(picture.size, target / longest)
        small = picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)
        least = 0
        for media_type, options in _attempts(small, original, formats):
            out = io.BytesIO()
            _opaque(small, media_type).save(out, _NAMES[media_type], **options)
            least = out.tell()
            if most is None or least <= most:
                return media_type, out.getvalue()
        # An image still too large has about as many bytes as pixels.
        target = int(target * min(_SHRINK, ((most or 0) / max(1, least)) ** 0.5))
        original = "JPEG"
        if target < _LEAST_SIDE:
            raise CannotScale(f"no version of it has at most {most} bytes")


def _scaled(size: tuple[int, int], by: float) -> tuple[int, int]:
    return max(1, round(size[0] * by)), max(1, round(size[1] * by))


def _attempts(picture: Pil.Image, original: str, formats: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield formats to try: lossless first, unless the original is JPEG."""
    if "image/png" in formats and (original != "JPEG" or formats == ["image/png"]):
        yield "image/png", {}
    lossy = ["image/jpeg", "image/webp"]
    if picture.mode == "RGBA":
        lossy.reverse()
    media_type = next((name for name in lossy if name in formats), None)
    if media_type is not None:
        for quality in _QUALITIES:
            yield media_type, {"quality": quality}


def _opaque(picture: Pil.Image, media_type: str) -> Pil.Image:
    """Replace transparency by white for JPEG, which has none."""
    if picture.mode != "RGBA" or media_type != "image/jpeg":
        return picture
    from PIL import Image

    ground = Image.new("RGB", picture.size, "white")
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground
