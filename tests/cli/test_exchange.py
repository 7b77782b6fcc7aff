"""`roost export` and `roost import`, with a daemon and without one."""

from __future__ import annotations

import json
import tarfile

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

    roost("up", "-d").ok()
    assert roost("import", "talk.jsonl").ok().out == first.out
    other = roost("import", "-", "--again", "--title", "again", "--json", stdin=file.read_text()).ok().json
    assert other["session"]["id"] != first.out.strip()
    assert other["session"]["title"] == "again"
    theirs = json.loads(file.read_text().splitlines()[0])
    theirs["labels"] = {"user": "ann"}
    (roost.work / "theirs.jsonl").write_text("\n".join([json.dumps(theirs), *file.read_text().splitlines()[1:], ""]))
    assert "whose memory it has" in roost("import", "theirs.jsonl").ok().err
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
    roost("up", "-d").ok()
    assert "2 files" in roost("export", id, "-o", str(out / "x.jsonl"), "--files", str(out / "x.tar")).ok().err
    with tarfile.open(out / "x.tar") as tar:
        assert sorted(tar.getnames()) == ["link", "note.txt"]
        tar.extractall(out / "there", filter="data")
    made = roost("import", str(out / "x.jsonl"), "-w", str(out / "there"), "--json").ok().json["session"]
    assert made["workspace"] == str(out / "there")
    roost("import", str(out / "x.jsonl"), "--as", "alone").ok()
    assert roost("export", "alone", "-o", str(out / "y"), "--files", str(out / "y.tar")).code == 1
    assert not (out / "y.tar").exists()


def test_wrong_files_are_told(roost: Machine) -> None:
    roost.home.mkdir(mode=0o700)
    (roost.work / "x.jsonl").write_text('{"type":"user","uuid":"u","message":{"content":"x"}}\nno\nmore\n')
    wrong = roost("import", "x.jsonl")
    assert (wrong.code, "line 2 is not a JSON object" in wrong.err) == (1, True)
    assert roost("import", "none.jsonl").code == 2
    assert roost("export").code == 1
    assert roost("export", "-o", "nowhere/x").code == 1
