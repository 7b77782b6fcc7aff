"""Each method of `client.beta` of both labs' libraries is answered: it works, or it is refused in the lab's own shape
with the reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from tests.server.conftest import Served

from roost import Agent
from roost.testing.scripted import Answer, ScriptedModel

_LOCAL = {
    "webhooks.parse_unverified",
    "webhooks.unwrap",
    "messages.tool_runner",
    "messages.thread",
    "agents.environments.files.prepare",
    "agents.environments.files.prepare_directory",
    "agents.sessions.artifacts.for_result",
    "realtime.connect",
    "responses.connect",
}
"""Work in the client, call other methods of the list, or need a WebSocket, which a test of its own asks for."""

_VALUES: dict[str, Any] = {
    "file": ("a", b"x"),
    "archive": ("a", b"x"),
    "files": [("a/SKILL.md", b"x")],
    "path": "/workspace/a",
    "messages": [{"role": "user", "content": "hello"}],
}
_MORE: dict[str, dict[str, Any]] = {
    "agents.automations.create": {"expression": "0 0 * * *", "timezone": "UTC"},
    "agents.environments.files.create": {"file_id": "none_0"},
}
"""What the types of a method's parameters do not tell."""

_NO_REASON = ("there is nothing at", "is a method here")


def _methods(resource: Any, path: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the methods of a resource and of those below it, each with its path."""
    kind = type(resource)
    for name in dir(kind):
        if name.startswith(("_", "with_")):
            continue
        found = inspect.getattr_static(kind, name)
        at = f"{path}.{name}" if path else name
        if inspect.isfunction(found):
            yield at, getattr(resource, name)
        elif (
            not isinstance(found, staticmethod | classmethod)
            and "resources" in type(getattr(resource, name)).__module__
        ):
            yield from _methods(getattr(resource, name), at)


def _given(path: str, method: Callable[..., Any]) -> dict[str, Any]:
    """Return something for each parameter that a method needs."""
    needed = [one for one in inspect.signature(method).parameters.values() if one.default is inspect.Parameter.empty]
    return {one.name: _value(one) for one in needed} | _MORE.get(path, {})


def _value(one: inspect.Parameter) -> Any:
    kind = str(one.annotation)
    if one.name in _VALUES:
        return _VALUES[one.name]
    if one.name.endswith("_id") or one.name in ("id", "version", "model"):
        return "none_0"
    for start, value in (("str", "x"), ("int", 1), ("bool", True), ("Iterable", []), ("Sequence", []), ("List", [])):
        if kind.startswith(start):
            return value
    return {} if "Param" in kind or "Dict" in kind else "x"


def _ask(path: str, method: Callable[..., Any]) -> None:
    """Call a method, and read what it returns."""
    found = method(**_given(path, method))
    if hasattr(found, "__enter__"):
        with found as stream:
            for _ in stream if hasattr(stream, "__iter__") else ():
                break


def _problems(
    beta: Any, errors: type[anthropic.APIStatusError] | type[openai.APIStatusError], reason: Callable[[Any], str]
) -> list[str]:
    wrong: list[str] = []
    for path, method in _methods(beta):
        if path in _LOCAL:
            continue
        try:
            _ask(path, method)
        except Exception as found:
            error = found if isinstance(found, errors) else found.__cause__
            why = reason(error.body) if isinstance(error, errors) and 400 <= error.status_code < 500 else ""
            if not why or any(one in why for one in _NO_REASON):
                wrong.append(f"{path}: {found!r}")
    return wrong


@pytest.fixture
def served(serve: Any) -> Served:
    model = ScriptedModel(lambda _: Answer(text="yes"))
    return serve(agents=[Agent("clerk", model=model)])


def test_each_method_of_anthropics_library_is_answered(served: Served) -> None:
    with anthropic.Anthropic(base_url=served.url, api_key=served.token, max_retries=0, timeout=60) as client:
        wrong = _problems(client.beta, anthropic.APIStatusError, lambda body: body["error"]["message"])
        assert not wrong, "\n".join(wrong)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_method_of_openais_library_is_answered(served: Served) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.token, max_retries=0, timeout=60) as client:
        wrong = _problems(client.beta, openai.APIStatusError, lambda body: body["message"])
        assert not wrong, "\n".join(wrong)
