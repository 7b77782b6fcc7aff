"""The commands of the page about bots are run as they stand there."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from roost.features.bots.bots_file import bots_of
from roost.features.bots.commands import check_options
from roost.providers.toml_file import parsed
from roost.testing.telegram import TelegramServer
from tests.bots.conftest import POLICY
from tests.test_docs import blocks

PAGE = "docs/guides/bots.md"


def test_the_commands_of_the_page(bot: Any, telegram: TelegramServer, tmp_path: Path) -> None:
    served = bot(more="")
    telegram.write("Hello")
    telegram.until(lambda: telegram.texts())
    code = telegram.sent()[0].styled("code")[0].split()[-1]
    lines = [line for block in blocks("sh", PAGE) for line in block.splitlines()]
    assert len(lines) == 8
    before = (served.home / "bots.toml").read_text()
    (served.home / "bots.toml").write_text("")
    said = {}
    environment = {**os.environ, "ROOST_HOME": str(served.home)}
    for line in lines:
        if line == "roost up -d":
            (served.home / "bots.toml").write_text(before)  # with the double's address
            continue
        words = shlex.split(line.replace("CODE", code))
        command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (line, done.stderr)
        said[line] = done.stdout + done.stderr
    assert "Ada (7) may write" in said["roost bot pair pigeon CODE"]
    assert "paired" in said["roost bot senders pigeon"]
    assert "@roost_bot" in said["roost bot list"]
    assert "works" in said["roost bot list"]
    assert "Ada" in said["roost bot chats pigeon"]
    telegram.until(lambda: telegram.texts()[-1] == "The backup is done.")


def test_the_files_of_the_page() -> None:
    policy, rule, file, *others = blocks("toml", PAGE)
    for one in others:  # Slack, Discord, e-mail, webhooks
        for made in bots_of(parsed(Path("bots.toml"), one.encode(), 10_000)).values():
            check_options(made)
    assert 'tool = "send_message"' in rule
    assert policy == POLICY
    (found,) = bots_of(parsed(Path("bots.toml"), file.encode(), 10_000)).values()
    assert found.allows("123456789")


def test_the_double_of_the_page(capsys: Any) -> None:
    (program,) = blocks("python", PAGE)
    exec(program, {})
    assert "http://127.0.0.1:" in capsys.readouterr().out
