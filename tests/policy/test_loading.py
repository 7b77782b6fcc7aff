"""policy.toml: what it may hold, what is wrong with it and where, and the rules that come with Roost."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from tests.yardstick import reference_seconds

from roost.errors import ConfigError
from roost.policy.gate import GateCall, Layer, LayeredGate, Permissions
from roost.policy.loading import load_policy, load_project
from roost.policy.rules import Rule, Touches
from roost.policy.system_rules import system_rules
from roost.policy.touched_paths import command, files
from roost.sandbox.choose import BACKENDS, Settings, default_backends
from roost.sandbox.sandbox_host import plain_egress

WHOLE = """
[[rules]]
effect = "deny"
path = "~/.ssh/**"
reason = "keys"

[[rules]]
effect = "allow"
tool = "shell"
command = "git"

[[hooks]]
on = ["pre_tool", "post_tool"]
command = ["./check", "--fast"]
tool = "shell"
seconds = 2

[[guardrails]]
on = ["input"]
name = "words"
pattern = "(?i)password"

[[guardrails]]
on = ["input", "output"]
max_length = 100

[approvals]
seconds = 3600

[classifier]
model = "openai/gpt-5-nano"

[secrets.GITHUB]
from = "env:GITHUB_TOKEN"
hosts = ["api.github.com"]

[sandbox]
backends = ["gvisor", "bwrap"]
emulate = true
kernel = "/opt/kernel"
"""


HOOK = "[[hooks]]\non = ['pre_tool']\ncommand = ['x']\n"


def test_everything_that_a_policy_may_hold(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(WHOLE)
    policy = load_policy(tmp_path / "policy.toml")
    assert [rule.effect for rule in policy.rules] == ["deny", "allow"]
    assert policy.sandbox == Settings(backends=("gvisor", "bwrap"), emulate=True, kernel="/opt/kernel")
    assert [(hook.name, hook.on, hook.tool, hook.seconds) for hook in policy.hooks] == [
        ("check", ("pre_tool", "post_tool"), "shell", 2.0)
    ]
    assert [guard.name for guard in policy.guardrails] == ["words", "guardrail 2"]
    assert policy.approvals.seconds == 3600
    assert policy.classifier is not None
    assert policy.secrets["GITHUB"].hosts == ("api.github.com",)


def test_each_hook_has_a_name_of_its_own(tmp_path: Path) -> None:
    commands = {
        '["sh", "-c", "grep -q rm"]': "grep -q rm",
        '["sh", "-c", "exit 1"]': "exit 1",
        '["sh", "-ec", "exit 1"]': "exit 1 (3)",
        '["sh", "./a/check.sh"]': "check.sh",
        '["python3", "-I", "check.py", "x"]': "check.py (5)",
        '["./check.py"]': "check.py (6)",
        '["env"]': "env",
        '["x"]\nname = "check.py"': "check.py",
        f'["bash", "-c", "{"y" * 90}"]': "y" * 37 + "...",
    }
    said = "".join(f'[[hooks]]\non = ["pre_tool"]\ncommand = {command}\n' for command in commands)
    (tmp_path / "policy.toml").write_text(said)
    names = [hook.name for hook in load_policy(tmp_path / "policy.toml").hooks]
    assert names == list(commands.values())


def test_the_known_backends_are_those_that_come_with_roost() -> None:
    assert {backend.name for backend in default_backends(plain_egress)} == set(BACKENDS)


def test_a_link_that_leads_nowhere_is_not_no_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").symlink_to(tmp_path / "unmounted/policy.toml")
    with pytest.raises(ConfigError, match="leads nowhere"):
        load_policy(tmp_path / "policy.toml")


def test_no_file_is_no_policy(tmp_path: Path) -> None:
    assert load_policy(tmp_path / "policy.toml").rules == ()
    assert load_project(tmp_path, tmp_path / "home") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[rules]]\neffect = 'deny'\n[[rules]]\neffect = 'forbid'", "policy.toml:4: rules.2.effect: invalid enum"),
        ("[[rules]]\neffect = 'deny'\n\n[[rules]]\neffect = 'ask'\npaht = 'x'", "policy.toml:6: rules.2.paht: unknown"),
        ("[[rules]]\neffect = 'deny'\npath = '[[['", None),
        ("[[rules]]\neffect = 'deny'\npath = '../x'", "policy.toml:1: rules.1: the rule's path '../x'"),
        ("\n[[rules]]\ntool = 'x'", "policy.toml:2: rules.1: object missing required field effect"),
        ("[[rules]]\neffect = 'deny'\ncommand = 'category:destroy'", "rules.1: there is no category 'destroy'"),
        ("rules = 3", "policy.toml:1: rules: must be a list of tables, as in [[rules]]"),
        ("[rulez]", "unknown field; did you mean 'rules'?"),
        ("[[rules]", "policy.toml:1: not valid TOML"),
        ("[[hooks]]\non = ['before']\ncommand = ['x']", "policy.toml:2: hooks.1.on"),
        ("[[guardrails]]\non = ['input']", "give either a pattern or a max_length"),
        ("[[guardrails]]\non = ['input']\npattern = '('", "policy.toml:3: guardrails.1.pattern: not a regular"),
        ("[secrets.A]\nfrom = 'sk-the-key-itself'", "does not say where the value is"),
        ("[secrets.'a b']\nfrom = 'env:X'", "letters, digits"),
        ("[approvals]\nseconds = 'soon'", "policy.toml:2: approvals.seconds: expected"),
        ("[approvals]\nseconds = -1", "policy.toml:2: approvals.seconds: expected float > 0"),
        ("[approvals]\nseconds = inf", "policy.toml:2: approvals.seconds: expected float <= "),
        ("[classifier]\nmodel = 'm'\nseconds = 0", "policy.toml:3: classifier.seconds: expected float > 0"),
        ("[[hooks]]\non = ['pre_tool']\ncommand = []", "policy.toml:3: hooks.1.command: expected array of length >= 1"),
        ("[[hooks]]\non = ['pre_tool']\ncommand = ['']", "policy.toml:3: hooks.1.command: expected str of length >= 1"),
        ("[[hooks]]\non = []\ncommand = ['x']", "policy.toml:2: hooks.1.on: expected array of length >= 1"),
        (f"{HOOK}seconds = -5", "policy.toml:4: hooks.1.seconds: expected float > 0"),
        (f"{HOOK}seconds = 0", "policy.toml:4: hooks.1.seconds: expected float > 0"),
        (f"{HOOK}seconds = nan", "policy.toml:4: hooks.1.seconds: expected float > 0"),
        (f"{HOOK}seconds = inf", "policy.toml:4: hooks.1.seconds: expected float <= 3600"),
        (f"{HOOK}name = 'a'\n{HOOK}name = 'a'", "hooks: two have the same name"),
        ("[[guardrails]]\non = []\npattern = 'x'", "policy.toml:2: guardrails.1.on: expected array of length >= 1"),
        (
            "[[guardrails]]\non = ['input']\nmax_length = -3",
            "policy.toml:3: guardrails.1.max_length: expected int >= 1",
        ),
        (
            "[sandbox]\nbackends = ['nope']",
            "policy.toml:2: sandbox.backends: there is no backend 'nope'; there are bwrap",
        ),
        ("x" * 300_000, "at most 256 KB"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, said: str | None) -> None:
    (tmp_path / "policy.toml").write_text(text)
    if said is None:
        load_policy(tmp_path / "policy.toml")
        return
    with pytest.raises(ConfigError) as told:
        load_policy(tmp_path / "policy.toml")
    assert said in told.value.message
    assert "sk-the-key" not in told.value.message


@pytest.mark.parametrize("text", ["[[rules]", "[[rules]]\neffect = 'allow'", "[secrets.A]\nfrom = 'env:X'", "\xff"])
def test_a_project_policy_that_is_wrong_asks_about_everything(tmp_path: Path, text: str) -> None:
    (tmp_path / ".roost").mkdir()
    (tmp_path / ".roost" / "policy.toml").write_bytes(text.encode("latin-1"))
    (rule,) = load_project(tmp_path, tmp_path / "home")
    assert (rule.effect, rule.tool) == ("ask", "*")
    assert "cannot be used" in rule.reason
    assert load_project(tmp_path, tmp_path / ".roost") == ()  # then it is the user's own


def test_a_project_policy_that_is_no_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / ".roost").mkdir()
    os.mkfifo(tmp_path / ".roost" / "policy.toml")
    (rule,) = load_project(tmp_path, tmp_path / "home")
    assert rule.effect == "ask"
    assert "is not a file" in rule.reason


def judged(
    touches: Touches,
    mode: Permissions = "all",
    *,
    tool: str = "write_file",
    rules: tuple[Rule, ...] = (),
    **more: object,
) -> str:
    gate = LayeredGate(mode, {"user": rules, "system": system_rules()})
    told: dict[str, object] = {"session": "s", "call": "c", "tool": tool, "arguments": "{}", "safety": "safe_write"}
    told |= {"inside": False, "private_workspace": True, "root": Path("/work/here"), "touches": touches}
    verdict = gate.decide(GateCall(**{**told, **more}))  # type: ignore[arg-type]
    return f"{verdict.decision} {verdict.layer}"


HERE = Path("/work/here")
HOME = os.path.expanduser("~")


@pytest.mark.parametrize(
    ("touches", "said"),
    [
        (files(HERE, reads=["~/.ssh/id_ed25519"]), "deny system"),
        (files(HERE, reads=[f"{HOME}/.ssh"]), "deny system"),
        (files(HERE, reads=[f"{HOME}/x/../.aws/credentials"]), "deny system"),
        (files(HERE, reads=["/usr/../etc/shadow"]), "deny system"),
        (files(HERE, reads=["/proc/self/root/etc/shadow"]), "deny system"),
        (files(HERE, reads=["/proc/self/environ"]), "deny system"),
        (files(HERE, reads=["/proc/1/task/1/environ"]), "deny system"),
        (files(HERE, reads=[".env"]), "ask system"),
        (files(HERE, reads=["a/b/../.env"]), "ask system"),
        (files(HERE, reads=["../elsewhere/.env"]), "ask system"),
        (files(HERE, reads=["sub/.env.production"]), "ask system"),
        (files(HERE, writes=[".git/hooks/post-checkout"]), "ask system"),
        (files(HERE, writes=["vendor/x/.git/config"]), "ask system"),
        (files(HERE, writes=[".roost/policy.toml"]), "ask system"),
        (files(HERE, writes=["x/../.roost/agents/evil.md"]), "ask system"),
        (files(HERE, writes=["~/.bashrc"]), "ask system"),
        (files(HERE, writes=["/etc/cron.d/x"]), "ask system"),
        (command("cat ~/.ssh/id_rsa", HERE), "deny system"),
        (command("echo x >> .git/hooks/pre-commit", HERE), "ask system"),
        (command("cp evil .roost/policy.toml", HERE), "ask system"),
        (files(HERE, reads=["environment.md", ".envrc", ".gitignore"]), "allow level"),
        (files(HERE, reads=[".git/config"]), "allow level"),
        (files(HERE, writes=["notes/env"]), "allow level"),
    ],
)
def test_what_nobody_may_touch_unasked_even_where_everything_is_allowed(touches: Touches, said: str) -> None:
    assert judged(touches) == said


def test_a_workspace_in_the_home_of_roost_is_like_any_other() -> None:
    root = Path(HOME) / ".roost" / "workspaces" / "s"
    assert judged(files(root, writes=["a"]), root=root) == "allow level"
    assert judged(files(root, writes=[".roost/policy.toml"]), root=root) == "ask system"


def test_of_a_relative_path_the_workspace_is_the_root() -> None:
    rules = (Rule(effect="deny", path="**/keep"),)
    assert judged(files(HERE, writes=["a/keep"]), rules=rules) == "deny user"
    assert judged(files(HERE, writes=["../keep"]), rules=rules) == "allow level"
    assert judged(files(HERE, writes=["../keep"]), rules=(Rule(effect="deny", path="/**/keep"),)) == "deny user"


def test_a_path_is_what_it_leads_to(tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / "keep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    denied = (Rule(effect="deny", path=f"{tmp_path}/link/keep/**"), Rule(effect="deny", path="/etc/passwd"))
    for path in (f"{real}/keep/a", f"{tmp_path}/link/keep/a", f"{tmp_path}/link/../real/keep"):
        assert judged(files(tmp_path, reads=[path]), rules=denied) == "deny user"
    for path in ("/usr/../etc/passwd", "/proc/self/root/etc/passwd", "/etc/./passwd", "//etc/passwd"):
        assert judged(files(tmp_path, reads=[path]), rules=denied) == "deny user"
    (tmp_path / "innocent").symlink_to("/etc/passwd")
    assert judged(files(tmp_path, reads=["innocent"]), rules=denied) == "deny user"
    assert judged(files(tmp_path, reads=[f"{real}/other"]), rules=denied) == "allow level"


@pytest.mark.parametrize(
    "text",
    [
        "rm -r -f /", "rm -fr /*", "rm -r /home", "find / -delete",
        "tar cf x --checkpoint=1 --checkpoint-action=exec=sh y",
        "python3 -c 'import os'", "pip install x", "curl x | sh",
    ],
)  # fmt: skip
def test_accepting_edits_never_runs_code(text: str) -> None:
    for mode in ("workspace", "ask", "auto"):
        for walled in (False, True):
            touches = command(text, HERE)
            assert judged(touches, mode, tool="shell", safety="high_risk", walled=walled).startswith("ask")
    assert judged(command(text, HERE), "read_only", tool="shell", safety="high_risk").startswith("deny")


def test_asking_never_loosens_a_denial_below() -> None:
    asks: dict[Layer, tuple[Rule, ...]] = {"project": (Rule(effect="ask"),), "system": system_rules()}
    plain = GateCall(
        session="s", call="c", tool="x", arguments="", safety="safe_write", inside=False, private_workspace=True,
        root=HERE, touches=files(HERE, writes=["a"]),
    )  # fmt: skip
    call = msgspec.structs.replace(plain, touches=files(HERE, reads=["~/.ssh/id_rsa"]))
    assert LayeredGate("all", asks).decide(call).decision == "deny"
    assert LayeredGate("all", asks).decide(plain).decision == "ask"
    assert LayeredGate("read_only", asks).decide(plain).decision == "deny"


def test_a_decision_is_quick() -> None:
    gate = LayeredGate("auto", {"system": system_rules()})
    call = GateCall(
        session="s", call="c", tool="shell", arguments="{}", safety="high_risk", inside=False, private_workspace=True,
        root=HERE, walled=True, touches=command("cd src && make test | tee out.txt; git status", HERE),
    )  # fmt: skip
    gate.decide(call)
    assert reference_seconds(lambda: [gate.decide(call) for _ in range(50)]) / 50 < 0.3e-3


def test_a_decision_is_quick_in_many_workspaces() -> None:
    gate = LayeredGate("all", {"system": system_rules()})
    calls = [
        GateCall(
            session="s", call="c", tool="x", arguments="", safety="safe_write", inside=False, private_workspace=True,
            root=Path(f"/work/{n}"), touches=Touches(writes=(f"/work/{n}/a",)),
        )
        for n in range(300)
    ]  # fmt: skip
    for call in calls:
        gate.decide(call)
    assert reference_seconds(lambda: [gate.decide(call) for call in calls]) / len(calls) < 0.3e-3


def test_a_command_made_to_be_slow_is_not() -> None:
    for text in ("ls " + "{a," * 20_000, "ls " + "{" * 60_000, "sed -n 's/" + r"\a" * 40 + "'"):
        assert reference_seconds(lambda text=text: command(text, HERE), tries=1) < 3
