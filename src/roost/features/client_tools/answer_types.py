"""Answers as objects of Python: the schema that the model gets, the check of what it says, and its repair."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

import msgspec

from roost.errors import RoostError
from roost.features.client_tools.state import ANSWER

T = TypeVar("T")
_REPAIRS = 2
"""How often the model may correct an answer that does not fit."""
_SHOWN = 2000


class AnswerInvalid(RoostError):
    """The model's answers do not fit the type that was asked for. `text`: the last one."""

    code, status = "answer_invalid", 502

    def __init__(self, text: str, why: str) -> None:
        self.text = text
        super().__init__(f"the model's answer does not fit: {why}; it is in `.text` of this error")


class AnswerType(Generic[T]):
    """A class with fields: a pydantic model, a dataclass, a `TypedDict`, a `msgspec.Struct`. Raises `TypeError` for
    another type."""

    def __init__(self, kind: type[T]) -> None:
        self._kind: Any = kind
        self._pydantic = hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate_json")
        try:
            made: dict[str, Any] = self._kind.model_json_schema() if self._pydantic else _schema(kind)
        except TypeError as error:
            raise TypeError(f"answer={kind!r}: {error}") from None
        if made.get("type") != "object":
            raise TypeError(f"answer={kind!r}: give a class with fields, such as a dataclass or a pydantic model")
        self.note = {ANSWER: made}
        """What a message that asks for such an answer has as its note: the schema counts for its turn alone, also
        when the program ends before the answer."""

    def read(self, text: str) -> T:
        """Raises `ValueError`, which says what is wrong."""
        begin, end = text.find("{"), text.rfind("}")  # a model may put a fence around it
        body = text[begin : end + 1] if 0 <= begin < end else text
        if self._pydantic:
            return cast("T", self._kind.model_validate_json(body))
        return cast("T", msgspec.json.decode(body.encode(), type=self._kind))


def _schema(kind: Any) -> dict[str, Any]:
    """Return the schema of a type that msgspec knows, with the type itself at its root."""
    made = msgspec.json.schema(kind)
    defs: dict[str, Any] = made.get("$defs", {})
    name = str(made.get("$ref", "")).removeprefix("#/$defs/")
    if name not in defs:
        return made
    rest = {other: shape for other, shape in defs.items() if other != name or _names_itself(defs, name)}
    return {**defs[name], **({"$defs": rest} if rest else {})}


def _names_itself(defs: dict[str, Any], name: str) -> bool:
    return f'"#/$defs/{name}"'.encode() in msgspec.json.encode(defs)


async def ask_for(kind: AnswerType[T], ask: Callable[[str | None], Awaitable[str]]) -> T:
    """Ask for an answer of this type. ask: sends a text, or with None the message itself, each with `kind.note`, and
    returns the answer. Raises `AnswerInvalid` after two corrections, and what `ask` raises."""
    text = await ask(None)
    for left in reversed(range(_REPAIRS + 1)):
        try:
            return kind.read(text)
        except ValueError as error:
            why = str(error)[:_SHOWN]
            if not left:
                raise AnswerInvalid(text, why) from error
        text = await ask(f"Your answer does not fit: {why}\nAnswer again, with JSON that fits and nothing else.")
    raise AssertionError
