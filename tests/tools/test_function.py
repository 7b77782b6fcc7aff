"""`@tool`: the schema, the arguments, the results."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from roost.errors import ConfigError
from roost.log.content import Image, Text
from roost.tools.base import Tool, ToolContext, ToolResult
from roost.tools.function import tool
from roost.tools.run_tool import run_tool


def _text(parts: tuple[Any, ...]) -> str:
    return "".join(part.text for part in parts)


class Point(msgspec.Struct):
    x: int
    y: int = 0


def test_the_schema_is_the_signature() -> None:
    @tool
    async def search(
        query: Annotated[str, "what to look for"],
        ctx: ToolContext,
        limit: Annotated[int, msgspec.Meta(ge=1, le=9)] = 3,
        kind: Literal["a", "b"] = "a",
        tags: list[str] | None = None,
    ) -> str:
        """Search things.

        In two lines."""
        return query

    assert search.name == "search"
    assert search.description == "Search things.\n\nIn two lines."
    assert search.schema == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "what to look for"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
            "kind": {"enum": ["a", "b"], "default": "a"},
            "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}], "default": None},
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    assert (search.replay, search.safety, search.inside, search.timeout) == ("never", "high_risk", False, 120.0)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"safety": "readonly"}, "tool 'add': safety='readonly' is none of 'read_only', 'safe_write'"),
        ({"replay": "always"}, "tool 'add': replay='always' is none of 'safe', 'never', 'ask'"),
        ({"name": "add up"}, "'add up' cannot name a tool"),
        ({"reach": "path"}, r"tool 'add': reach='path' is wrong; .* reach=reads_at\('path'\)"),
        ({"timeout": "10"}, "tool 'add': timeout='10' is wrong; it must be a number of seconds above 0"),
        ({"timeout": 0}, "tool 'add': timeout=0 is wrong"),
        ({"secrets": "GITHUB"}, r"tool 'add': secrets='GITHUB' is wrong; write secrets=\['GITHUB'\]"),
    ],
)
def test_a_wrong_option_raises_where_it_is_written(option: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):

        @tool(**option)
        def add(a: int, b: int) -> int:
            """Add."""
            return a + b


def test_a_name_without_its_option_says_how_to_give_it() -> None:
    with pytest.raises(ConfigError, match=r"write @tool\(name='wc'\)"):
        tool("wc")  # pyright: ignore


@pytest.mark.parametrize("description", [None, " "])
def test_a_tool_that_nothing_describes_is_refused(description: str | None) -> None:
    with pytest.raises(ConfigError, match=r"tool 'add' has no description.*: write a docstring, or description="):

        @tool(description=description)
        def add(a: int, b: int) -> int:
            return a + b


def _unannotated(context) -> None:
    pass


def _of_a_path(path: Path | None) -> None:
    pass


def _of_an_optional_context(context: ToolContext | None) -> None:
    pass


def _of_a_wrong_default(path: str = 3) -> None:  # pyright: ignore
    pass


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_unannotated, "parameter 'context' has no annotation; write for example 'context: ToolContext'"),
        (_of_a_path, "parameter 'path': a model sends text; write 'path: str', then context.workspace.resolve"),
        (_of_an_optional_context, "parameter 'context': write 'context: ToolContext'; every call gets its context"),
        (_of_a_wrong_default, "parameter 'path': the default 3 does not fit its annotation: Expected `str`, got `int`"),
    ],
)
def test_a_wrong_signature_names_the_parameter_and_the_fix(function: Any, says: str) -> None:
    with pytest.raises(TypeError, match=re.escape(says)):
        tool(function)


async def test_a_plain_function_that_returns_a_coroutine_says_to_await_it(ctx: ToolContext) -> None:
    async def count() -> int:
        return 5

    @tool
    def wc() -> Any:
        """Wc."""
        return count()

    outcome, parts = await run_tool(wc, ctx, "{}")
    assert (outcome, "write `async def` and `await` what it calls" in _text(parts)) == ("error", True)


def test_options() -> None:
    @tool(name="plus", description="Adds.", replay="safe", safety="read_only", inside=True, timeout=5)
    def add(a: int, b: int) -> int:
        return a + b

    assert isinstance(add, Tool)
    assert (add.name, add.description, add.replay, add.safety, add.inside, add.timeout) == (
        "plus",
        "Adds.",
        "safe",
        "read_only",
        True,
        5,
    )
    assert add.spec.schema is add.schema


async def test_nested_types_and_local_names(ctx: ToolContext) -> None:
    class Size(msgspec.Struct):
        width: int

    @tool
    async def move(to: Point, size: Size, path: list[Point]) -> str:
        """Move."""
        return f"{to.x},{to.y} {size.width} {len(path)}"

    assert set(move.schema["$defs"]) == {"Point", "Size"}
    assert move.schema["properties"]["to"] == {"$ref": "#/$defs/Point"}
    outcome, parts = await run_tool(move, ctx, '{"to": {"x": 1}, "size": {"width": 2}, "path": [{"x": 1}]}')
    assert (outcome, _text(parts)) == ("ok", "1,0 2 1")


async def test_defaults_are_not_shared(ctx: ToolContext) -> None:
    @tool
    async def collect(item: str, into: list[str] = ["first"]) -> list[str]:  # noqa: B006
        """Collect."""
        into.append(item)
        return into

    for _ in range(2):
        assert _text((await run_tool(collect, ctx, '{"item": "x"}'))[1]) == '["first","x"]'


async def test_the_context_is_injected_wherever_it_stands(ctx: ToolContext) -> None:
    @tool
    def who(place: ToolContext, name: str) -> str:
        """Who."""
        return f"{place.session} {name} {threading.current_thread() is threading.main_thread()}"

    assert list(who.schema["properties"]) == ["name"]
    assert _text((await run_tool(who, ctx, '{"name": "n"}'))[1]) == "ses_test n False"


async def test_arguments_are_made_fit_where_that_is_safe(ctx: ToolContext) -> None:
    @tool
    async def take(count: int, flag: bool, ratio: float) -> str:
        """Take."""
        return f"{count!r} {flag!r} {ratio!r}"

    outcome, parts = await run_tool(take, ctx, '{"count": "3", "flag": "true", "ratio": 1}')
    assert (outcome, _text(parts)) == ("ok", "3 True 1.0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"count": "many"}', ["count", "int", "str"]),
        ('{"count": 1.5}', ["count", "int"]),
        ("{}", ["missing argument", "count"]),
        ('{"count": 1, "cuont": 2}', ["cuont", "no argument", "count (required), label (optional)"]),
        ('{"count": 99}', ["count", "<= 10"]),
        ('{"count": 1, "label": 5}', ["label", "str", "int"]),
    ],
)
async def test_wrong_arguments_name_the_field_and_the_type(ctx: ToolContext, arguments: str, words: list[str]) -> None:
    ran: list[int] = []

    @tool(name="counter")
    async def function(count: Annotated[int, msgspec.Meta(le=10)], label: str = "") -> None:
        """Function."""
        ran.append(count)

    outcome, parts = await run_tool(function, ctx, arguments)
    assert outcome == "error"
    assert "'counter'" in _text(parts)
    for word in words:
        assert word in _text(parts)
    assert not ran


class Custom:
    pass


def test_signatures_that_a_model_cannot_call() -> None:
    def unannotated(a, b: int): ...
    def star(*args: int) -> None: ...
    def stars(**kwargs: int) -> None: ...
    def positional(a: int, /) -> None: ...
    def custom(a: Custom) -> None: ...
    def unknown(a: NoSuchName) -> None: ...  # noqa: F821  # pyright: ignore

    for function, words in [
        (unannotated, ["unannotated", "'a'", "a: str"]),
        (star, ["star", "*args"]),
        (stars, ["stars", "**kwargs"]),
        (positional, ["positional", "'a'", "'/'"]),
        (custom, ["custom", "JSON"]),
        (unknown, ["unknown", "NoSuchName"]),
    ]:
        with pytest.raises(TypeError) as caught:
            tool(function)
        for word in words:
            assert word in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (None, "(no output)"),
        ("", "(no output)"),
        (b"by\xfftes", "by\ufffdtes"),
        ({"a": [1, None, True]}, '{"a":[1,null,true]}'),
        (Point(1, 2), '{"x":1,"y":2}'),
        (0, "0"),
        (ToolResult.of("as it is"), "as it is"),
    ],
)
async def test_results(ctx: ToolContext, value: Any, expected: str) -> None:
    @tool
    async def give() -> Any:
        """Give."""
        return value

    assert await run_tool(give, ctx, "{}") == ("ok", (Text(expected),))


async def test_results_with_an_image_and_an_error_flag(ctx: ToolContext) -> None:
    @tool
    def give() -> ToolResult:
        """Give."""
        return ToolResult((Image("image/png", "AAAA"),), error=True)

    assert await run_tool(give, ctx, "") == ("error", (Image("image/png", "AAAA"),))
