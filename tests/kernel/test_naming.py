"""What sessions and checkpoints may be called, whoever names them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from roost.errors import Invalid
from roost.kernel.labels import TITLE

from .support import agent, running

UNFIT = ["a\nb", "\x1b[31mred\x07", "nul\0", "half\ud800", "\u200b", " ", "\x9b31m", "a\u2028b", "a\u202eb", "x" * 2000]


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("name", UNFIT, ids=ascii)
async def test_what_no_terminal_is_to_show(tmp_path: Path, name: str) -> None:
    async with running(tmp_path, agent(["yes"])) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        sessions = runtime.sessions
        checkpoints = runtime.checkpoints
        for code, refused in (
            ("bad_title", sessions.create("a", title=name)),
            ("bad_title", checkpoints.fork(session.id, title=name)),
            ("bad_label", checkpoints.make(session.id, name)),
        ):
            with pytest.raises(Invalid, match="one line") as told:
                await refused
            assert told.value.code == code
        for labels in {name: "x"}, {"x": name}:
            if name.isspace() or name == "\u200b":
                continue  # a program's value may be anything that breaks no line
            for refused in sessions.create("a", labels=labels), checkpoints.fork(session.id, labels=labels):
                with pytest.raises(Invalid, match="one line") as told:
                    await refused
                assert told.value.code == "bad_label"


async def test_what_may_be(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["yes"])) as runtime:
        title, labels = "Zürich 🙂 שלום" + "x" * (TITLE - 14), {"a b": "", "ü": "a/b:c"}
        made = await runtime.sessions.create("a", title=title, labels=labels)
        assert (made.title, made.labels) == (title, labels)
        for label in "a/b", "..", "7", "١":
            with pytest.raises(Invalid):
                await runtime.checkpoints.make(made.id, label)
        for label in "release 1.0", "ü\u200dx", "x" * 200:
            assert (await runtime.checkpoints.make(made.id, label)).label == label


async def test_what_a_file_brings(tmp_path: Path) -> None:
    """Its title is folded into one line: who has the file is not who named it. Its labels are data."""
    async with running(tmp_path, agent(["yes"])) as runtime:
        session = await runtime.session("a", title="talk", labels={"team": "x"})
        await session.ask("go")
        file = tmp_path / "talk.jsonl"
        await runtime.exchange.write(session.id, file)
        lines = file.read_bytes().splitlines(keepends=True)
        header = msgspec.json.decode(lines[0])

        async def bring(**changed: object) -> str | None:
            file.write_bytes(msgspec.json.encode(header | changed) + b"\n" + b"".join(lines[1:]))
            return (await runtime.exchange.read(file)).session.title

        assert await bring(title="\x1b[31mre\nd " + "x" * 5000) == ("[31mre d " + "x" * 5000)[:TITLE]
        assert await bring(title="\u2028") is None
        for labels in {"a:b": "x"}, {"a\n": "x"}, {"a": "\x1b"}, {"": "x"}, {str(n): "x" for n in range(65)}:
            with pytest.raises(Invalid) as told:
                await bring(labels=labels)
            assert told.value.code == "bad_label"
