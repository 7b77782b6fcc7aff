"""What the worker's one slot holds: which conversation's prompt, evaluated from where."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from roost.local import frames
from roost.local.slots import SlotFailed, Slots
from roost.local.states import States

Forward: TypeAlias = Callable[[bytes], bool]
_FORMAT = 1
"""Raise it when the content of a state file changes."""
_LEAST = 128
"""Tokens of a prefix from which a file pays."""
_PROGRESS = b'"prompt_progress"'


class _Progress(msgspec.Struct):
    """llama.cpp's own report: of `total` tokens it had `cache` and has `processed`."""

    total: int
    cache: int
    processed: int


class _Chunk(msgspec.Struct):
    prompt_progress: _Progress | None = None


class Resident:
    """Sees that a conversation finds its evaluated prefix in the slot.

    The same conversation as before: nothing to do. Another one: the slot's content is parked in llama.cpp's cache in
    memory, which holds `capacity` bytes; one that was parked comes back from there by itself, a new one starts from
    the file of its prefix, or makes that file. `announce` tells the parent which file is being read.
    """

    def __init__(
        self,
        slots: Slots,
        load: frames.Load,
        version: str,
        *,
        capacity: int,
        announce: Callable[[frames.Up], None],
    ) -> None:
        self._slots = slots
        self._states = States(Path(load.states)) if load.states is not None else None
        self._engine = (_FORMAT, load.weights, version)
        self._capacity = capacity
        self._announce = announce
        self._last: tuple[str, str] | None = None
        self._tokens = 0
        self._per_token = 0
        self._parked: OrderedDict[tuple[str, str], int] = OrderedDict()

    def run(self, call: frames.Call, generate: Callable[[bytes, Forward], None], forward: Forward) -> None:
        """Generate with the prefix of the call in the slot."""
        expected = self._prepare(call, forward)
        if expected is None or bytes(call.body) == bytes(frames.NOTHING):
            return

        def watched(chunk: bytes) -> bool:
            if _PROGRESS in chunk and (seen := msgspec.json.decode(chunk, type=_Chunk).prompt_progress):
                self._tokens = seen.total
                if self._states is not None and self._last and seen.cache < expected // 2:
                    self._states.reject(self._last[0])
            return forward(chunk)

        generate(bytes(call.body), watched)

    def _prepare(self, call: frames.Call, forward: Forward) -> int | None:
        """Returns the tokens of the prefix that llama.cpp must find in the slot, 0 when none, None to stop."""
        if self._states is None or not call.prefix:
            self._last = None
            return 0
        name = self._name(call.prefix)
        place = (name, call.conversation)
        if place == self._last:
            return 0
        self._park()
        self._last = place
        if self._parked.pop(place, 0) or self._states.rejected(name):
            return 0
        try:
            return self._restore(self._states, name) or self._make(self._states, name, call, forward)
        except SlotFailed:  # the call itself says what is wrong, if something is
            return 0

    def _name(self, prefix: tuple[dict[str, str], ...]) -> str:
        return hashlib.sha256(msgspec.json.encode((self._engine, prefix))).hexdigest()[:32]

    def _park(self) -> None:
        if self._last is None:
            return
        self._slots.park()
        self._parked[self._last] = self._tokens * self._per_token
        while sum(self._parked.values()) > self._capacity * 3 // 4:
            self._parked.popitem(last=False)

    def _restore(self, states: States, name: str) -> int:
        if not states.sound(name):
            return 0
        self._announce(frames.Restoring(str(states.path(name))))
        try:
            tokens = self._slots.restore(states.path(name).name)
        except SlotFailed:  # another build wrote it
            states.drop(name)
            return 0
        self._learn(states, name, tokens)
        return tokens

    def _make(self, states: States, name: str, call: frames.Call, forward: Forward) -> int | None:
        """Evaluate the prefix alone, and keep it."""
        stopped = False

        def progress(chunk: bytes) -> bool:
            nonlocal stopped
            if _PROGRESS in chunk:
                seen: Any = msgspec.json.decode(chunk)
                stopped = forward(msgspec.json.encode({"prompt_progress": seen["prompt_progress"]}))
            return stopped

        self._slots.evaluate(self._slots.render(call.prefix), progress)
        if stopped:
            self._last = None
            return None
        tokens = self._slots.save(states.draft(name))
        states.keep(name)
        self._learn(states, name, tokens)
        if tokens < _LEAST:
            states.reject(name)
        return tokens

    def _learn(self, states: States, name: str, tokens: int) -> None:
        self._tokens = tokens
        self._per_token = states.size(name) // max(1, tokens) or self._per_token
