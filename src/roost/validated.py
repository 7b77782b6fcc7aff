"""Structs whose values are checked where a program writes them, and what to say about a wrong one.

The decoder checks what is read: a file, a request, a log. `Validated` makes the constructor check as much, so that a
wrong value raises in the line that has it, and not in a session that decodes it later."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Self,
    TypeVar,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from roost.errors import ConfigError

_T = TypeVar("_T")


class WrongValue(ConfigError, ValueError):
    """A value of a definition is wrong. shown: the definition, if it has a name. what: what is wrong. field: the
    option, such as `limits.steps`; empty if none can be named."""

    def __init__(self, shown: str, what: str, *, field: str = "") -> None:
        super().__init__(f"{shown}: {what}" if shown else what)
        self.what, self.field = what, field


def listed(values: Sequence[_T]) -> tuple[_T, ...]:
    """Return the values as a tuple: the converter of an option that takes any sequence."""
    return tuple(values)


def option(*, default: Any, converter: Callable[..., Any]) -> Any:
    """Declare an option whose constructor takes more types than it keeps: those of `converter`'s first parameter. Only
    type checkers use the converter; when the program runs, the check itself turns sequences into tuples."""
    return default


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option, msgspec.field))
class ValidatedType(msgspec.StructMeta):
    """Check the arguments of the constructor. Decoders do not come here: they check by themselves, and what a log has
    must stay readable."""

    if not TYPE_CHECKING:  # a checker takes the constructor's types from the fields

        def __call__(cls, *args: Any, **given: Any) -> Any:  # noqa: N805
            names = cls.__match_args__
            if len(args) > len(names) or not given.keys().isdisjoint(names[: len(args)]):
                raise TypeError(f"{cls.__name__} takes {', '.join(names) or 'nothing'} by place, and each value once")
            return cls.of_values(cls.check({**dict(zip(names, args, strict=False)), **given}))


class Validated(msgspec.Struct, metaclass=ValidatedType, frozen=True):
    """Base of a definition, and of each part of one. Raises `WrongValue`."""

    @classmethod
    def check(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values to keep for those given. A scalar stays as it is, since its exact form counts for the
        version of a definition; a sequence becomes a tuple. Raises `WrongValue`."""
        try:
            right = msgspec.convert({name: value for name, value in given.items() if value is not msgspec.UNSET}, cls)
        except msgspec.ValidationError as error:
            field, what = explained(error)
            raise WrongValue(cls.label(given), _wrong(cls, given, field, what), field=field) from error
        return {name: _kept(value, getattr(right, name)) for name, value in given.items()}

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Self:
        """Make one of checked values."""
        return cast("Any", msgspec.StructMeta).__call__(cls, **values)

    @classmethod
    def label(cls, given: Mapping[str, Any]) -> str:
        """Return what errors call the definition."""
        return cls.__name__

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other values, checked like those of the constructor. Raises `WrongValue`."""
        return type(self)(**{**values_of(self), **changes})


def _kept(given: Any, converted: Any) -> Any:
    changes = isinstance(converted, tuple | dict | msgspec.Struct)
    return cast("Any", converted) if changes or given is msgspec.UNSET else given


def values_of(struct: Any) -> dict[str, Any]:
    """Return the values of a struct by name, each as it is."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def explained(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return the field that an error of a decoder is about, such as `limits.steps`, and what is wrong."""
    what, _, where = str(error).partition(" - at `$")
    return where.rstrip("`").removeprefix("."), what[:1].lower() + what[1:].replace("`", "")


def _wrong(cls: type[Validated], given: Mapping[str, Any], field: str, what: str) -> str:
    unknown = next((name for name in given if name not in cls.__struct_fields__), None)
    if unknown is not None:
        return f"there is no option {unknown!r}{did_you_mean(unknown, cls.__struct_fields__)}"
    place = f"{field}={given[field]!r}" if field in given else field
    if what.startswith("invalid enum value"):
        return f"{place} is none of {', '.join(map(repr, choices(cls, field)))}"
    return f"{place}: {what}" if place else what


def choices(cls: type, field: str) -> list[str]:
    """Return the words that an option of a struct, or each of its items, may be."""
    return list(_words(get_type_hints(cls)[field.partition("[")[0]]))


def _words(hint: Any) -> Iterator[str]:
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    else:
        for part in get_args(hint):
            yield from _words(part)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return the end of an error about an unknown name: the most similar known one, and all of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    listed = f"The known ones are {', '.join(known)}"
    return f"; did you mean {near[0]!r}? {listed}" if near else f". {listed}"
