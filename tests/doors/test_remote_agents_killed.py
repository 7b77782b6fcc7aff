"""A node that is killed while its agent asks a remote agent goes on with the same task. And one daemon asks
another, and agents of the official JavaScript library."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.doors.test_openai_killed import Node
from tests.kernel.a2a_server import Colleague, remote

from roost.agent.definition import Agent
from roost.agent.remote_agent_options import RemoteAgent
from roost.policy.rules import Rule
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Script
from roost.stub.script import Rule as When
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

httpx = pytest.importorskip("httpx")
CLIENTS = os.environ.get("ROOST_TEST_CLIENTS", "")
SCRIPT = Script(
    rules=(
        When(
            when="ask it", answers=(Reply(calls=(Call("ask_other", {"message": "slow one"}),)), Reply(text="{result}"))
        ),
    )
)
AGENT = """
from roost import Agent
from roost.agent.remote_agent_options import RemoteAgent
from roost.policy.rules import Rule

asker = Agent(
    "asker", model="openai/m", permissions="all", rules=[Rule(effect="allow", tool="ask_*")],
    remote_agents=[RemoteAgent(name="other", url={url!r}, private=[{host!r}])],
)
"""


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(120):
        while not check():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_a_task_is_asked_for_once_over_two_kills(tmp_path: Path, binding: str) -> None:
    """The first kill comes as the message arrives, so its task is not noted; the second while the call waits."""
    other = Colleague()
    async with remote(other, binding) as url:
        with ProviderServer(SCRIPT) as provider:
            node = await asyncio.to_thread(Asking, tmp_path, provider.url, url)
            try:
                other.on_message = node.kill
                headers = {"authorization": f"Bearer {node.token}"}
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{node.port}", headers=headers) as http:
                    await http.post("/sessions", json={"agent": "asker", "id": "s"})
                    await http.post("/sessions/s/messages", json={"text": "ask it"})
                    await until(lambda: other.heard and node.process.returncode is not None)
                    other.on_message = lambda: None
                    await asyncio.to_thread(node.up)
                    await until(lambda: "remote_agent.task" in kinds(node))
                    node.kill()
                    await asyncio.to_thread(node.up)
                    seen = len(other.tokens)
                    await until(lambda: len(other.tokens) > seen)
                    other.gate.set()
                    await until(lambda: "turn.completed" in kinds(node))
                log = node.get("/sessions/s/events?limit=500")["events"]
            finally:
                node.kill()
    assert other.heard == ["slow one"]
    assert [one["event"]["task"] for one in log if one["event"]["type"] == "remote_agent.task"] == other.tasks
    (done,) = [one["event"] for one in log if one["event"]["type"] == "tool.completed"]
    assert (done["outcome"], done["parts"][0]["text"]) == ("ok", "heard: slow one")


@pytest.mark.skipif(
    not (Path(CLIENTS) / "node_modules/@a2a-js/sdk").is_dir() or shutil.which("node") is None,
    reason="the JavaScript library of A2A is not in $ROOST_TEST_CLIENTS",
)
@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
def test_a_remote_agent_by_the_javascript_library(serve: Any, binding: str) -> None:
    command = ["node", str(Path(__file__).parent / "a2a_server.mjs"), binding]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        given = RemoteAgent(name="other", url=url, private=[urlsplit(url).netloc])
        steps = [Answer(calls=(Call("ask_other", {"message": text}),)) for text in ("hello", "again")]
        rules = [Rule(effect="allow", tool="ask_*")]
        model = ScriptedModel(by_step([*steps, Answer(text="end")]))
        served = serve(agents=[Agent("asker", model=model, remote_agents=[given], permissions="all", rules=rules)])
        session = served.session("asker")
        served.say(session, "go")
        done = [one["event"] for one in served.history(session) if one["event"]["type"] == "tool.completed"]
        assert [one["parts"][0]["text"] for one in done] == ["heard: hello", "heard: again"]
    finally:
        server.kill()
        server.communicate()


def kinds(node: Any) -> list[str]:
    return [one["event"]["type"] for one in node.get("/sessions/s/events?limit=500")["events"]]


class Asking(Node):
    """A daemon whose agent asks the remote agent at `remote`."""

    def __init__(self, folder: Path, provider: str, remote: str) -> None:
        self._remote = remote
        super().__init__(folder, provider)

    def up(self) -> None:
        text = AGENT.format(url=self._remote, host=urlsplit(self._remote).netloc)
        (self.folder / "agents.py").write_text(text)
        super().up()


def test_one_daemon_asks_another(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its token from the vault, and an approval there that the model here answers."""
    from tests.server.conftest import strike

    def there(request: Any) -> Answer:
        results = [part.text for m in request.messages if hasattr(m, "call") for part in m.parts]
        return Answer(text=results[0]) if results else Answer(calls=(Call("strike", {"what": "it"}),))

    striker = serve(agents=[Agent("striker", model=ScriptedModel(there), tools=[strike])])
    monkeypatch.setenv("STRIKER_KEY", striker.token)

    def here(request: Any) -> Answer:
        results = [part.text for m in request.messages if hasattr(m, "call") for part in m.parts]
        if not results:
            return Answer(calls=(Call("ask_striker", {"message": "Strike."}),))
        if "asks; answer" in results[-1]:
            task = results[-1].partition("task='")[2].partition("'")[0]
            return Answer(calls=(Call("ask_striker", {"message": "yes", "task": task}),))
        return Answer(text=results[-1])

    given = RemoteAgent(
        name="striker",
        url=f"{striker.url}/a2a/striker",
        private=[f"127.0.0.1:{striker.port}"],
        secret="STRIKER",
    )
    home = tmp_path / "asking"
    home.mkdir()
    (home / "policy.toml").write_text('[secrets.STRIKER]\nfrom = "env:STRIKER_KEY"\n')
    rules = [Rule(effect="allow", tool="ask_*")]
    agent = Agent("asker", model=ScriptedModel(here), remote_agents=[given], permissions="all", rules=rules)
    asking = serve(agents=[agent], home=home)
    session = asking.session("asker")
    asking.say(session, "go")
    done = [one["event"] for one in asking.history(session) if one["event"]["type"] == "tool.completed"]
    assert [one["outcome"] for one in done] == ["ok", "ok"]
    assert done[-1]["parts"][0]["text"] == "struck it"
