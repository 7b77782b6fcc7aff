"""Media limits of the protocols, as data; a model's profile overrides them.

Sources: the providers' own pages from August to November 2026, and published answers of their servers.

- Anthropic, platform.claude.com/docs/en/build-with-claude/vision: 10 MB of base64 a picture (the server refuses with
  "exceeds 10 MB maximum"; Bedrock and Google Cloud take 5), 8,000 pixels, 600 pictures, 100 with a window of 200,000
  tokens, 32 MB a request, only the first image of an animation. From the 21st picture on the limit is below 8,000
  pixels; the page calls 2,000 safe.
- OpenAI, developers.openai.com/api/docs/guides/images-vision and .../file-inputs: 512 MB and 1,500 pictures a request,
  no animated GIF, 50 MB of files together, sound as wav or mp3. The newest models refuse a picture of more than 30,000
  squares of 32 pixels; for a square picture this is `side`. No limit is stated for the bytes of one picture or
  recording.
- Google, ai.google.dev/gemini-api/docs/file-input-methods, .../image-understanding and .../video-understanding: 100 MB
  a request in line (an older page says 20; 23 went through), 50 MB a PDF, 3,600 pictures, 10 videos, no GIF.
- GLM and MiniMax: only the kinds that their wires carry are known. That they accept no animation is an assumption.
"""

from __future__ import annotations

import msgspec

from roost.models.profile import MediaKind, MediaLimit, Profile

_MB = 1024 * 1024
_SQUARE = 173 * 32
_PDF = ("application/pdf",)
_PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif")


def _from_base64(size: int) -> int:
    return size * 3 // 4


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """A protocol's limits. kinds: the media that it can carry. total: bytes before base64 of all media of a request.
    crowd: (n, side): with more than `n` pictures the longest side is limited to `side`. still: animations are not
    accepted. own: a model's own earlier media are sent back to it."""

    kinds: dict[MediaKind, MediaLimit]
    total: int | None = None
    crowd: tuple[int, int] | None = None
    still: bool = False
    own: bool = False


_ANY = Limits(kinds={kind: MediaLimit(urls=True) for kind in ("image", "audio", "video", "file")})
LIMITS: dict[str, Limits] = {
    "anthropic": Limits(
        kinds={
            "image": MediaLimit(types=_PICTURES, count=600, bytes=_from_base64(10 * _MB), side=8_000, urls=True),
            "file": MediaLimit(types=_PDF, bytes=_from_base64(30 * _MB), urls=True),
        },
        # A request may have 32 MB; the rest is for text.
        total=_from_base64(30 * _MB),
        crowd=(20, 2_000),
    ),
    "openai_chat": Limits(
        kinds={
            "image": MediaLimit(types=_PICTURES, count=1_500, side=_SQUARE, urls=True),
            "audio": MediaLimit(types=("audio/wav", "audio/mpeg")),
            "video": MediaLimit(urls=True),
            "file": MediaLimit(types=_PDF, bytes=50 * _MB, total_bytes=50 * _MB),
        },
        total=_from_base64(500 * _MB),
        still=True,
    ),
    "openai_responses": Limits(
        kinds={
            "image": MediaLimit(types=_PICTURES, count=1_500, side=_SQUARE, urls=True),
            "file": MediaLimit(bytes=50 * _MB, total_bytes=50 * _MB, urls=True),
        },
        total=_from_base64(500 * _MB),
        still=True,
    ),
    "glm": Limits(
        # A document is accepted only by URL.
        kinds={"image": MediaLimit(urls=True), "video": MediaLimit(urls=True), "file": MediaLimit(bytes=0, urls=True)},
        still=True,
    ),
    "minimax": Limits(kinds={"image": MediaLimit(urls=True), "video": MediaLimit(urls=True)}, still=True),
    "gemini": Limits(
        kinds={
            "image": MediaLimit(
                types=("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"), count=3_600, urls=True
            ),
            "audio": MediaLimit(urls=True),
            "video": MediaLimit(count=10, urls=True),
            "file": MediaLimit(bytes=50 * _MB, urls=True),
        },
        total=_from_base64(95 * _MB),
        own=True,
    ),
}
_SMALL_WINDOW = 200_000


def limits_of(wire: str | None, profile: Profile) -> Limits:
    """Return the wire's limits, overridden per kind by the profile's. An unlisted wire has no limits of its own."""
    wire = wire or profile.wire or ""
    limits = LIMITS.get(wire, _ANY)
    kinds = dict(limits.kinds)
    if wire == "anthropic" and profile.window <= _SMALL_WINDOW:
        kinds["image"] = msgspec.structs.replace(kinds["image"], count=100)
    kinds |= {kind: limit for kind, limit in profile.media.items() if kind in kinds}
    return msgspec.structs.replace(limits, kinds={kind: it for kind, it in kinds.items() if profile.takes(kind)})
