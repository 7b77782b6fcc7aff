"""Names of tools, and globs over operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

from roost.agent.openapi_options import OpenApi
from roost.features.openapi.catalog import Operation
from roost.features.openapi.compile import digest_of

T = TypeVar("T")
_LONGEST = 64


def tool_name(api: str, operation: Operation) -> str:
    """Return the name of an operation's tool. It depends on the API's name and the operation alone, so it stays when
    others come or go."""
    name = f"{api}__{operation.id}"
    if len(name) <= _LONGEST:
        return name
    tail = digest_of(operation.method, operation.path)
    return f"{name[: _LONGEST - len(tail) - 1]}_{tail}"


def is_one_of(operation: Operation, globs: Iterable[str]) -> bool:
    """Whether a glob matches the operation: its name, its id in the document, `METHOD /path` or `tag:NAME`."""
    return any(_matches(operation, glob) for glob in globs)


def first_of(operation: Operation, table: Mapping[str, T]) -> T | None:
    """Return the value of the first glob that matches the operation."""
    return next((value for glob, value in table.items() if _matches(operation, glob)), None)


def offered(api: OpenApi, operations: Iterable[Operation]) -> list[Operation]:
    """Return the operations that the agent's option offers. Of several with one name of a tool, the first counts."""
    found: dict[str, Operation] = {}
    for one in operations:
        if is_one_of(one, api.operations) and not is_one_of(one, api.without):
            found.setdefault(tool_name(api.name, one), one)
    return [*found.values()]


def _matches(operation: Operation, glob: str) -> bool:
    if glob.startswith("tag:"):
        return any(fnmatchcase(tag, glob[4:]) for tag in operation.tags)
    return any(fnmatchcase(name, glob) for name in (operation.id, operation.original, operation.place) if name)
