"""The form of a protocol's media limits. Each wire has its own, as data; a model's profile overrides them."""

from __future__ import annotations

import msgspec

from roost.models.profile import MediaKind, MediaLimit, Profile

MB = 1024 * 1024
PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""The pictures that most protocols accept."""


def from_base64(size: int) -> int:
    """Return the bytes that `size` bytes of base64 hold."""
    return size * 3 // 4


class MediaLimits(msgspec.Struct, frozen=True, kw_only=True):
    """A protocol's limits. kinds: the media that it can carry. total: bytes before base64 of all media of a request.
    crowd: (n, side): with more than `n` pictures the longest side is limited to `side`. small: (window, n): a model
    with a window of at most `window` tokens accepts `n` pictures. still: animations are not accepted. own: a model's
    own earlier media are sent back to it."""

    kinds: dict[MediaKind, MediaLimit]
    total: int | None = None
    crowd: tuple[int, int] | None = None
    small: tuple[int, int] | None = None
    still: bool = False
    own: bool = False

    def of(self, profile: Profile) -> MediaLimits:
        """Return the limits of one model: those of the kinds that it takes, overridden per kind by its profile."""
        kinds = dict(self.kinds)
        if self.small is not None and profile.window <= self.small[0]:
            kinds["image"] = msgspec.structs.replace(kinds["image"], count=self.small[1])
        kinds |= {kind: limit for kind, limit in profile.media.items() if kind in kinds}
        return msgspec.structs.replace(self, kinds={kind: it for kind, it in kinds.items() if profile.takes(kind)})


NO_LIMITS = MediaLimits(kinds={kind: MediaLimit(urls=True) for kind in ("image", "audio", "video", "file")})
"""Every kind, without limits."""
