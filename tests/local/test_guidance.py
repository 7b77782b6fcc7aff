"""How a small model is led: what a turn may begin with, and which answers about files do."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from roost.local.grounding import Seen, is_supported
from roost.local.guidance import UNKNOWN, Guidance, choose, leaning, progress_of, redirect
from roost.log.content import AssistantMessage, Message, Text, ToolCall, ToolMessage, UserMessage
from roost.models.request import Completed, Notice, Request, ToolSpec

TEXT = {"type": "string"}
AROUND = Text("[Now: Monday, 3 March 2025, 09:15 (UTC)\nFiles: budget.csv, packing.txt]")
TICKETS = "camera and two batteries\ntrain tickets (Ann has them)\nwalking shoes"
BUDGET = "item,euros\ntrain,37\nhotel,180\ncastle,26"
PACKING = "rain jacket\ntrain tickets (Ann has them)\nwalking shoes"


def spec(name: str, *arguments: str) -> ToolSpec:
    properties = dict.fromkeys(arguments, TEXT)
    return ToolSpec(name, name, {"type": "object", "properties": properties, "required": list(arguments)})


TOOLS = (spec("grep", "pattern"), spec("read_file", "path"), spec("shell", "command"), spec("calculate", "expression"))


def asked(question: str, *more: Message, **options: Any) -> Request:
    said = UserMessage((Text(question), AROUND))
    return Request(**({"instruction": "Help.", "messages": (said, *more), "tools": TOOLS} | options))


def call(name: str, result: str, number: int = 1, **arguments: str) -> tuple[Message, Message]:
    made = ToolCall(f"c{number}", name, json.dumps(arguments))
    return AssistantMessage((made,)), ToolMessage(made.id, name, (Text(result),))


def answer(text: str) -> Completed:
    return Completed((Text(text),), "end")


def text_of(done: Completed) -> str:
    return AssistantMessage(done.parts).text


def chunk(label: str, **chances: float) -> dict[str, Any]:
    """What the engine streams with the first token of a label."""
    top = [{"token": name, "logprob": math.log(chance)} for name, chance in chances.items()]
    return {"delta": {"content": label}, "logprobs": {"content": [{"token": label, "top_logprobs": top}]}}


def steps(guidance: Guidance) -> list[tuple[str | None, str | None]]:
    """The origin and the tool of each step that the grammar allows."""
    schema = guidance.schema()
    assert schema is not None
    found: list[tuple[str | None, str | None]] = []
    for step in schema.get("anyOf", [schema]):
        properties = step["properties"]
        origin = properties.get("from", {})
        names = origin.get("enum", [origin.get("const")])
        found += [(name, properties.get("tool", {}).get("const")) for name in names]
    return found


def test_a_turn_begins_with_an_origin_and_goes_on_without() -> None:
    first = Guidance(asked("What is the plan?"))
    assert first.chooses
    assert steps(first) == [
        ("files", "grep"),
        ("files", "read_file"),
        ("order", "shell"),
        ("calculator", "calculate"),
        ("knowledge", None),
        ("chat", None),
    ]
    assert ("clock", None) in steps(Guidance(asked("Which day is it?")))
    after = Guidance(asked("Who has the tickets?", *call("grep", "a.txt:1: x", pattern="x")))
    assert not after.chooses
    assert (None, None) in steps(after)
    assert (None, "shell") in steps(after)


def test_a_question_for_a_person_is_no_order() -> None:
    guidance = Guidance(asked("I need the train tickets. Who should I ask for them?"))
    assert ("order", "shell") not in steps(guidance)
    assert ("files", "grep") in steps(guidance)
    assert ("order", "shell") in steps(Guidance(asked("Write down who has the tickets.")))
    done = (*call("read_file", BUDGET, path="budget.csv"), *call("shell", "train,37", 2, command="cat budget.csv"))
    acted = Guidance(asked("I need the train tickets. Who should I ask for them?", *done))
    assert acted.checks
    assert acted.again(answer("The train tickets should be asked for by the agent."))


@pytest.mark.parametrize(("order", "free"), [("Copy budget.csv to b.csv.", False), ("Delete budget.csv.", True)])
def test_an_order_on_a_files_content_begins_with_a_look(order: str, free: bool) -> None:
    assert (("order", "shell") in steps(Guidance(asked(order)))) is free


def test_a_model_that_would_answer_is_held_to_a_look_without_the_shell() -> None:
    guidance = Guidance(asked("Who has our tickets?"))
    assert guidance.hear("{", {"delta": {"content": '"from'}, "logprobs": {"content": [{"token": '"from'}]}}) is None
    notice = guidance.hear('{"from": "', chunk("know", files=0.4, know=0.55))
    assert isinstance(notice, Notice)
    assert notice.data == {"from": "knowledge", "tool": 0.4211, "led": 0.7652, "held": ["files", "calculator"]}
    assert guidance.redirected
    assert guidance.again(answer(""))
    assert not guidance.redirected
    assert steps(guidance) == [("files", "grep"), ("files", "read_file"), ("calculator", "calculate")]


def test_small_talk_is_left_alone_whatever_its_words() -> None:
    guidance = Guidance(asked("Thanks for reading our budget.csv!"))
    notice = guidance.hear('{"from": "', chunk("chat", chat=0.98, files=0.01))
    assert notice is not None
    assert notice.data["held"] == []
    assert not guidance.redirected


@pytest.mark.parametrize(
    ("question", "least"),
    [
        ("What is in budget.csv?", 2.0),
        ("Which columns does the budget have?", 2.0),
        ("Where is our hotel?", 1.0),
        ("Do you know who has the tickets?", 1.0),
        ("What is the capital of Japan?", 0.0),
        ("Which month do we have?", 0.0),
        ("What can you do for me?", -2.5),
        ("How many legs does a spider have?", -0.8),
        ("Who is the owner of a key?", 0.0),
    ],
)
def test_words_of_the_question_lean_to_a_look(question: str, least: float) -> None:
    assert least <= leaning(progress_of(asked(question))) < least + 0.6


def test_a_choice_is_turned_only_over_the_middle() -> None:
    progress = progress_of(asked("What is the capital of Japan?"))
    assert redirect(choose(progress, "knowledge", {"knowledge": 0.8, "files": 0.2}), ["files", "knowledge"]) is None
    assert redirect(choose(progress, "files", {"knowledge": 0.4, "files": 0.6}), ["files", "knowledge"]) is None
    split = choose(progress, "files", {"knowledge": 0.6, "chat": 0.2, "files": 0.2})
    assert redirect(split, ["files", "knowledge", "chat"]) == ("knowledge", "chat")


@pytest.mark.parametrize(
    ("question", "seen", "said", "good"),
    [
        ("Who has the train tickets?", PACKING, "Ann has the train tickets.", True),
        ("Who has the train tickets?", PACKING, "Alice has the train tickets.", False),
        ("Who has the umbrella?", PACKING, "Ann has the umbrella.", False),
        ("What does the castle cost?", "budget.csv:4: castle,26", "The castle costs 26 euros.", True),
        ("What does the castle cost?", "budget.csv:4: castle,26", "The castle costs 35 euros.", False),
        ("How many items are there?", "items:\na\nb\nc", "There are 3 items.", True),
        ("When is Meera's birthday?", "Meera,2022,flute", "Meera's birthday is in 2022.", False),
        ("How fast is the motor?", "SPEED = 120 # motor", "The motor runs at 120 RPM.", True),
        ("How fast is the motor?", "motor.speed = SPEED", "The motor has a speed of SPEED.", False),
        ("How many fish do we have?", "fish: four, in the hall", "You have four fish.", True),
        ("Who borrowed the spade?", "tools.txt:1: spade: lent to Oskar", "Oskar borrowed the spade.", True),
    ],
)
def test_an_answer_must_stand_in_what_was_read(question: str, seen: str, said: str, good: bool) -> None:
    assert is_supported(question, [Seen("read_file", "x.txt", seen)], said) is good


@pytest.mark.parametrize(
    ("question", "tool", "path", "seen", "said", "good"),
    [
        ("I need the tickets. Who should I ask?", "read_file", "budget.csv", BUDGET, "Ask the budget.csv file.", False),
        ("Who has the tickets?", "read_file", "packing.txt", TICKETS, "packing.txt has the tickets.", False),
        ("Who has the camera?", "read_file", "packing.txt", TICKETS, "Ann has the camera.", False),
        ("Who has the train timetable?", "read_file", "packing.txt", TICKETS, "Ann has it.", False),
        ("Who is taking care of the tickets?", "read_file", "packing.txt", TICKETS, "Ann takes care of them.", True),
        ("Who has the tickets?", "glob", "", "Ann/tickets.txt", "Ann has the tickets.", False),
        ("How many letters are there?", "glob", "", "letters/a.txt\nletters/b.txt", "There are 2 letters.", True),
        ("Which files are in src?", "list_files", "", "main.py  12\nutil.py  9", "main.py and util.py.", True),
        ("What does the castle cost?", "read_file", "budget.csv", BUDGET, "The castle costs 180 euros.", False),
        ("When is the power bill due?", "read_file", "bills/power.txt", "due 15 March", "It is due 15 March.", True),
        ("How much is the gas bill?", "read_file", "bills/power.txt", "due 15 March", "It is due 15 March.", False),
        ("When did Meera join?", "read_file", "members.csv", "name,joined\nMeera,2022", "She joined in 2022.", True),
        ("How fast do the motors spin?", "read_file", "motor.py", "SPEED = 120\n\n\ndef spin(motor):", "120.", True),
        ("What is the baud rate?", "read_file", "link.toml", "[link]\nbaud = 9600", "The baud rate is 9600.", True),
        ("Which room is ours?", "read_file", "trip.md", "# Room\n\nNumber 12", "Your room is number 12.", True),
        ("Where is brunch?", "grep", "", "plan.md:9: brunch at the market", "At the market.", True),
        ("What is the wifi password?", "read_file", "a.txt", "wifi in the hall", "It is swordfish.", False),
    ],
)
def test_an_answer_must_stand_near_what_was_asked(
    question: str, tool: str, path: str, seen: str, said: str, good: bool
) -> None:
    assert is_supported(question, [Seen(tool, path, seen)], said) is good


def test_the_clock_answers_only_questions_about_the_time() -> None:
    chances = {"clock": 0.85, "files": 0.14, "knowledge": 0.01}
    meal = choose(progress_of(asked("What time is breakfast on Saturday?")), "clock", chances)
    assert meal.led > 0.95
    assert redirect(meal, ["files", "calculator", "clock"]) == ("files", "calculator")
    for question in ("What time is it?", "Which day of the week is it?", "What's the time right now?"):
        assert redirect(choose(progress_of(asked(question)), "clock", chances), ["files", "clock"]) is None


def test_an_unsupported_answer_leads_to_another_look() -> None:
    guidance = Guidance(asked("Who has the umbrella?", *call("read_file", PACKING, path="packing.txt")))
    assert guidance.checks
    assert guidance.again(answer("Ann has the umbrella."))
    assert {tool for _, tool in steps(guidance)} == {"grep", "read_file", "calculate"}
    assert guidance.messages(2000)[-1]["content"].endswith("for another word.)")
    looked = Completed((ToolCall("c2", "read_file", '{"path": "budget.csv"}'),), "tool_calls")
    assert not guidance.again(looked)
    assert guidance.final(looked) == looked


def test_a_look_that_was_taken_before_ends_with_an_honest_answer() -> None:
    guidance = Guidance(asked("Who has the umbrella?", *call("read_file", PACKING, path="packing.txt")))
    assert guidance.again(answer("Ann has the umbrella."))
    again = Completed((ToolCall("c2", "read_file", '{"path": "packing.txt"}'),), "tool_calls")
    assert text_of(guidance.final(again)) == UNKNOWN


def test_after_three_looks_the_answer_is_honest() -> None:
    looks = [message for n in range(3) for message in call("grep", PACKING, n, pattern=f"word{n}")]
    guidance = Guidance(asked("Who has the umbrella?", *looks))
    wrong = answer("Ann has the umbrella.")
    assert not guidance.again(wrong)
    assert text_of(guidance.final(wrong)) == UNKNOWN
    honest = answer("The files do not say who has the umbrella.")
    other = Guidance(asked("Who has the umbrella?", *looks))
    assert not other.again(honest)
    assert other.final(honest) == honest


def test_one_search_without_a_hit_is_not_enough_to_give_up() -> None:
    gave_up = answer("The files do not say that.")
    assert Guidance(asked("Who has the tickets?", *call("grep", "No match", pattern="ticket holder"))).again(gave_up)
    looked = (*call("grep", "No match", pattern="x"), *call("read_file", "nothing of it", 2, path="packing.txt"))
    assert not Guidance(asked("Who has the umbrella?", *looked)).again(gave_up)


def test_what_was_done_is_not_checked() -> None:
    done = (*call("read_file", "a", path="a.txt"), *call("shell", "b", 2, command="cp a.txt b.txt"))
    guidance = Guidance(asked("Copy a.txt to Zanzibar.txt", *done))
    assert not guidance.checks
    assert not guidance.again(answer("Zanzibar.txt is there."))


def test_a_model_that_repeats_itself_must_answer() -> None:
    made = call("grep", "No match", pattern="x")
    guidance = Guidance(asked("Who?", *made, *made))
    assert steps(guidance) == [(None, None)]


def test_no_tools_no_lead() -> None:
    guidance = Guidance(asked("Who has the tickets?", tools=()))
    assert guidance.schema() is None
    assert not guidance.chooses
    assert not guidance.checks


@pytest.mark.parametrize(
    ("pattern", "searched"),
    [
        ("cooking", "cook"),
        ("train tickets", "train ticket"),
        ("bus", "bus"),
        ("Glasses", "Glass"),
        ("batteries", "batter"),
    ],
)
def test_a_search_for_words_finds_their_other_forms(pattern: str, searched: str) -> None:
    made = ToolCall("c1", "grep", json.dumps({"pattern": pattern}))
    (call,) = Guidance(asked("Who?")).final(Completed((made,), "tool_calls")).parts
    assert isinstance(call, ToolCall)
    assert json.loads(call.arguments) == {"pattern": searched, "ignore_case": True}
    shown = Guidance(asked("Who?", AssistantMessage((call,)), ToolMessage("c1", "grep", (Text("No match"),)))).messages(
        2000
    )
    assert f'"args":{{"pattern":"{searched}"}}' in shown[-2]["content"]


@pytest.mark.parametrize("pattern", ["def \\w+", "a.txt", "x=1"])
def test_a_search_for_a_pattern_stays_as_it_is(pattern: str) -> None:
    made = Completed((ToolCall("c1", "grep", json.dumps({"pattern": pattern})),), "tool_calls")
    assert Guidance(asked("Who?")).final(made) == made
