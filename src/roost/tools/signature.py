"""Read a function's signature: a type to validate a model's arguments with, and a schema for the model."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, cast, get_args, get_origin, get_type_hints

import msgspec

from roost.tools.base import ToolContext

_MUTABLE = (list, dict, set, bytearray)


class Signature(NamedTuple):
    """`arguments`: struct that arguments are converted to. `context`: name of the parameter for the context."""

    arguments: type[msgspec.Struct]
    fields: tuple[str, ...]
    context: str | None
    schema: dict[str, Any]

    def explain(self, tool: str, error: msgspec.ValidationError) -> str:
        """Return the error for the model, with the arguments that the tool takes."""
        said = str(error)
        what, at, place = said.rpartition(" - at `$")  # a regular expression would take quadratic time
        what, place = (what, place.removeprefix(".").removesuffix("`")) if at else (said, "")
        what = what.replace("Object missing required field", "missing argument")
        what = what.replace("Object contains unknown field", "there is no argument")
        where = f"argument `{place}`: " if place else ""
        required = self.schema.get("required", ())
        takes = ", ".join(f"{name} ({'required' if name in required else 'optional'})" for name in self.fields)
        return f"Wrong arguments for {tool!r}: {where}{what}. It takes: {takes or 'no arguments'}."


def read_signature(function: Callable[..., Any], names: Mapping[str, Any]) -> Signature:
    """Read a signature. `names`: local names where the function is defined. Raises `TypeError` naming the parameter and
    the fix."""
    label = function.__name__
    hints = _hints(function, label, names)
    context: str | None = None
    fields: list[tuple[str, Any, Any]] = []
    for parameter in inspect.signature(function).parameters.values():
        _check(label, parameter, hints)
        annotation = hints[parameter.name]
        _check_type(label, parameter, annotation)
        if annotation is ToolContext:
            context = parameter.name
        else:
            fields.append((parameter.name, _described(annotation), _default(parameter)))
    try:
        arguments = msgspec.defstruct(label, fields, kw_only=True, forbid_unknown_fields=True)
        schema = _schema(arguments)
    except (TypeError, NameError) as error:
        raise TypeError(f"tool {label!r}: {error}; use types that JSON can hold") from error
    return Signature(arguments, tuple(name for name, _, _ in fields), context, schema)


def _hints(function: Callable[..., Any], label: str, names: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, localns=dict(names), include_extras=True)
    except NameError as error:
        raise TypeError(f"tool {label!r}: an annotation cannot be resolved ({error}); import that name") from error


def _check(label: str, parameter: inspect.Parameter, hints: dict[str, Any]) -> None:
    name = parameter.name
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise TypeError(f"tool {label!r}: a model cannot pass {str(parameter)!r}; name each parameter")
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise TypeError(f"tool {label!r}: parameter {name!r} is positional-only; remove the '/' from the signature")
    if name not in hints:
        wanted = "ToolContext" if name in ("context", "ctx") else "str"
        raise TypeError(f"tool {label!r}: parameter {name!r} has no annotation; write for example '{name}: {wanted}'")


def _check_type(label: str, parameter: inspect.Parameter, annotation: Any) -> None:
    name, where = parameter.name, f"tool {label!r}: parameter {parameter.name!r}"
    inner = set(_types_in(annotation))
    if ToolContext in inner and annotation is not ToolContext:
        raise TypeError(f"{where}: write '{name}: ToolContext'; every call gets its context")
    if any(isinstance(kind, type) and issubclass(kind, PurePath) for kind in inner):
        raise TypeError(f"{where}: a model sends text; write '{name}: str', then context.workspace.resolve({name})")
    if annotation is ToolContext or parameter.default is inspect.Parameter.empty:
        return
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    try:
        msgspec.convert(msgspec.to_builtins(parameter.default), bare)
    except msgspec.ValidationError as error:
        raise TypeError(f"{where}: the default {parameter.default!r} does not fit its annotation: {error}") from None
    except (TypeError, NameError):  # a type that JSON cannot hold, which the schema reports
        return


def _types_in(annotation: Any) -> Iterator[Any]:
    yield from (
        each for part in get_args(annotation) if get_origin(annotation) is not Literal for each in _types_in(part)
    )
    if not get_args(annotation):
        yield annotation


def _described(annotation: Any) -> Any:
    """Turn plain text in `Annotated` into the description."""
    if get_origin(annotation) is not Annotated:
        return annotation
    base, *extras = get_args(annotation)
    for extra in extras:
        base = Annotated[base, msgspec.Meta(description=extra) if isinstance(extra, str) else extra]
    return base


def _default(parameter: inspect.Parameter) -> Any:
    default: Any = parameter.default
    if default is inspect.Parameter.empty:
        return msgspec.NODEFAULT
    if isinstance(default, _MUTABLE):
        return msgspec.field(default_factory=lambda: copy.deepcopy(cast("Any", default)))
    return default


def _schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    schema = msgspec.json.schema(arguments)
    definitions = schema.pop("$defs")
    root = definitions.pop(schema["$ref"].rpartition("/")[2])
    root.pop("title", None)
    return {**root, "$defs": definitions} if definitions else root
