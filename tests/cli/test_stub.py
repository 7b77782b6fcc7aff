"""`roost stub`: the scripted provider as a command."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .conftest import Machine


@contextmanager
def stub(roost: Machine, *args: str) -> Iterator[tuple[str, str]]:
    """(the base URL, all that it said)."""
    process = roost.start("stub", "--port", "0", *args)
    try:
        assert process.stdout is not None
        said = ""
        while "counts:" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        url = re.match(r"listening on (\S+)\n", said)
        assert url is not None
        yield url[1], said
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode in (0, 130, -signal.SIGINT)


def test_the_example_runs_and_the_variables_lead_to_it(roost: Machine) -> None:
    (roost.work / "script.json").write_text(roost("stub", "--example").ok().out)
    with stub(roost, "--script", "script.json", "--key", "k") as (url, said):
        env = dict(pair.split("=", 1) for line in re.findall(r"export (.*)", said) for pair in line.split())
        assert set(env) >= {"OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"}
        for model in ("openai/scripted", "anthropic/scripted", "google/scripted"):
            answer = roost("run", "--model", model, "good morning", env=env).ok()
            assert "You said: good morning" in answer.out
        refused = roost("run", "--model", "openai/scripted", "hi", env=env | {"OPENAI_API_KEY": "other"})
        assert refused.code != 0
        with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as response:
            counts = json.load(response)
        assert counts["violations"] == 0
        assert counts["served"]["scripted"]["input"] >= 300


def test_one_protocol_alone(roost: Machine) -> None:
    with stub(roost, "--wire", "anthropic") as (url, said):
        assert "openai" not in said.lower()
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(urllib.request.Request(url + "/chat/completions", b"{}"))
        assert error.value.code == 404
        error.value.close()


def test_what_is_wrong_is_said(roost: Machine) -> None:
    (roost.work / "bad.json").write_text('{"rules": [{"answers": [{"txt": 1}]}]}')
    bad = roost("stub", "--script", "bad.json")
    assert (bad.code, "$.rules[0].answers[0]" in bad.err) == (2, True)
    assert "bad.json" in bad.err
    assert "--example" in bad.err
    endless = roost("stub", "--script", "/dev/zero")
    assert (endless.code, "are read" in endless.err) == (2, True)
    missing = roost("stub", "--script", "none.json")
    assert (missing.code, "none.json" in missing.err) == (2, True)
    wrong = roost("stub", "--wire", "telegraph")
    assert (wrong.code, "openai_chat" in wrong.err) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = roost("stub", "--port", str(taken.getsockname()[1]))
    assert (busy.code, "--port" in busy.err) == (1, True)
    assert os.strerror(98) in busy.err or "in use" in busy.err
