"""A bot in a cluster: one node works for it, and another one takes over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from roost.agent.definition import Agent
from roost.testing.scripted import ScriptedModel
from roost.testing.telegram import TelegramServer
from tests.bots.conftest import echo, write_bot


def test_one_node_polls_and_the_other_takes_over(
    serve: Any, telegram: TelegramServer, tmp_path: Path, postgres: Any
) -> None:
    url = asyncio.run(postgres.database())
    nodes: list[Any] = []
    for name in ("one", "two"):
        home = tmp_path / name
        write_bot(home, telegram, "clerk")
        nodes.append(serve(agents=[Agent("clerk", model=ScriptedModel(echo))], home=home, store=url))
    said = [f"{number}" for number in range(6)]
    for text in said[:3]:
        telegram.write(text)
    telegram.until(lambda: telegram.texts() == [f"You said: {one}" for one in said[:3]])
    assert telegram.conflicts == 0, "one poller"
    title, node = (nodes[0].get("/bots")["bots"][0][key] for key in ("title", "node"))
    assert title == "@roost_bot"
    first = next(one for one in nodes if one.get("/health")["node"] == node)
    first.stop()
    for text in said[3:]:
        telegram.write(text)
    telegram.until(lambda: telegram.texts() == [f"You said: {one}" for one in said])
    assert telegram.conflicts == 0
    (left,) = [one for one in nodes if one is not first]
    assert left.get("/bots")["bots"][0]["node"] != node


def test_a_webhook_at_any_node(serve: Any, telegram: TelegramServer, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOOK_SECRET", "a-secret-of-the-webhook-1")
    home = tmp_path / "home"
    write_bot(home, telegram, "clerk")
    served = serve(agents=[Agent("clerk", model=ScriptedModel(echo))], home=home)
    file = (home / "bots.toml").read_text()
    (home / "policy.toml").write_text((home / "policy.toml").read_text() + '[secrets.hook]\nfrom = "env:HOOK_SECRET"\n')
    assert served.post("/reload").status == 200
    (home / "bots.toml").write_text(file + f'hook = "{served.url}"\nhook_secret = "{{{{secret:hook}}}}"\n')
    telegram.until(lambda: telegram.webhook is not None)
    telegram.write("Hello")
    telegram.until(lambda: telegram.texts() == ["You said: Hello"])
    wrong = served.request("POST", "/hooks/pigeon", {"update_id": 1})
    assert wrong.status == 403
    assert served.request("POST", "/hooks/nobody", {"update_id": 1}).status == 404
