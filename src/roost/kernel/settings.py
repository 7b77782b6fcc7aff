"""Settings that can be changed on a running node: the keys, and the record of their changes.

The shared store keeps the record as settings `config:1`, `config:2` and so on: each is one change, written once
(`Coordination.setting` keeps the first value that it is given). So of two concurrent changes one is applied after the
other, none is half applied, and together they are the history. A node reads the next one at a heartbeat.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from roost.errors import Busy, Invalid, StoreCorrupt
from roost.ids import new_id
from roost.log.coordination import Coordination

Value: TypeAlias = float | int | str
_PREFIX = "config:"
_TRIES = 50
"""Most concurrent changes of others before a patch gives up."""


class Key(msgspec.Struct, frozen=True):
    """A key. `zero`: what 0 means, where it is no value."""

    kind: Literal["seconds", "count", "money", "text"]
    says: str
    least: float = 0.0
    most: float = 1e9
    zero: str | None = None


KEYS: dict[str, Key] = {
    "approvals.seconds": Key("seconds", "A call that nobody answered for so long is rejected.", 1, zero="never"),
    "budget.month": Key("money", "What may be spent in a calendar month, in the budget's currency.", zero="nothing"),
    "cleanup_every": Key("seconds", "Between looks at sessions to stop and to delete.", 1, 86_400),
    "linger": Key("seconds", "A session stays in memory for so long after its last work.", 0, 3_600, zero="no time"),
    "max_live": Key("count", "Sessions that run on a node at the same time.", 1, 1_000_000),
    "model": Key("text", "The model of agents that name none."),
    "retention": Key("seconds", "A session stopped so long ago is deleted.", 1, zero="never"),
    "session_timeout": Key("seconds", "A session unused for so long is stopped.", 1, zero="never"),
}


class Changed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of one key. None: the value that each node was started with."""

    key: str
    old: Value | None = None
    new: Value | None = None


class Revision(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One change of any number of keys. `values`: the settings after it, without unchanged keys."""

    number: int
    at: float
    by: str
    id: str
    changes: tuple[Changed, ...]
    values: dict[str, Value] = {}


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A key's value on this node. `started`: the value at start or from its files, in force where nothing is `set`.
    None: never, or none."""

    key: str
    value: Value | None
    started: Value | None
    set: bool
    says: str


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a reload. `agents`: names that are new, changed or removed. `files`: other files now in force.
    `faults`: by file, what is wrong with those that are not; their former content stays in force."""

    agents: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    faults: Mapping[str, str] = {}


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Revision)


def checked(key: str, value: Any) -> Value | None:
    """Return a value as it is stored; None removes the setting. Raises `Invalid`, which names the key, the accepted
    values and the given one."""
    if (known := KEYS.get(key)) is None:
        near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise Invalid(f"unknown key {key!r}{hint} The keys are {', '.join(KEYS)}", code="unknown_key")
    if value is None:
        return None
    if known.kind == "text":
        if not isinstance(value, str) or not value.strip() or len(value) > 500:
            raise _wrong(key, value, "takes a name")
        return value
    whole = known.kind == "count"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not math.isfinite(value):
        raise _wrong(key, value, "takes a whole number" if whole else "takes a number")
    if not (known.least <= value <= known.most or (known.zero is not None and value == 0)):
        zero = "" if known.zero is None or known.least == 0 else f", or 0 ({known.zero})"
        raise _wrong(key, value, f"takes {known.least:g} to {known.most:g}{zero}")
    return value


def read(key: str, text: str) -> Value:
    """Parse a value that a person wrote. Raises `Invalid`."""
    if key not in KEYS or KEYS[key].kind == "text":
        value: Any = text
    else:
        try:
            value = int(text) if text.strip().lstrip("+-").isdecimal() else float(text)
        except ValueError:
            value = text
    found = checked(key, value)
    assert found is not None
    return found


def _wrong(key: str, value: Any, what: str) -> Invalid:
    return Invalid(f"{key} {what}, not {value!r}: {KEYS[key].says}", code="bad_value")


class Record:
    """The record of changes in a store. Its methods raise `StoreFailed`."""

    def __init__(self, shared: Coordination) -> None:
        self._shared = shared
        self._newest = Revision(number=0, at=0.0, by="", id="", changes=())

    @property
    def newest(self) -> Revision:
        """The newest revision that was read."""
        return self._newest

    async def look(self) -> Revision:
        """Read the newest revision: one read where nothing has changed, at first logarithmic in their number."""
        step = 1
        while (found := await self._at(self._newest.number + step)) is not None:
            self._newest, step = found, step * 2
        while step > 1:
            step //= 2
            if (found := await self._at(self._newest.number + step)) is not None:
                self._newest = found
        return self._newest

    async def patch(self, given: Mapping[str, Any], *, by: str) -> Revision:
        """Apply all of these changes or none; None removes a setting. Without a difference no revision is written.
        Returns the newest. Raises `Invalid`, and `Busy` when other changes always come first."""
        if not given:
            raise Invalid("name a key and its value")
        wanted = {key: checked(key, value) for key, value in given.items()}
        mine = new_id("cfg")
        for _ in range(_TRIES):
            last = await self.look()
            changes = tuple(
                Changed(key, last.values.get(key), value)
                for key, value in wanted.items()
                if last.values.get(key) != value
            )
            if not changes:
                return last
            values = {key: value for key, value in {**last.values, **wanted}.items() if value is not None}
            made = Revision(
                number=last.number + 1, at=time.time(), by=by[:200], id=mine, changes=changes, values=values
            )  # fmt: skip
            kept = await self._shared.setting(_name(made.number), _encode(made).decode())
            if kept is not None and _decoded(kept).id == mine:
                self._newest = made
                return made
        raise Busy("too many concurrent changes of the configuration: try again")

    async def history(self, *, before: int | None = None, limit: int = 50) -> list[Revision]:
        """List revisions, the newest first, those below the number `before`."""
        newest = (await self.look()).number
        first = newest if before is None else min(newest, before - 1)
        found = [await self._at(number) for number in range(first, max(0, first - limit), -1)]
        return [revision for revision in found if revision is not None]

    async def _at(self, number: int) -> Revision | None:
        kept = await self._shared.setting(_name(number))
        return None if kept is None else _decoded(kept)


def _name(number: int) -> str:
    return f"{_PREFIX}{number}"


def _decoded(text: str) -> Revision:
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"the record of the configuration cannot be read: {error}") from error
