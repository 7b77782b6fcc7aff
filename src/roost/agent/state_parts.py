"""Parts of a session's state that features declare, and how state and parts lie together in a snapshot.

`roost/features/NAME/state.py` names its part of the state as `PART`, and its part of the open turn as `TURN_PART`. Both
are structs whose fields all have defaults. Read them with `state.part(KIND)` and `turn.part(KIND)`. Only folds change
them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any, ClassVar, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from roost import registry
from roost.log.schedule_events import TurnLimits

P = TypeVar("P", bound=msgspec.Struct)


class OpenJob(msgspec.Struct):
    """A background command whose end is not in the log. call: the tool call that started it. due: when it is stopped.
    outside: the source that makes its output untrusted."""

    call: str
    command: str
    began: float
    due: float
    outside: str | None = None


class StatePart(msgspec.Struct):
    """A feature's part of a session's state.

    A fork and an import change it by `WATCHES` of their events. A rollback restores `restored`, names of fields, from
    the state that it goes back to; all others keep their present values."""

    restored: ClassVar[tuple[str, ...]] = ()

    @property
    def busy(self) -> bool:
        """Whether the session has work outside a turn."""
        return False

    @property
    def waits(self) -> bool:
        """Whether the session waits for another session."""
        return False

    @property
    def calls_model(self) -> bool:
        """Whether a model call outside a turn has no outcome in the log."""
        return False

    @property
    def background(self) -> Mapping[str, OpenJob]:
        """Commands of the session that run in the background, by key."""
        return {}

    @property
    def pinned(self) -> Mapping[str, str]:
        """Texts that stay in the context word for word, by key."""
        return {}

    @property
    def snapshots(self) -> Sequence[str]:
        """Snapshots of files that the part needs."""
        return ()

    def shared_snapshots(self, undo: Sequence[str]) -> Sequence[str]:
        """Return those in the shared object store. undo: the undo points of the newest calls."""
        return ()

    @property
    def files_unsaved(self) -> bool:
        """Whether the files differ from their last snapshot in the shared object store."""
        return False

    @property
    def files_to_restore(self) -> bool:
        """Whether the files must be put back before anything else."""
        return False

    @property
    def money_limited(self) -> bool:
        """Whether a turn may have had a money limit beside the agent's."""
        return False


class TurnPart(msgspec.Struct):
    """A feature's part of the open turn; gone at its end."""

    @property
    def limits(self) -> TurnLimits | None:
        """Limits of this turn, beside the agent's."""
        return None

    @property
    def unattended(self) -> bool:
        """Whether no person waits for the turn."""
        return False

    @property
    def goes_on(self) -> bool:
        """Whether the turn goes on although the newest answer asks for no tool."""
        return False


@cache
def state_parts() -> Mapping[str, type[StatePart]]:
    """Return the part of each feature that has one."""
    return _declared("PART", StatePart)


@cache
def turn_parts() -> Mapping[str, type[TurnPart]]:
    """Return the part of the turn of each feature that has one."""
    return _declared("TURN_PART", TurnPart)


def _declared(name: str, base: type[P]) -> Mapping[str, type[P]]:
    """Return what the features declare as `name`. Raises `TypeError` if one declares it wrongly or not at all."""
    found: dict[str, type[P]] = {}
    for module in registry.load("state"):
        own = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
        part = getattr(module, name, None)
        if stray := next((one for one in own if issubclass(one, base) and one is not part), None):
            raise TypeError(
                f"{module.__name__} has {stray.__name__} and does not declare it: add {name} = {stray.__name__}"
            )
        if part is not None:
            _check(part)
            found[module.__name__.split(".")[-2]] = part
    return found


def _check(part: type[Any]) -> None:
    for field in msgspec.structs.fields(part):
        if field.required:
            raise TypeError(f"{part.__module__}.{part.__name__}.{field.name} needs a default: a new state has the part")
    if unknown := {*getattr(part, "restored", ())} - _names(part):
        raise TypeError(f"`restored` of {part.__module__}.{part.__name__} names {unknown}, which are not its fields")


def new_state_parts() -> dict[type[StatePart], Any]:
    return {kind: kind() for kind in _state_kinds()}


def new_turn_parts() -> dict[type[TurnPart], Any]:
    return {kind: kind() for kind in _turn_kinds()}


@cache
def _state_kinds() -> tuple[type[StatePart], ...]:
    return tuple(state_parts().values())


@cache
def _turn_kinds() -> tuple[type[TurnPart], ...]:
    return tuple(turn_parts().values())


@cache
def state_parts_with(name: str) -> tuple[type[StatePart], ...]:
    """Return the parts that override a property of `StatePart`."""
    return tuple(kind for kind in state_parts().values() if getattr(kind, name) is not getattr(StatePart, name))


@cache
def turn_parts_with(name: str) -> tuple[type[TurnPart], ...]:
    """Return the parts that override a property of `TurnPart`."""
    return tuple(kind for kind in turn_parts().values() if getattr(kind, name) is not getattr(TurnPart, name))


class Layout:
    """How a struct with `parts` lies in a snapshot: as one flat map.

    names: its oldest names in the order of their bytes, each a field of the struct or of a part. A part that has none
    of these names is one field, under the name of its feature, and left out while it has its defaults. inner: layouts
    of fields that have parts as well. `struct` decodes the map. Raises `TypeError` if two fields have the same name, or
    a name has no field."""

    def __init__(
        self, whole: type, names: Sequence[str], parts: Mapping[str, type], inner: Mapping[str, Layout] | None = None
    ) -> None:
        self._whole, self._inner = whole, inner or {}
        self._nested = {feature: kind for feature, kind in parts.items() if not _names(kind) & {*names}}
        flat = [whole, *(kind for feature, kind in parts.items() if feature not in self._nested)]
        fields = {field.name: (kind, field) for kind in flat for field in _fields(kind)}
        order = [*names, *(name for name in fields if name not in names)]
        once = len(fields) == sum(len(_fields(kind)) for kind in flat) and not fields.keys() & self._nested.keys()
        if not once or not fields.keys() >= {*names}:
            raise TypeError(f"fields of {whole.__name__} and its parts are not one for each name: {sorted(fields)}")
        of_kind = {kind: [field.name for field in _fields(kind)] for kind in flat}
        place = {name: number for number, name in enumerate(name for own in of_kind.values() for name in own)}
        self._in_order = itemgetter(*(place[name] for name in order))
        self._flat = {kind: _values(own) for kind, own in of_kind.items() if kind is not whole}
        self._own = _values(of_kind[whole])
        lines = [self._line(fields[name][1]) for name in order]
        more = [(name, kind | UnsetType, UNSET) for name, kind in self._nested.items()]
        self.struct = msgspec.defstruct(whole.__name__, [*lines, *more])

    def flatten(self, whole: Any) -> Any:
        """Return the struct to encode."""
        parts = whole.parts
        values = [*self._own(whole)]
        for kind, own in self._flat.items():
            values += own(parts[kind])
        flat = self.struct(*self._in_order(values))
        for name, layout in self._inner.items():
            if (inner := getattr(flat, name)) is not None:
                setattr(flat, name, layout.flatten(inner))
        for name, kind in self._nested.items():
            if parts[kind] != kind():
                setattr(flat, name, parts[kind])
        return flat

    def build(self, flat: Any) -> Any:
        """Return the whole of a decoded struct."""
        parts: dict[type, Any] = {kind: kind(*own(flat)) for kind, own in self._flat.items()}
        for name, kind in self._nested.items():
            part = getattr(flat, name)
            parts[kind] = kind() if part is UNSET else part
        for name, layout in self._inner.items():
            if (inner := getattr(flat, name)) is not None:
                setattr(flat, name, layout.build(inner))
        return self._whole(*self._own(flat), parts=parts)

    def _line(self, field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
        kind: Any = field.type
        if field.name in self._inner:
            kind = self._inner[field.name].struct | None
        if field.default_factory is not msgspec.NODEFAULT:
            return (field.name, kind, msgspec.field(default_factory=field.default_factory))
        return (field.name, kind, field.default)


def _fields(kind: type) -> list[msgspec.structs.FieldInfo]:
    return [field for field in msgspec.structs.fields(kind) if field.name != "parts"]


def _values(names: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    """Return the function that reads these fields of a struct."""
    return attrgetter(*names) if len(names) > 1 else lambda one: [getattr(one, name) for name in names]


def _names(kind: type) -> set[str]:
    return {field.name for field in _fields(kind)}
