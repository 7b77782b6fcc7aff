"""An agent is one frozen definition. A wrong value raises where it is written; a copy keeps its Python parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.agent.agent_files import load_agents
from roost.agent.definition import Agent, AgentSpec, Children, Limits, PythonParts, decode_spec, encode_spec
from roost.agent.options import Compaction, Stall
from roost.errors import ConfigError
from roost.memory.rights import Memory
from roost.policy.guardrails import LengthGuard
from roost.policy.hooks import Moment, PythonHook
from roost.policy.rules import Rule
from roost.sandbox.backend import Bounds
from roost.sandbox.choose import Isolation
from roost.testing.scripted import ScriptedModel
from roost.tools.base import Tool
from roost.tools.function import tool
from roost.validated import Validated, WrongValue


@tool
def double(n: int) -> str:
    """Double a number."""
    return str(2 * n)


def no(moment: Moment) -> bool:
    return False


HOOK, GUARD = PythonHook(no, on=["pre_tool"]), LengthGuard(1000, name="short")
MODEL = ScriptedModel(["yes"], name="own")


def test_a_definition_says_what_to_hash_instead() -> None:
    for definition in (Agent("a"), Agent("a").spec):
        with pytest.raises(TypeError, match=r"agent 'a' cannot be hashed; use its name, or `agent.version`"):
            hash(definition)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "two words"}, "'two words' cannot name an agent"),
    ({"permissions": "everything"}, "permissions='everything' is none of 'read_only', 'ask'"),
    ({"tools": "grep"}, "tools='grep': expected a list"),
    ({"tools": [3]}, "3 is no tool"),
    ({"tools": [len]}, "<built-in function len> is no tool; give the name of a built-in one, or a function"),
    (
        {"tools": [msgspec.structs.replace(double, name="grep")]},
        r"test_definition.double has the name of the built-in tool 'grep'; give it another with @tool\(name=…\)",
    ),
    ({"tools": [double, msgspec.structs.replace(double, timeout=5.0)]}, "two tools have the name 'double'"),
    ({"tools": ["gerp"]}, "unknown tool 'gerp'; did you mean 'grep'"),
    ({"hooks": [no]}, r"hooks: .* has no name, on, judge"),
    ({"guardrails": HOOK}, "guardrails=.*: expected a list"),
    ({"guardrails": [HOOK]}, "guardrails: .* has no check"),
    ({"model": 3}, "model: 3 has no name, stream"),
    ({"max_output": "many"}, r"max_output='many': expected int \| null, got str"),
    ({"temperature": True}, "temperature=True: expected float"),
    ({"limits": None}, "limits=None: expected object, got null"),
    ({"limits": {"steps": "x"}}, r"limits\.steps: expected int"),
    ({"rules": [3]}, r"rules\[0\]: expected object, got int"),
    ({"environment": ["clok"]}, r"environment\[0\] is none of 'clock', 'files'"),
    ({"instruction": "x"}, "there is no option 'instruction'; did you mean 'instructions'"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_a_wrong_value_raises_where_it_is_written(given: dict[str, Any], message: str) -> None:
    for write in (lambda: Agent(**{"name": "a", **given}), lambda: Agent("a").replace(**given)):
        with pytest.raises(ConfigError, match=message):
            write()


PARTS: list[tuple[Callable[[], object], str]] = [
    (lambda: Limits(steps="x"), "Limits: steps='x': expected int"),  # type: ignore[arg-type]
    (lambda: Limits(step=3), "did you mean 'steps'"),  # type: ignore[call-arg]
    (lambda: Children(agents="all"), "agents='all': expected array"),
    (lambda: Children(depth=-1), "depth=-1: expected int >= 0"),
    (lambda: Compaction(at=0.4), "0 < to < at"),
    (lambda: Stall(actions=("model",)), r"stall\.model"),
    (lambda: Memory(recall="always"), "recall='always' is none of 'auto', 'tool'"),  # type: ignore[arg-type]
    (lambda: Isolation(required=4), "required=4"),  # type: ignore[arg-type]
    (lambda: Bounds(pids=10**9), "pids is 1000000000"),
    (lambda: Rule(effect="permit"), "effect='permit' is none of 'allow', 'ask', 'deny'"),  # type: ignore[arg-type]
    (lambda: Rule(effect="deny").replace(tool=3), "tool=3: expected str"),
]


@pytest.mark.parametrize(("write", "message"), PARTS)
def test_a_wrong_value_of_a_part_raises_there_too(write: Callable[[], object], message: str) -> None:
    with pytest.raises(WrongValue, match=message):
        write()


def test_a_definition_is_frozen_and_keeps_no_list_of_the_caller() -> None:
    tools = ["grep"]
    agent = Agent("a", tools=tools, constraints=["be brief"], children=Children(agents=["b"]))
    tools.append("shell")
    assert (agent.tools, agent.constraints, agent.children) == (("grep",), ("be brief",), Children(agents=("b",)))
    with pytest.raises(AttributeError):
        agent.tools = ()  # type: ignore[misc]


def test_every_copy_keeps_the_python_parts_that_it_uses() -> None:
    agent = Agent("a", model=MODEL, tools=[double, "grep"], hooks=[HOOK], guardrails=[GUARD])
    assert agent.python == PythonParts({"double": double}, (HOOK,), (GUARD,), MODEL)
    assert (agent.tools, agent.model, agent.python.checks) == (("double", "grep"), "own", ("no", "short"))
    other = agent.replace(model="openai/other", tools=["grep"])
    assert other.python == PythonParts({}, (HOOK,), (GUARD,), None)
    assert agent.replace(tools=["double"]).python.tools == {"double": double}
    assert agent.replace(instructions="x").python == agent.python
    assert Agent.of(agent.spec, agent.python) == Agent.of(agent) == agent
    assert agent.replace(hooks=[]).python.checks == ("short",)
    assert not agent.replace(model=None, tools=[], hooks=[], guardrails=[]).python
    with pytest.raises(WrongValue, match="unknown tool 'double'"):
        Agent.of(agent.spec)


def test_the_bytes_that_a_session_pins_have_no_python_parts() -> None:
    agent = Agent("a", model=MODEL, tools=[double], hooks=[HOOK])
    assert encode_spec(agent) == b'{"name":"a","model":"own","tools":["double"],"limits":{}}'
    assert type(agent.spec) is AgentSpec
    assert decode_spec(encode_spec(agent)) == agent.spec
    assert agent.version == agent.spec.version


def test_a_number_is_pinned_in_the_form_in_which_it_was_written() -> None:
    agent = Agent("a", limits=Limits(money=1), temperature=0)
    assert encode_spec(agent) == b'{"name":"a","limits":{"money":1},"temperature":0}'
    assert encode_spec(agent.replace(description="d")) == (
        b'{"name":"a","description":"d","limits":{"money":1},"temperature":0}'
    )


def test_a_pinned_definition_stays_readable_when_a_tool_of_it_is_gone() -> None:
    assert decode_spec(b'{"name":"a","tools":["of_a_former_version"]}').tools == ("of_a_former_version",)


def test_a_tool_of_python_is_preferred_and_an_unknown_one_is_left_out() -> None:
    own = Agent("a", tools=[double, "grep"]).python.toolbox(["double", "grep", "gone"])
    assert own["double"] is double
    assert set(own) == {"double", "grep"}
    assert all(isinstance(one, Tool) for one in own.values())


def test_each_option_is_written_once() -> None:
    """The constructor of `Agent`, agent files, `replace` and the pinned bytes follow from the fields of `AgentSpec`."""
    assert set(Agent.__struct_fields__) == {*AgentSpec.__struct_fields__, "python"}

    class Wider(AgentSpec, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
        colour: str = "grey"

    assert Wider("a", colour="red").replace(tools=["grep"]).colour == "red"
    assert msgspec.json.encode(Wider("a", colour="red")) == b'{"name":"a","colour":"red"}'
    assert Wider("a").version == AgentSpec("a").version
    sources = (Path(__file__).parents[2] / "src" / "roost").rglob("*.py")
    rare = {"output_hint", "callable_by", "horizon", "unattended"}
    lists = [path.name for path in sources if all(re.search(rf"\b{name}\b", path.read_text()) for name in rare)]
    assert lists == ["definition.py"]


def test_each_part_of_a_definition_checks_its_values() -> None:
    parts = (*AgentSpec.__annotations__.values(), *Isolation.__annotations__.values())
    assert {"Limits", "Isolation", "Compaction", "CheckpointPolicy", "Stall"} <= set(parts)
    for kind in (Limits, Children, Compaction, Stall, Memory, Isolation, Bounds, Rule):
        assert issubclass(kind, Validated)
        assert kind.__struct_config__.frozen
        assert kind.__struct_config__.forbid_unknown_fields


def test_a_file_makes_the_same_agent_as_python(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('tools = ["grep"]\npermissions = "ask"\nlimits = { steps = 3 }\n')
    (loaded,) = load_agents([tmp_path])
    assert loaded == Agent("a", tools=["grep"], permissions="ask", limits=Limits(steps=3))
