"""Programs write to people as `send_message` does: by HTTP, by the client and by `roost bot send`."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from roost import SyncClient
from roost.features.bots.api import MessageFile
from roost.testing.telegram import TelegramServer


def test_a_program_writes_to_a_person(bot: Any, telegram: TelegramServer) -> None:
    served = bot(more='allow = ["7", "8"]\nunasked = 3\nstream = false')
    where = "/bots/pigeon/messages"
    assert served.post(where, {"text": "Too early"}).status == 404
    telegram.write("Hello")
    telegram.until(lambda: telegram.texts() == ["You said: Hello"])
    assert served.post(where, {"text": " "}).status == 422
    assert served.post(where, {"text": "x", "to": "pigeon/99"}).status == 404
    assert served.post(where, {"text": "x", "files": [{"name": "a", "data": "not base64"}]}).status == 422
    table = base64.b64encode(b"a,b\n").decode()
    given = {"text": "**Done**", "files": [{"name": "t.csv", "data": table}]}
    made = served.post(where, given, Idempotency_Key="backup-1")
    assert (made.status, made.json["state"], made.json["chat"], made.json["files"]) == (
        202, "waiting", "pigeon/7", ["t.csv"],
    )  # fmt: skip
    telegram.until(lambda: len(telegram.sent()) == 3)
    text, file = telegram.sent()[1:]
    assert (text.text, text.styled("bold")) == ("Done", ["Done"])
    assert file.file is not None
    assert (file.file.name, file.file.media_type, file.file.data) == ("t.csv", "text/csv", b"a,b\n")
    telegram.until(lambda: served.post(where, given, Idempotency_Key="backup-1").json["state"] == "sent")
    with SyncClient.at(served.url, token=served.token) as client:
        client.bots.send("pigeon", "By the client", to="7")
        client.bots.send("pigeon", files=[MessageFile(name="n.bin", data=table)])
    telegram.until(lambda: len(telegram.sent()) == 5)
    assert telegram.sent()[3].text == "By the client"
    over = served.post(where, {"text": "One more"})
    assert (over.status, over.json["code"]) == (429, "too_many_messages")
    telegram.write("Hello", user=8, name="Bob")
    telegram.until(lambda: telegram.texts(8))
    several = served.post(where, {"text": "To whom?"})
    assert several.status == 422
    assert "pigeon/7, pigeon/8" in several.json["detail"]
    assert len(telegram.sent()) == 5


def test_quiet_hours_hold_for_programs(bot: Any, telegram: TelegramServer, tmp_path: Path) -> None:
    served = bot(more='allow = ["7"]\nquiet = "00:00-23:59"')
    telegram.write("Hello")
    telegram.until(lambda: telegram.texts() == ["You said: Hello"])
    made = served.post("/bots/pigeon/messages", {"text": "At night"}).json
    assert made["due"] > made["made"]
    assert [one["text"] for one in served.get("/bots/pigeon/letters")["letters"]] == ["At night"]
    assert telegram.texts() == ["You said: Hello"]
