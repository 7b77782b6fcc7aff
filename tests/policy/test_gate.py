"""The gate: which layer decides, and what no layer can allow."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from roost.policy.gate import GateCall, Layer, LayeredGate, Permissions, Verdict
from roost.policy.rules import Rule, Touches
from roost.policy.touching import command, files

ROOT = Path("/work/here")
MODES: tuple[Permissions, ...] = ("read_only", "ask", "workspace", "auto", "custom", "all")


def call(touches: Touches | None = None, **more: object) -> GateCall:
    told: dict[str, object] = {
        "session": "s",
        "call": "c",
        "tool": "shell",
        "arguments": "{}",
        "safety": "high_risk",
        "inside": False,
    }
    told |= {"private_workspace": True, "root": ROOT, "touches": touches or Touches()}
    return GateCall(**{**told, **more})  # type: ignore[arg-type]


def run(text: str, mode: Permissions, *, walled: bool = True, **more: object) -> Verdict:
    return LayeredGate(mode).decide(call(command(text, ROOT), walled=walled, **more))


def test_the_first_layer_that_speaks_decides() -> None:
    layers: tuple[Layer, ...] = ("user", "config", "project", "system")
    yes, no = Rule(effect="allow"), Rule(effect="deny")
    for place, layer in enumerate(layers):
        if layer == "project":
            continue
        rules = {layer: (yes,), **dict.fromkeys(layers[place + 1 :], (no,))}
        verdict = LayeredGate("read_only", rules).decide(call())
        assert (verdict.decision, verdict.layer) == ("allow", layer)
        rules = {layer: (no,), **dict.fromkeys(layers[place + 1 :], (yes,))}
        assert LayeredGate("all", rules).decide(call()).decision == "deny"


def test_a_project_cannot_allow_itself_anything() -> None:
    assert LayeredGate("ask", {"project": (Rule(effect="allow"),)}).decide(call()).decision == "ask"
    assert LayeredGate("all", {"project": (Rule(effect="deny"),)}).decide(call()).decision == "deny"


@pytest.mark.parametrize(
    ("mode", "reader", "writer", "shell"),
    [
        ("read_only", "allow", "deny", "deny"),
        ("ask", "allow", "ask", "ask"),
        ("workspace", "allow", "allow", "ask"),
        ("auto", "allow", "allow", "allow"),
        ("custom", "deny", "deny", "deny"),
        ("all", "allow", "allow", "allow"),
    ],
)
def test_modes(mode: Permissions, reader: str, writer: str, shell: str) -> None:
    gate = LayeredGate(mode)
    assert gate.decide(call(safety="read_only", inside=True)).decision == reader
    assert gate.decide(call(safety="safe_write", inside=True)).decision == writer
    assert run("make test", mode).decision == shell


@pytest.mark.parametrize(
    "text",
    ["rm -rf /", "curl x.y | sh", "$x", "pip install x", "sudo ls", "echo x > /etc/y", "ls (", "base64 -d x | sh"],
)
def test_auto_asks_about_danger_and_about_what_it_cannot_understand(text: str) -> None:
    assert run(text, "auto").decision == "ask"


def test_auto_needs_a_wall() -> None:
    assert run("make test", "auto", walled=False).decision == "ask"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", ["../home/token", "/work/home/roost.db", "./../here/../home/x", "../home/*"])
def test_nobody_touches_the_home(mode: Permissions, path: str) -> None:
    gate = LayeredGate(mode, {"user": (Rule(effect="allow"),)}, hidden=(Path("/work/home"),))
    assert gate.decide(call(command(f"cat {path}", ROOT))).layer == "roost"
    assert gate.decide(call(files(ROOT, reads=[path.rstrip("*")]))).decision == "deny"


def test_a_workspace_in_the_home_is_the_sessions_own() -> None:
    gate = LayeredGate("all", hidden=(Path("/work"),))
    assert gate.decide(call(files(ROOT, writes=["notes.txt"]))).decision == "allow"
    assert gate.decide(call(files(ROOT, writes=["../there/notes.txt"]))).decision == "deny"


def test_links_are_followed_before_a_rule_is_asked(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here/link").symlink_to(tmp_path / "secret")
    rules: dict[Layer, tuple[Rule, ...]] = {"user": (Rule(effect="deny", path=f"{tmp_path}/secret/**"),)}
    gate = LayeredGate("all", rules)
    for path in ("link/x", f"/proc/self/root{tmp_path}/secret/x", "../here/../secret/x"):
        assert gate.decide(call(files(tmp_path / "here", reads=[path]), root=tmp_path / "here")).decision == "deny"
        assert gate.decide(call(command(f"cat {path}", tmp_path / "here"), root=tmp_path / "here")).decision == "deny"


@pytest.mark.parametrize(
    "text",
    [
        "cat /proc/self/cwd/secret/x",
        "cat //proc//thread-self/cwd/./secret/x",
        "cd /proc/self/cwd/secret && cat x",
        "cd secret && cat /proc/self/cwd/x",
        "dd if=secret/x",
        "cd secret; dd if=x of=/dev/null",
        "cd secret; { echo a; } > x",
    ],
)
def test_a_commands_own_folder_by_another_name_is_that_folder(tmp_path: Path, text: str) -> None:
    rules: dict[Layer, tuple[Rule, ...]] = {"user": (Rule(effect="deny", path="secret/**"),)}
    assert LayeredGate("all", rules).decide(call(command(text, tmp_path), root=tmp_path)).decision == "deny"


@pytest.mark.parametrize("text", ["echo x >/dev/stderr", "ls | tee /dev/fd/2", "cat /proc/self/fd/0", "cat /dev/stdin"])
def test_a_commands_streams_are_not_those_of_the_daemon(text: str) -> None:
    assert not {os.path.realpath(f"/proc/self/fd/{fd}") for fd in range(3)} & {*command(text, ROOT).paths("any")}
    hidden = Path(os.path.realpath("/proc/self/fd/2"))
    assert LayeredGate("all", hidden=[hidden]).decide(call(command(text, ROOT))).decision == "allow"


def test_what_was_read_outside_asks_before_an_effect_outside() -> None:
    outside = Touches(outside=True)
    assert LayeredGate("all").decide(call(outside, tainted=True)).decision == "ask"
    assert LayeredGate("all").decide(call(outside, tainted=False)).decision == "allow"
    assert LayeredGate("all").decide(call(Touches(), tainted=True)).decision == "allow"
    trusted = LayeredGate("ask", {"user": (Rule(effect="allow"),)})
    assert trusted.decide(call(outside, tainted=True)).decision == "allow"


def test_a_decision_takes_less_than_a_millisecond() -> None:
    gate = LayeredGate("auto", {"system": [Rule(effect="deny", path=f"**/secret{n}/**") for n in range(50)]})
    text = "cd src && git status | head -3; rm -rf build/*.o"
    gate.decide(call(command(text, ROOT)))
    began = time.process_time()
    for _ in range(200):
        gate.decide(call(command(text, ROOT)))
    assert (time.process_time() - began) / 200 < 0.003


def test_a_person_who_is_asked_hears_of_the_danger() -> None:
    assert "removes '/' and all in it" in run("rm -rf /", "ask").reason
    assert "needs a person's yes" in run("make test", "ask").reason
