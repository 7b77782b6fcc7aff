"""Every family's compiler: what it makes is pinned in readable files, loses nothing, and keeps the caches warm.

After a change that is meant, renew the files and read the difference:
`ROOST_RENEW_GOLDEN=1 pytest tests/models/test_compilers.py -k golden && git diff tests/golden/prompts`
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from roost.log.content import (
    AssistantMessage,
    File,
    Image,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
    Video,
)
from roost.models.compile import FAMILIES, MODELS, compiler, family_of
from roost.models.compile.intents import INTENTS, words
from roost.models.knobs import turn
from roost.models.profile import Knob
from roost.models.prompt import Prompt
from roost.models.request import Profile, Request, ToolSpec
from roost.models.wire import Endpoint
from roost.models.wires import wire
from roost.stub.dialects.openai_chat_check import check_openai_request
from roost.testing.models import ask, user
from roost.testing.transcript import check_transcript

GOLDEN = Path(__file__).parent.parent / "golden" / "prompts"
NAMES = [name for name in FAMILIES if name != "deepseek_v4"]
PROFILE = Profile(images=True, video=True, files=True, thinking_back="all")


def spec(name: str, says: str) -> ToolSpec:
    return ToolSpec(name, says, {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]})


def file(name: str, text: str, media_type: str = "text/plain") -> File:
    return File(media_type, base64.b64encode(text.encode()).decode(), name=name)


KNOWN = ("# Style\nTabs, never spaces.", "# History\nThe parser was rewritten in May.")
RULES = ("Change no public name.", "Python 3.11 or later.")
TOOLS = (spec("read_file", "Reads a file."), spec("edit_file", "Changes a file."))
FIXING: tuple[Message, ...] = (
    user("The parser drops the last line. Mend it."),
    AssistantMessage(
        (
            Thinking("I must see the code first.", "sig-1", "glm/glm_52"),
            Text("I look at the parser."),
            ToolCall("c1", "read_file", '{"path":"parser.py"}'),
            ToolCall("c2", "read_file", '{"path":"test_parser.py"}'),
        )
    ),
    ToolMessage("c1", "read_file", (Text("for line in lines[:-1]:"),)),
    ToolMessage("c2", "read_file", (Text("no such file"),), error=True),
)
SEEN = UserMessage(
    (
        Text("Make the first look like the second, as the notes say."),
        Image("image/png", "aGVyZQ==", name="now.png"),
        Image("image/png", url="https://host/then.png"),
        Video("video/mp4", url="https://host/bug.mp4"),
        file("notes.md", "Ratio: 3 to 2.\n", "text/markdown"),
        File("application/pdf", "JVBERg==", name="brand.pdf"),
    )
)
CASES: dict[str, Request] = {
    "chat": Request(instruction="You are Ada.", messages=(user("Good morning!"),), intent="chat_friendly"),
    "plan": Request(
        instruction="You look after a parser.",
        messages=(user("Split the parser in two."),),
        context=KNOWN,
        constraints=RULES,
        tools=TOOLS,
        intent="plan",
        output_hint="a numbered list",
        max_output=2000,
    ),
    "tools": Request(
        instruction="You look after a parser.",
        messages=FIXING,
        constraints=RULES,
        tools=TOOLS,
        intent="execute",
    ),
    "turns": Request(
        instruction="You look after a parser.",
        messages=(*FIXING, AssistantMessage((Text("Mended: the slice left out the last."),)), user("And the test?")),
        context=KNOWN[:1],
        constraints=RULES,
        tools=TOOLS,
        effort="max",
    ),
    "media": Request(
        instruction="You build pages.",
        messages=(SEEN,),
        tools=(spec("screenshot", "Takes a picture of the screen."), spec("mouse", "Moves and clicks.")),
        intent="code_generation",
    ),
    "shape": Request(
        instruction="You judge changes.",
        messages=(user("Is this safe?\n\n-lines[:-1]\n+lines"),),
        tool_choice="none",
        output_schema={"type": "object", "properties": {"safe": {"type": "boolean"}}},
        intent="review",
        effort="low",
        temperature=0.2,
        stop=("END",),
        knobs={"seed": 7},
    ),
    "plain": ask(),
}


def shown(prompt: Prompt) -> str:
    """A prompt to be read by people; what is stable has a star."""
    head = {
        "knobs": prompt.knobs,
        "tool_choice": prompt.tool_choice if prompt.tools or prompt.tool_choice != "auto" else None,
        "output_schema": prompt.output_schema,
        "max_output": prompt.max_output,
        "stop": list(prompt.stop),
    }
    blocks = ["\n".join(f"{name}: {json.dumps(value)}" for name, value in head.items() if value)]
    blocks += [f"=== tool {tool.name} ===\n{tool.description}\n{json.dumps(tool.schema)}" for tool in prompt.tools]
    for at, text in enumerate(prompt.system):
        blocks.append(f"=== system{' *' if at < prompt.stable_system else ''} ===\n{text}")
    for at, message in enumerate(prompt.messages):
        blocks.append(f"=== {_who(message)}{' *' if at < prompt.stable else ''} ===\n{_said(message.parts)}")
    return "\n\n".join(filter(None, blocks)) + "\n"


def _who(message: Message) -> str:
    match message:
        case ToolMessage():
            return f"result of {message.call}, {message.name}{', failed' if message.error else ''}"
        case AssistantMessage():
            return "assistant"
        case _:
            return "user"


def _said(parts: Iterable[Any]) -> str:
    return "\n".join(map(_part, parts))


def _part(part: Any) -> str:
    match part:
        case Text():
            return part.text
        case Thinking():
            return f"(thinks, {part.signature}) {part.text}"
        case ToolCall():
            return f"(calls {part.id}) {part.name} {part.arguments}"
        case _:
            return f"({type(part).__name__.lower()}, {part.media_type}) {part.url or part.data}"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", NAMES)
def test_golden(family: str, case: str) -> None:
    made = shown(compiler(family).compile(CASES[case], PROFILE))
    place = GOLDEN / family / f"{case}.txt"
    if os.environ.get("ROOST_RENEW_GOLDEN"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(made, "utf-8")
    assert made == place.read_text("utf-8")


@pytest.mark.parametrize("family", NAMES)
def test_every_prompt_is_a_body_that_servers_take(family: str) -> None:
    for request in CASES.values():
        prompt = compiler(family).compile(request, PROFILE)
        call = wire("openai_chat").call(prompt, "m", PROFILE, Endpoint(base_url="http://host/v1"), stream=True)
        check_openai_request(json.loads(call.body or b""))


def test_no_golden_file_is_left_over() -> None:
    found = {f"{place.parent.name}/{place.stem}" for place in GOLDEN.glob("*/*.txt")}
    assert found == {f"{family}/{case}" for family in NAMES for case in CASES}


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
TAGGED = st.sampled_from(["</document>", "<rules>x</rules>", "a\n\nb", "</document><document_2>", "# Task", " "])
SOME = WORDS | TAGGED
PICTURE = st.sampled_from([Image("image/png", "aGk="), Video("video/mp4", url="http://h/v"), file("n.txt", "whole ä")])


@st.composite
def requests(draw: st.DrawFn) -> Request:
    messages: list[Message] = []
    for at in range(draw(st.integers(1, 4))):
        parts = draw(st.lists(SOME.map(Text) | PICTURE, min_size=1, max_size=4))
        messages.append(UserMessage(tuple(parts)))
        for step in range(draw(st.integers(0, 2))):
            call = ToolCall(f"c{at}.{step}", "read_file", draw(st.sampled_from(["{}", "{bad"])))
            thought = (Thinking(draw(SOME), "sig", "x"),) if draw(st.booleans()) else ()
            messages.append(AssistantMessage((*thought, Text(draw(SOME)), call)))
            messages.append(
                ToolMessage(call.id, call.name, tuple(draw(st.lists(SOME.map(Text) | PICTURE, min_size=1))))
            )
        if draw(st.booleans()):
            messages.append(AssistantMessage((Text(draw(SOME)),)))
    return Request(
        instruction=draw(SOME),
        messages=tuple(messages),
        context=tuple(draw(st.lists(SOME, max_size=3))),
        constraints=tuple(draw(st.lists(SOME, max_size=2))),
        tools=tuple(draw(st.permutations(TOOLS))),
        intent=draw(st.none() | st.sampled_from(INTENTS)),
        effort=draw(st.none() | st.sampled_from(["off", "low", "max"])),
        output_hint=draw(st.none() | SOME),
        temperature=draw(st.none() | st.just(0.5)),
        knobs=draw(st.sampled_from([{}, {"seed": 1}, {"clear_thinking": True}])),
        stop=tuple(draw(st.lists(SOME, max_size=1))),
    )


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=examples(40))
@given(requests())
def test_nothing_of_a_request_is_lost_and_all_is_valid(family: str, request_: Request) -> None:
    made = compiler(family).compile(request_, PROFILE)
    system = "\n".join(made.system)
    for text in (request_.instruction, *request_.context, *request_.constraints, request_.output_hint or ""):
        assert text in system
    if request_.intent is not None:
        assert words(request_.intent).split(":")[0] in system
    assert sorted(made.tools, key=lambda tool: tool.name) == sorted(request_.tools, key=lambda tool: tool.name)
    assert made.knobs.items() >= request_.knobs.items()
    assert (made.stop, made.output_schema, made.tool_choice) == (request_.stop, None, "auto")
    if request_.effort is not None:
        assert made.knobs["effort"] == request_.effort
    assert len(made.messages) == len(request_.messages)
    for before, after in zip(request_.messages, made.messages, strict=True):
        assert type(before) is type(after)
        if isinstance(before, AssistantMessage):
            assert after == before
        else:
            assert [part for part in before.parts if not _kept(part, after)] == []
    check_transcript(made.messages)


def _kept(part: Any, message: Message) -> bool:
    whole = isinstance(part, File) and any(isinstance(new, Text) and "whole ä" in new.text for new in message.parts)
    return part in message.parts or whole


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=examples(40))
@given(requests(), st.data())
def test_a_longer_conversation_keeps_what_is_stable(family: str, request_: Request, data: st.DataObject) -> None:
    """A request of an agent may have any length up to the whole, as long as every call has its result."""
    whole = [at for at, message in enumerate(request_.messages, 1) if not isinstance(message, AssistantMessage)]
    cut = data.draw(st.sampled_from(whole))
    made = compiler(family)
    long = made.compile(request_, PROFILE)
    short = made.compile(_cut(request_, cut), PROFILE)
    assert long.system == short.system
    assert (long.tools, long.knobs, long.stable_system) == (short.tools, short.knobs, short.stable_system)
    assert short.messages[: short.stable] == long.messages[: short.stable]
    assert cut - 1 <= short.stable <= long.stable


def _cut(request: Request, count: int) -> Request:
    given = {name: getattr(request, name) for name in request.__struct_fields__}
    return Request(**{**given, "messages": request.messages[:count]})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("intent", INTENTS)
def test_every_family_says_what_every_intent_is_for(family: str, intent: Any) -> None:
    plain = compiler(family).compile(ask(), PROFILE)
    made = compiler(family).compile(ask(intent=intent), PROFILE)
    added = "".join(made.system).replace("".join(plain.system), "")
    assert "The task now: " in added
    assert 60 < len(added) < 900
    assert made.system[: plain.stable_system] == plain.system[: plain.stable_system]


@pytest.mark.parametrize("family", NAMES)
def test_efforts_that_intents_are_worth(family: str) -> None:
    knob = Knob(values={"off": {"thinking": "off"}, "high": {"effort": "high"}, "max": {"effort": "max"}})

    def sent(**options: Any) -> dict[str, Any]:
        body: dict[str, Any] = {}
        turn(body, {"effort": knob}, compiler(family).compile(ask(**options), Profile()).knobs)
        return body

    off, high, most = {"thinking": "off"}, {"effort": "high"}, {"effort": "max"}
    nothing: dict[str, Any] = {}
    worth = {
        "glm_5": (off, nothing, nothing),
        "glm_52": (off, high, most),
        "glm_5v_turbo": (off, nothing, nothing),
        "deepseek_v4_flash": (off, nothing, nothing),
        "deepseek_v4_pro": (nothing, nothing, most),
    }
    assert (sent(intent="chat"), sent(intent="execute"), sent(intent="plan")) == worth.get(family, (nothing,) * 3)
    assert sent() == nothing
    assert sent(intent="chat", effort="low") == high
    assert sent(intent="plan", knobs={"effort": "off"}) == off


@pytest.mark.parametrize(
    ("profile", "options", "knobs"),
    [
        (PROFILE, {}, {"clear_thinking": False}),
        (PROFILE, {"effort": "max"}, {"clear_thinking": False, "effort": "max"}),
        (PROFILE, {"effort": "off"}, {"effort": "off"}),
        (PROFILE, {"knobs": {"clear_thinking": True}}, {"clear_thinking": True}),
        (Profile(thinking_back="turn"), {}, {}),
    ],
)
def test_glm_52_keeps_thinking_where_all_of_it_goes_back(profile: Profile, options: Any, knobs: Any) -> None:
    assert compiler("glm_52").compile(ask(**options), profile).knobs == knobs


def test_deepseek_v4_has_one_prefix_whatever_the_task() -> None:
    made = compiler("deepseek_v4")
    plan = made.compile(ask(context=KNOWN, constraints=RULES, tools=TOOLS, intent="plan"), PROFILE)
    check = made.compile(ask(context=KNOWN, constraints=RULES, tools=TOOLS[::-1], output_hint="short"), PROFILE)
    assert plan.system[: plan.stable_system] == check.system[: check.stable_system]
    assert plan.stable_system == 4
    assert plan.tools == check.tools
    assert plan.system != check.system


def test_no_document_can_end_its_own_tags() -> None:
    made = compiler("anthropic").compile(ask(context=("a</document></documents>", "<document_2>", "b")), PROFILE)
    assert made.system[1] == (
        '<documents_2>\n<document_2 index="1">\na</document></documents>\n</document_2>\n'
        '<document_3 index="2">\n<document_2>\n</document_3>\n<document index="3">\nb\n</document>\n</documents_2>'
    )


def test_media_among_words_stay_and_have_numbers_that_stay() -> None:
    picture, other = Image("image/png", "aGk="), Image("image/png", "aG8=", name="b.png")
    first = UserMessage((Text("This"), picture, Text("or that?"), other))
    made = compiler("glm_5v_turbo").compile(ask(first, user("And?"), UserMessage((Text("This?"), picture))), PROFILE)
    label = [Text(f"[Image {name}]") for name in ("1", "2: b.png", "3")]
    assert made.messages[0].parts == (Text("This"), label[0], picture, Text("or that?"), label[1], other)
    assert made.messages[2].parts == (label[2], picture, Text("This?"))
    blind = compiler("glm_5v_turbo").compile(ask(first), Profile())
    assert blind.messages == (first,)


def test_minimax_has_files_of_text_in_full() -> None:
    bad = (
        File("text/plain", base64.b64encode(b"\xff\xfe").decode()),
        File("text/plain", "not base64"),
        File("text/plain", url="http://host/a.txt"),
        File("application/pdf", "JVBERg=="),
    )
    good = file("a.json", '{"ä": 1}', "application/ld+json; charset=utf-8")
    made = compiler("minimax_m3").compile(ask(UserMessage((Text("Read."), good, *bad))), Profile())
    assert made.messages[0].parts == (
        Text('## a.json, in full\n\n<file>\n{"ä": 1}\n</file>'),
        *bad,
        Text("Read."),
    )


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-6-mini", "default"),
        ("", "default"),
        ("glm-4.6", "glm"),
        ("glm-4.5v", "glm_5v_turbo"),
        ("z-ai/glm-5", "glm_5"),
        ("GLM-5.1", "glm_5"),
        ("glm-5-250414", "glm_5"),
        ("glm-5-turbo", "glm_5"),
        ("zai-org/GLM-5.2", "glm_52"),
        ("accounts/fireworks/models/glm-5p2", "glm_52"),
        ("glm-5.3-flash", "glm_52"),
        ("glm-5v-turbo", "glm_5v_turbo"),
        ("us.anthropic.claude-opus-4-8-v1:0", "anthropic"),
        ("deepseek-reasoner", "deepseek"),
        ("deepseek-ai/DeepSeek-V3.2", "deepseek"),
        ("deepseek/deepseek-v4-flash:free", "deepseek_v4_flash"),
        ("deepseekv4-flash", "deepseek_v4_flash"),
        ("DeepSeek_V4_Pro", "deepseek_v4_pro"),
        ("MiniMaxAI/MiniMax-M3", "minimax_m3"),
        ("minimax-m2.7", "default"),
    ],
)
def test_families_by_the_names_of_models(model: str, family: str) -> None:
    assert family_of(model) == family
    assert {family for _, family in MODELS} <= set(FAMILIES)


def test_families_are_loaded_when_they_are_needed() -> None:
    import subprocess
    import sys

    code = (
        "import sys, roost.models.http_model; print([m for m in sys.modules if m.startswith('roost.models.compile.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
