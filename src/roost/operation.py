"""One operation of the API as a typed method. The server, the OpenAPI document and the clients are made from it.

An interface is a Protocol whose methods carry `GET`, `POST`, `PUT`, `PATCH` or `DELETE`:

    class PinsApi(Protocol):
        @PUT("/sessions/{session}/pins/{key}", 202, body="PinBody", errors=(404,))
        async def pin(self, session: str, key: str, text: Text) -> AcceptedInput:
            '''Keep a text word for word.'''
            ...

Parameters named in the path are its parts. The others are the query of GET and DELETE, and else the fields of a JSON
body. The docstring's first line is the summary in the document. A final `_` of a parameter's name is not on the wire.
An interface imports no module that costs time: names in its module's `LATER` are imported when a type is asked for.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin

if TYPE_CHECKING:
    from roost.authority import Right

F = TypeVar("F", bound=Callable[..., Any])
Place: TypeAlias = Literal["path", "query", "body", "whole", "content", "key", "wait"]
Adopts: TypeAlias = Literal["never", "always", "idle", "control"]
C = TypeVar("C")
REQUIRED: Any = object()


class Parameter(NamedTuple):
    """A parameter of an operation. `wire`: its name in the request. `place`: where it is: `whole` is the JSON body as
    one struct, `content` a body of bytes, `key` the Idempotency-Key, `wait` the seconds of `Prefer: wait`."""

    name: str
    wire: str
    place: Place
    default: Any


class Download(NamedTuple, Generic[C]):
    """An answer that is a file of `size` bytes and a media type `kind`. `report`: what the header `Roost-Report` says.
    `chunks` is an asynchronous iterator, in a blocking client a plain one. Call `done` after the last, or to leave."""

    report: Any
    size: int
    kind: str
    chunks: C
    done: Callable[[], None] = lambda: None


class Variant(NamedTuple):
    """A path of an operation. `fixed`: the parameters that the path has decided."""

    path: str
    summary: str
    fixed: Mapping[str, str]


class Operation:
    """A row of the API.

    answers: the statuses of success. With several and a union as return type, each status has its own type.
    status: chooses one of `answers` by the result and the arguments; by default the first.
    body: the name of the body's struct in the document, or the parameter that is the whole body.
    bodiless: a request without a body counts as one with `{}`.
    query: parameters of the query though the method has a body.
    errors: statuses of problems beyond those that every operation has.
    keyed: takes an Idempotency-Key, in the parameter `key` or of this name.
    repeatable: a client may send it again when the connection broke, as it does when it is GET, PUT, DELETE or keyed.
    streams: sends events when asked to, with a further query parameter `deltas`.
    open: needs no token.
    right: what the caller must be allowed to do. Without one, only the owner may call it.
    texts: media types of responses that are not JSON. content: media type of a body that is not JSON.
    most: most bytes of the body; None is the server's usual limit.
    location: the answer's attribute with the id of the new session, for the header `Location`.
    shown: the answer's type in the document, where it says more than the return type.
    adopts: which session a node without a daemon claims before the operation: an `idle` one, any (`always`), or by the
        rule for orders (`control`).
    each: summaries by value of the last path part: the document has a path for each value.
    slow: the answer may take minutes, for which a client waits.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        method: str,
        path: str,
        answers: int | tuple[int, ...] = 200,
        *,
        status: Callable[[Any, Mapping[str, Any]], int] | None = None,
        body: str = "",
        bodiless: bool = False,
        query: tuple[str, ...] = (),
        errors: tuple[int, ...] = (),
        keyed: bool | str = False,
        repeatable: bool = False,
        streams: bool = False,
        open: bool = False,
        right: Right | None = None,
        texts: tuple[str, ...] = (),
        content: str | None = None,
        most: int | None = None,
        location: str | None = None,
        shown: str = "",
        adopts: Adopts = "never",
        each: Mapping[str, str] | None = None,
        slow: bool = False,
    ) -> None:
        self.function, self.name = function, function.__name__
        self.method, self.path = method, path
        self.answers = answers if isinstance(answers, tuple) else (answers,)
        self._status = status
        self.body, self.bodiless, self.query = body, bodiless, query
        self.errors, self.streams, self.open = errors, streams, open
        self.right: Right | None = right
        self.keyed = "key" if keyed is True else keyed or None
        self.repeatable = repeatable or bool(keyed) or method in ("GET", "PUT", "DELETE")
        self.texts, self.content, self.most = texts, content, most
        self.location, self.shown, self.adopts = location, shown, adopts
        self.each, self.slow = each or {}, slow

    def status(self, result: Any, given: Mapping[str, Any]) -> int:
        """Return the status of a result. `given`: the arguments."""
        return self.answers[0] if self._status is None else self._status(result, given)

    @property
    def summary(self) -> str:
        return (self.function.__doc__ or "").partition("\n")[0].removesuffix(".")

    @property
    def description(self) -> str:
        return " ".join((self.function.__doc__ or "").partition("\n")[2].split())

    def documented(self, status: int) -> Any:
        """Return the type of the answer as the document shows it."""
        return self.evaluate(self.shown) if self.shown else self.answer(status)

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The names in the path."""
        return tuple(re.findall(r"{(\w+)(?::\w+)?}", self.path))

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        code = self.function.__code__
        positional = code.co_varnames[1 : code.co_argcount]  # without `self`
        keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        values = self.function.__defaults__ or ()
        defaults = dict(zip(positional[len(positional) - len(values) :], values, strict=True))
        defaults |= self.function.__kwdefaults__ or {}
        return tuple(
            Parameter(name, name.removesuffix("_"), self._place(name), defaults.get(name, REQUIRED))
            for name in (*positional, *keywords)
        )

    def _place(self, name: str) -> Place:
        if name in self.parts:
            return "path"
        if name == "content" and self.content is not None:
            return "content"
        if name == self.keyed:
            return "key"
        if name == "wait":
            return "wait"
        if name == self.body:
            return "whole"
        return "query" if self.method in ("GET", "DELETE") or name in self.query else "body"

    def placed(self, place: Place) -> list[Parameter]:
        return [one for one in self.parameters if one.place == place]

    def hint(self, name: str) -> Any:
        """Return the type of a parameter, or of the result (`return`)."""
        return self.evaluate(self.function.__annotations__[name])

    def evaluate(self, text: str) -> Any:
        scope = vars(sys.modules[self.function.__module__])
        return eval(text, scope, _Later(scope.get("LATER", {})))  # an annotation of the interface

    def answer(self, status: int) -> Any:
        """Return the type of the answer with a status; None for no body."""
        found = self.hint("return")
        if len(self.answers) > 1 and get_origin(found) in (Union, types.UnionType):
            return get_args(found)[self.answers.index(status)]
        return found

    def variants(self) -> list[Variant]:
        """Return the paths of the operation: one, or one for each value of `each`."""
        if not self.each:
            return [Variant(self.path, self.summary, {})]
        part = self.parts[-1]
        return [Variant(self.path.replace(f"{{{part}}}", one), text, {part: one}) for one, text in self.each.items()]


class _Later(dict[str, Any]):
    """Names of types that are imported at their first use."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules

    def __missing__(self, name: str) -> Any:
        from importlib import import_module

        return getattr(import_module(self._modules[name]), name)


def _marked(method: str) -> Callable[..., Callable[[F], F]]:
    def operation(path: str, answers: int | tuple[int, ...] = 200, **options: Any) -> Callable[[F], F]:
        def mark(function: F) -> F:
            function.operation = Operation(function, method, path, answers, **options)  # pyright: ignore
            return function

        return mark

    return operation


GET, POST, PUT, PATCH, DELETE = map(_marked, ("GET", "POST", "PUT", "PATCH", "DELETE"))


def operations(interface: type) -> list[Operation]:
    """Return the operations of an interface, in the order of its methods."""
    return [one.operation for one in vars(interface).values() if hasattr(one, "operation")]


def interface_of(service: type) -> type:
    """Return the interface that a class implements. Raises `TypeError` when it implements none."""
    for one in service.__mro__:
        if operations(one):
            return one
    raise TypeError(f"{service.__name__} implements no interface with operations")
