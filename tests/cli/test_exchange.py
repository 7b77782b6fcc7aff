"""`roost export` and `roost import`, with a daemon and without one."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import IO

import pytest

from roost.cli.atomic_file import write_whole

from .conftest import Machine


def test_without_a_daemon_and_with_one(roost: Machine) -> None:
    roost("run", "hello").ok()
    out = roost("export").ok()
    assert json.loads(out.out.splitlines()[0])["roost"] == "session"
    file = roost.work / "talk.jsonl"
    roost("export", "-o", "talk.jsonl").ok()
    assert file.read_text().splitlines()[1:] == out.out.splitlines()[1:]
    assert [path.name for path in roost.work.iterdir()] == ["talk.jsonl"]
    first = roost("import", "talk.jsonl").ok()
    again = roost("import", "talk.jsonl").ok()
    assert (again.out, "imported before" in again.err) == (first.out, True)
    other = roost("import", "talk.jsonl", "--title", "mine")
    assert (other.code, "and not 'mine'" in other.err, "--again" in other.err) == (1, True, True)

    roost.up()
    assert roost("import", "talk.jsonl").ok().out == first.out
    other = roost("import", "-", "--again", "--title", "again", "--json", stdin=file.read_text()).ok().json
    assert other["session"]["id"] != first.out.strip()
    assert other["session"]["title"] == "again"
    theirs = json.loads(file.read_text().splitlines()[0])
    theirs["labels"] = {"user": "ann"}
    (roost.work / "theirs.jsonl").write_text("\n".join([json.dumps(theirs), *file.read_text().splitlines()[1:], ""]))
    assert "whose memory the session has" in roost("import", "theirs.jsonl").ok().err
    named = roost("import", "theirs.jsonl", "--again", "--user", "bob", "--json").ok().json
    assert (named["session"]["labels"], named["report"]["left_out"]) == ({"user": "bob"}, {})
    roost("import", "talk.jsonl", "--as", "mine", "--agent", "assistant").ok()
    assert "You said: more" in roost("send", "mine", "more", "--wait").out + roost("show", "mine").out
    taken = roost("import", "talk.jsonl", "--as", first.out.strip())
    assert (taken.code, "error:" in taken.err) == (1, True)

    log = roost("export", "mine", "--format", "claude-code").ok()
    assert "left out, as claude-code cannot say it: " in log.err
    (roost.work / "claude.jsonl").write_text(log.out)
    back = roost("import", "claude.jsonl").ok()
    assert "of claude-code, agent assistant" in back.err
    assert "hello" in roost("export", back.out.strip(), "-f", "transcript").ok().out


def test_files_go_beside_it(roost: Machine) -> None:
    (roost.work / "note.txt").write_text("kept")
    (roost.work / "link").symlink_to("note.txt")
    id = roost("run", "hello", "--json").ok().json["session"]
    out = roost.work.parent / "out"
    out.mkdir()
    roost.up()
    assert "2 files" in roost("export", id, "-o", str(out / "x.jsonl"), "--files", str(out / "x.tar")).ok().err
    with tarfile.open(out / "x.tar") as tar:
        assert sorted(tar.getnames()) == ["link", "note.txt"]
        tar.extractall(out / "there", filter="data")
    made = roost("import", str(out / "x.jsonl"), "-w", str(out / "there"), "--json").ok().json["session"]
    assert made["workspace"] == str(out / "there")
    roost("import", str(out / "x.jsonl"), "--as", "alone").ok()
    assert roost("export", "alone", "-o", str(out / "y"), "--files", str(out / "y.tar")).code == 1
    assert not (out / "y.tar").exists()


def test_an_export_takes_the_place_of_a_file_as_it_is(roost: Machine) -> None:
    roost("run", "hello", "-q").ok()
    whole = roost("export").ok().out.splitlines()[1:]
    out = roost.work.parent / "out"
    out.mkdir()
    (out / ("x" * 250)).write_text("old")
    (out / ("x" * 250)).chmod(0o640)
    (out / "link").symlink_to("x" * 250)
    roost("export", "-o", str(out / "link")).ok()
    assert (out / "link").is_symlink()
    assert (out / ("x" * 250)).read_text().splitlines()[1:] == whole
    roost("export", "-o", str(out / "new")).ok()
    assert {path.name: path.stat().st_mode & 0o777 for path in out.iterdir()} == {
        "x" * 250: 0o640, "link": 0o640, "new": 0o600
    }  # fmt: skip
    for place in ("-", "/dev/stdout", "/dev/fd/1"):
        assert roost("export", "-o", place).ok().out.splitlines()[1:] == whole
        assert not (roost.work / "-").exists()
    assert roost("export", "-o", "/dev/null").ok().out == ""
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    refused = roost("export", "-o", "/sys/x")
    assert (refused.code, "no file can be made in /sys: " in refused.err) == (1, True)
    same = roost("export", "-o", "x", "--files", "x")
    assert (same.code, "give two" in same.err) == (2, True)
    os.mkfifo(out / "pipe")
    with subprocess.Popen(["cat", str(out / "pipe")], stdout=subprocess.PIPE, text=True) as reader:
        roost("export", "-o", str(out / "pipe")).ok()
        assert reader.communicate(timeout=60)[0].splitlines()[1:] == whole


def test_of_who_is_killed_while_they_write_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_WRONLY))
    except (AttributeError, OSError):
        pytest.skip("this file system has no files without a name")
    writes = "import sys, time; from pathlib import Path; from roost.cli.atomic_file import write_whole;"
    holds = "lambda out: (out.write(b'new'), out.flush(), print('begun', flush=True), time.sleep(60))"
    for number in (signal.SIGKILL, signal.SIGTERM):
        command = [sys.executable, "-c", f"{writes} write_whole(Path(sys.argv[1]), {holds})", str(tmp_path / "x")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            process.send_signal(number)
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "old")]


def test_what_is_not_written_to_its_end_takes_no_place(tmp_path: Path) -> None:
    def broken(out: IO[bytes]) -> None:
        out.write(b"half")
        raise ConnectionError("gone")

    for name in ("new", "old"):
        (tmp_path / "old").write_text("old")
        with pytest.raises(ConnectionError):
            write_whole(tmp_path / name, broken)
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old", "old")]


def test_wrong_files_are_told(roost: Machine) -> None:
    roost.home.mkdir(mode=0o700)
    (roost.work / "x.jsonl").write_text('{"type":"user","uuid":"u","message":{"content":"x"}}\nno\nmore\n')
    wrong = roost("import", "x.jsonl")
    assert (wrong.code, "line 2 is not JSON from character 1 on: 'no'. Expected is one JSON object" in wrong.err) == (
        1,
        True,
    )
    assert roost("import", "none.jsonl").code == 2
    assert roost("export").code == 1
    assert roost("export", "-o", "nowhere/x").code == 1
