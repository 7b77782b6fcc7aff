"""Plan a request's media: sent, converted, or replaced by a note."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from roost.log.content import (
    AssistantMessage,
    AssistantPart,
    Audio,
    File,
    Image,
    Media,
    Message,
    Text,
    Thinking,
    UserMessage,
    UserPart,
    Video,
)
from roost.models.compile.media import as_text
from roost.models.media.fit_part import Unfit, Verdict, Verdicts
from roost.models.media.limits import MediaLimits
from roost.models.profile import MediaKind, MediaLimit
from roost.models.wire_body import kind_of, named

MEDIA = (Image, Audio, Video, File)
_TYPES = frozenset(MEDIA)
_MOST_SHOWN = 20
_BLOCKS = 4
Place: TypeAlias = tuple[int, int]


class Slot(msgspec.Struct):
    """A media part of a request. fresh: in the user's newest messages, so it fails the call instead of being left out.
    sent: the replacement. how, why: for the notice."""

    place: Place
    part: Media
    fresh: bool
    sent: Media | Text
    how: str = ""
    why: str = ""


def has_media(messages: Sequence[Message]) -> bool:
    for message in messages:  # runs in every step of every session
        for part in message.parts:
            if type(part) in _TYPES:
                return True
    return False


def planned(
    messages: Sequence[Message], limits: MediaLimits, verdicts: Verdicts, since: int = 0
) -> tuple[tuple[Message, ...], list[dict[str, Any]]]:
    """Return the messages that fit, and the changes for people to read. Raises `Unfit` for a part of the user's newest
    messages. since: as in `Request`."""
    slots = list(_slots(messages, limits, since))
    pictures = sum(isinstance(slot.sent, Image) for slot in slots)
    for slot in slots:
        if isinstance(slot.sent, MEDIA):
            _settle(slot, limits, verdicts, pictures)
    _make_room(slots, limits)
    once = isinstance(messages[-1], UserMessage)
    notable = [slot for slot in slots if slot.how and (once or slot.place[0] == len(messages) - 1)]
    changes = [{"part": named(slot.part)[1:-1], "how": slot.how, "why": slot.why} for slot in notable[:_MOST_SHOWN]]
    if len(notable) > _MOST_SHOWN:
        changes.append({"part": f"{len(notable) - _MOST_SHOWN} more", "how": "changed", "why": ""})
    return _with(messages, slots), changes


def _slots(messages: Sequence[Message], limits: MediaLimits, since: int) -> Iterable[Slot]:
    fresh = _fresh(messages, since)
    for at, message in enumerate(messages):
        for index, part in enumerate(message.parts):
            if isinstance(part, MEDIA):
                kept = not isinstance(message, AssistantMessage) or (limits.own and kind_of(part) in limits.kinds)
                yield Slot((at, index), part, at in fresh, part if kept else Text(named(part)))


def _fresh(messages: Sequence[Message], since: int) -> range:
    """Return the range of the user's newest messages: the last one, and those directly before it in the same turn."""
    last = next((at for at in range(len(messages) - 1, -1, -1) if isinstance(messages[at], UserMessage)), -1)
    first = last
    while first > 0 and isinstance(messages[first - 1], UserMessage):
        first -= 1
    return range(max(first, since, 0), last + 1)


def _settle(slot: Slot, limits: MediaLimits, verdicts: Verdicts, pictures: int) -> None:
    kind = kind_of(slot.part)
    limit = limits.kinds.get(kind)
    if limit is None:
        verdict = Verdict(f"this model takes no {_PLURAL[kind]}", wrong="unsupported")
    else:
        verdict = verdicts.fitted(slot.part, _crowded(limit, kind, limits, pictures), still=limits.still)
    if verdict.wrong is not None:
        written = as_text(slot.part)
        if isinstance(written, Text):
            slot.sent, slot.how, slot.why = written, "as text", verdict.why
        else:
            _leave_out(slot, verdict)
    elif verdict.part is not None:
        slot.sent = verdict.part
        if verdict.why:
            slot.how = "corrected" if verdict.part.data == slot.part.data else "scaled"
            slot.why = verdict.why


def _crowded(limit: MediaLimit, kind: MediaKind, limits: MediaLimits, pictures: int) -> MediaLimit:
    if kind != "image" or limits.crowd is None or pictures <= limits.crowd[0]:
        return limit
    side = limits.crowd[1] if limit.side is None else min(limit.side, limits.crowd[1])
    return msgspec.structs.replace(limit, side=side)


def _leave_out(slot: Slot, verdict: Verdict) -> None:
    if slot.fresh:
        raise Unfit(verdict.wrong or "unsupported", f"{named(slot.part)[1:-1]}: {verdict.why}")
    slot.sent = Text(f"{named(slot.part)[:-1]}: left out, because {verdict.why}]")
    slot.how, slot.why = "left out", verdict.why


def _make_room(slots: Sequence[Slot], limits: MediaLimits) -> None:
    """Leave out the oldest media if they are too many or too large together."""
    for kind, limit in limits.kinds.items():
        of_kind = [slot for slot in slots if isinstance(slot.sent, MEDIA) and kind_of(slot.sent) == kind]
        _drop(of_kind, [1] * len(of_kind), limit.count, _PLURAL[kind])
        of_kind = [slot for slot in of_kind if isinstance(slot.sent, MEDIA)]
        _drop(of_kind, [_bytes(slot) for slot in of_kind], limit.total_bytes, f"bytes of {_PLURAL[kind]}")
    left = [slot for slot in slots if isinstance(slot.sent, MEDIA)]
    _drop(left, [_bytes(slot) for slot in left], limits.total, "bytes of media")


def _drop(slots: Sequence[Slot], weights: Sequence[int], most: int | None, what: str) -> None:
    total = sum(weights)
    if most is None or total <= most:
        return
    # Drop in blocks. Dropping one old picture for each new one would invalidate the prompt cache every time.
    block = max(1, most // _BLOCKS)
    goal = -(-(total - most) // block) * block
    why = f"a request takes at most {most:,} {what}"
    dropped = 0
    for slot, weight in zip(slots, weights, strict=True):
        if dropped >= goal:
            return
        if not slot.fresh:
            _leave_out(slot, Verdict(why, wrong="unsupported"))
            dropped += weight
    if total - dropped > most:
        newest = next(slot for slot in reversed(slots) if slot.fresh)
        raise Unfit("unsupported", f"{named(newest.part)[1:-1]}: {why}, and there are {total - dropped:,}")


def _bytes(slot: Slot) -> int:
    return len(slot.sent.data) * 3 // 4 if isinstance(slot.sent, MEDIA) else 0


def _with(messages: Sequence[Message], slots: Iterable[Slot]) -> tuple[Message, ...]:
    changed = list(messages)
    by_message: dict[int, dict[int, Text | Media]] = {}
    for slot in slots:
        if slot.sent is not slot.part:
            by_message.setdefault(slot.place[0], {})[slot.place[1]] = slot.sent
    for at, inner in by_message.items():
        message = messages[at]
        if isinstance(message, AssistantMessage):
            changed[at] = AssistantMessage(tuple(_own(message.parts, inner)))
        else:
            parts: tuple[UserPart, ...] = tuple(inner.get(index, part) for index, part in enumerate(message.parts))
            changed[at] = msgspec.structs.replace(message, parts=parts)
    return tuple(changed)


def _own(parts: Sequence[AssistantPart], inner: dict[int, Text | Media]) -> Iterable[AssistantPart]:
    """Drop a signature whose part was replaced by a note: it proves only the original part."""
    for index, part in enumerate(parts):
        if isinstance(part, Thinking) and not part.text and index + 1 in inner:
            continue
        sent = inner.get(index, part)
        yield part if isinstance(sent, File) else sent


_PLURAL: dict[MediaKind, str] = {"image": "images", "audio": "sound", "video": "videos", "file": "files"}
