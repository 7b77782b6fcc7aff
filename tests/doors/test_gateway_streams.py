"""A stream of a gateway begins in time: clients give up on one whose model, or whose person, takes minutes."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from tests.doors.managed_support import TOML
from tests.doors.test_gateways_killed import GATEWAYS, text_of

from roost.doors import gateway
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply


@pytest.mark.parametrize("fails", [False, True], ids=["answers", "fails"])
@pytest.mark.parametrize("name", GATEWAYS)
def test_a_stream_begins_before_the_model_says_anything(
    name: str, fails: bool, serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONE_KEY", "k")
    monkeypatch.setattr(gateway, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(gateway, "PING_SECONDS", 0.2)
    asked, may_answer = threading.Event(), threading.Event()

    def answer(body: Any) -> Reply:
        asked.set()
        assert may_answer.wait(120)
        return Reply(fault=Fault(kind="status", times=0)) if fails else Reply(text="It took its time.")

    one, home = GATEWAYS[name], tmp_path / "home"
    home.mkdir()
    with ProviderServer(answer) as provider:
        (home / "models.toml").write_text(TOML.format(url=provider.url))
        served = serve(home=home)
        headers = {"authorization": f"Bearer {served.token}", **one.headers}
        try:
            with httpx2.stream("POST", served.url + one.path, json=one.body, headers=headers, timeout=60) as reply:
                assert asked.wait(60)
                assert reply.status_code == 200
                pieces = reply.iter_raw()
                heard = [next(pieces) for _ in range(3)]  # its beginning, and signs of life
                may_answer.set()
                heard += pieces
        finally:
            may_answer.set()
    whole = b"".join(heard).decode()
    found = [msgspec.json.decode(line[6:]) for line in whole.splitlines() if line.startswith("data: {")]
    assert "".join(text_of(event, one.text) for event in found) == ("" if fails else "It took its time.")
    assert bool(re.search(r'"error": ?\{', whole)) == fails
