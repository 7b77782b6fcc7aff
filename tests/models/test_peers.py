"""Our wires at servers that others wrote: aimock for four protocols, llama.cpp with a real model for three."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.log.content import AssistantMessage, Text, ToolCall, ToolMessage
from roost.models.http import HttpClient
from roost.models.http_model import HttpModel
from roost.models.request import CallDelta, Completed, TextDelta
from roost.models.wire import Endpoint
from roost.models.wires import wire
from roost.testing.matrix import Behaviour, Cell, Real, behaviours, subject, tried
from roost.testing.matrix.tools import TOOLS
from roost.testing.models import ask, run, user

AIMOCK = "1.43.0"
SMALL = "smollm2-135m"
LIVE = [one for one in behaviours() if one.live]
QUICK = ("text", "batch", "surrogates", "stop", "usage", "call_without_result", "abort")
"""What a real model is asked here: on a slow machine each of its answers takes a while."""
FIXTURES = {
    "fixtures": [
        {
            "match": {"userMessage": "use tools", "hasToolResult": False},
            "response": {
                "content": "Let me see.",
                "toolCalls": [
                    {"name": "look", "arguments": {"path": "ä/b"}},
                    {"name": "go", "arguments": {"path": "c"}},
                ],
            },
        },
        {"match": {"userMessage": "use tools", "hasToolResult": True}, "response": {"content": "All seen."}},
        {
            "match": {"userMessage": "too fast"},
            "response": {"error": {"message": "Rate limited", "type": "rate_limit_error"}, "status": 429},
        },
        {"match": {}, "response": {"content": "Grüße 😀 from elsewhere."}},
    ]
}


@contextlib.contextmanager
def started(command: list[str], listening: str) -> Iterator[list[str]]:
    """The process's words up to and with the line that matches; it is ended afterwards."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or not re.search(listening, lines[-1]):
                line = process.stdout.readline()
                assert line, f"{command} ended: {''.join(lines)}"
                lines.append(line)
            yield lines
        finally:
            process.kill()


@pytest.fixture(scope="module")
def aimock(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bare URL of a server that is installed once for this checkout."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None or pytestconfig.cache is None:
        pytest.skip("there is no npm to install aimock with")
    folder = pytestconfig.cache.mkdir(f"aimock-{AIMOCK}")
    program = folder / "node_modules" / ".bin" / "llmock"
    if not program.exists():
        wanted = ["install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            done = subprocess.run(
                [npm, *wanted, f"@copilotkit/aimock@{AIMOCK}"], capture_output=True, text=True, timeout=60
            )
        except subprocess.TimeoutExpired:
            pytest.skip("aimock could not be installed within a minute")
        if done.returncode:
            pytest.skip(f"aimock cannot be installed: {done.stderr.strip()[-300:]}")
    script = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    script.write_text(json.dumps(FIXTURES))
    with started([str(program), "-p", "0", "-f", str(script)], r"listening on") as lines:
        yield re.findall(r"http://\S+", lines[-1])[-1]


@pytest.fixture(scope="module")
def llama() -> Iterator[Real]:
    roost = str(Path(sys.executable).with_name("roost"))
    command = [roost, "serve-model", SMALL, "--port", "0", "--threads", "1", "--slots", "4", "--context", "2048"]
    with started(command, r"^key: ") as lines:
        served = next(line.split() for line in lines if line.startswith("serving "))
        yield Real(url=served[-1], model=served[1], key=lines[-1].split()[-1])


@pytest.mark.parametrize("behaviour", LIVE, ids=lambda one: one.name)
@pytest.mark.parametrize("kind", ["openai_chat", "openai_responses", "anthropic", "gemini"])
async def test_behaviours_at_aimock(kind: str, behaviour: object, aimock: str) -> None:
    cell = await tried(behaviour, subject(kind), [], Real(url=aimock, model="any", key="none"))  # type: ignore[arg-type]
    assert cell.verdict in ("ok", "skip"), cell.why


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["openai_chat", "openai_responses", "anthropic", "gemini"])
async def test_tools_at_aimock(kind: str, stream: bool, aimock: str, client: HttpClient) -> None:
    model = HttpModel(model="any", endpoint=Endpoint(base_url=aimock, key="none"), wire=wire(kind), client=client)
    asked = user("use tools")
    events, end = await run(model, ask(asked, tools=TOOLS, stream=stream))
    assert isinstance(end, Completed)
    calls = [part for part in end.parts if isinstance(part, ToolCall)]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("look", {"path": "ä/b"}),
        ("go", {"path": "c"}),
    ]
    assert end.stop == "tool_calls"
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Let me see."
    assert {event.index for event in events if isinstance(event, CallDelta)} == {0, 1}
    results = (ToolMessage(call.id, call.name, (Text("seen"),)) for call in calls)
    _, end = await run(model, ask(asked, AssistantMessage(end.parts), *results, tools=TOOLS, stream=stream))
    assert isinstance(end, Completed)
    assert [part for part in end.parts if isinstance(part, Text)] == [Text("All seen.")]
    _, end = await run(model, ask(user("too fast"), stream=stream))
    assert not isinstance(end, Completed)
    assert (end.error.code, end.error.retryable) == ("rate_limited", True)


@pytest.mark.local_model
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["openai_chat", "openai_responses", "anthropic"])
async def test_behaviours_at_llama(kind: str, llama: Real) -> None:
    cells = [await patiently(one, kind, llama) for one in LIVE if one.name in QUICK]
    assert {cell.behaviour: (cell.verdict, cell.why) for cell in cells} == dict.fromkeys(QUICK, ("ok", ""))


async def patiently(behaviour: Behaviour, kind: str, llama: Real) -> Cell:
    """So small a model now and then answers nothing at all; a wire that is wrong is wrong every time."""
    cell = await tried(behaviour, subject(kind), [], llama)
    for _ in range(4):
        if cell.verdict != "fail" or "code='empty'" not in cell.why:
            break
        cell = await tried(behaviour, subject(kind), [], llama)
    return cell
