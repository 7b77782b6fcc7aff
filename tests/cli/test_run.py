"""`roost run` without a daemon: the kernel in the command's own process."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from pathlib import Path

import pytest

from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply, Rule, Script

from .conftest import ROOST, Machine


def test_the_answer_goes_to_stdout_and_the_rest_to_stderr(roost: Machine) -> None:
    (roost.work / "notes.txt").write_text("x")
    done = roost("run", "which files are here?").ok()
    assert done.out == "Let me look.\nI found: notes.txt  1\n"
    assert "● list_files" in done.err
    assert "2 steps" in done.err
    assert "\x1b" not in done.out + done.err
    quiet = roost("run", "-q", "hello").ok()
    assert (quiet.out, quiet.err) == ("You said: hello\n", "")


def test_json_is_one_document(roost: Machine) -> None:
    done = roost("run", "which files are here?", "--json").ok()
    assert done.err == ""
    assert done.json["outcome"] == "answered"
    assert [call["name"] for call in done.json["calls"]] == ["list_files"]
    assert done.json["session"].startswith("ses_")
    assert done.json["usage"]["input"] == 200


def test_a_message_from_standard_input(roost: Machine) -> None:
    assert roost("run", "-", stdin="from a pipe").ok().out == "You said: from a pipe\n"
    assert roost("run", "-", stdin="  \n").code == 2
    assert roost("run", "-", stdin="x" * (1024 * 1024 + 2)).code == 1


def test_without_a_terminal_writing_is_rejected_unless_yes(roost: Machine) -> None:
    done = roost("run", "make it").ok()
    assert "rejected" in done.err
    assert "--yes" in done.err
    assert "--yes" not in done.out  # the model must not take our options for the tool's
    assert not (roost.work / "made.txt").exists()
    done = roost("run", "make it", "--yes").ok()
    assert "The result: done" in done.out
    assert (roost.work / "made.txt").read_text() == "made\n"


def test_a_private_workspace_leaves_the_folder_alone(roost: Machine) -> None:
    done = roost("run", "make it", "--yes", "--private", "--json").ok()
    assert not (roost.work / "made.txt").exists()
    assert (roost.home / "workspaces" / done.json["session"] / "made.txt").exists()
    assert roost("run", "hi", "-w", "nowhere").code == 1


def test_a_session_goes_on_by_a_part_of_its_id(roost: Machine, provider: ProviderServer) -> None:
    first = roost("run", "my name is Ada", "--json").ok().json["session"]
    roost("run", "another one", "-q").ok()
    again = roost("run", "--session", first[-6:], "who am I?", "--json").ok()
    assert again.json["session"] == first
    said = [message["content"] for message in provider.provider.bodies[-1]["messages"] if message["role"] == "user"]
    assert "my name is Ada" in str(said)
    assert roost("run", "--session", "@last", "x", "--json").json["session"] != first
    ambiguous = roost("run", "--session", "ses_", "x")
    assert ambiguous.code == 1
    assert "fits 2 sessions" in ambiguous.err
    assert "there is no session 'zzzz'" in roost("run", "--session", "zzzz", "x").err
    assert "leave out the agent" in roost("run", "--session", first, "assistant", "x").err


def test_an_agent_of_a_file_with_its_tools_and_instructions(roost: Machine, provider: ProviderServer) -> None:
    folder = roost.work / "agents"
    folder.mkdir()
    (folder / "clerk.md").write_text("---\ntools: [grep]\n---\nYou are the clerk of this house.\n")
    done = roost("run", "clerk", "hello").ok()
    assert "agent clerk from agents/clerk.md" in done.err
    body = provider.provider.bodies[-1]
    assert [tool["function"]["name"] for tool in body["tools"]] == ["grep"]
    assert "clerk of this house" in str(body["messages"][0])
    wrong = roost("run", "clark", "hello")
    assert wrong.code == 1
    assert "there is no agent 'clark'; the agents are: assistant, clerk" in wrong.err
    silent = roost("run", "clerk")
    assert silent.code == 1
    assert "'clerk' is an agent, and its message is missing: roost run clerk" in silent.err
    assert roost("run", "assistant", "clerk").ok().out == "You said: clerk\n"


def test_an_agent_of_the_folder_that_hides_one_of_the_daemon_is_told(roost: Machine) -> None:
    (roost.work / "named.toml").write_text('name = "clerk"\ndescription = "named"\n')
    roost.up("--agents", "named.toml")
    assert "another agent" not in roost("run", "clerk", "hello").ok().err
    (roost.work / "agents").mkdir()
    (roost.work / "agents" / "clerk.toml").write_text('description = "found"\n')
    told = roost("run", "clerk", "hello").ok().err
    assert "agent clerk from agents/clerk.toml\nthe daemon knows another agent clerk: to use that one, rename" in told
    meant = roost("run", "--agents", "agents/clerk.toml", "clerk", "hello").ok().err
    assert "agent clerk from agents/clerk.toml" in meant
    assert "another agent" not in meant


def test_a_python_agent_runs_its_own_tool(roost: Machine) -> None:
    (roost.work / "mine.py").write_text(
        "from roost.agent.definition import Agent\n"
        "from roost.tools.function import tool\n"
        "@tool(safety='read_only')\n"
        "async def own_files() -> str:\n"
        '    """Mine."""\n'
        "    return 'from my own tool'\n"
        "mine = Agent('mine', tools=[own_files])\n"
    )
    done = roost("run", "--agents", "mine.py", "mine", "use your own tool").ok()
    assert "I found: from my own tool" in done.out


def test_the_model_of_the_option_is_the_sessions(roost: Machine) -> None:
    session = roost("run", "hi", "--model", "openai/other", "--json").ok().json["session"]
    events = [json.loads(line)["event"] for line in roost("logs", session, "--json").out.splitlines()]
    assert {event["model"] for event in events if event["type"] == "model.started"} == {"openai/other"}
    missing = roost("run", "hi", "--model", "groq/some")
    assert missing.code == 1
    assert missing.err == "error: the model 'groq/some' needs a key: set GROQ_API_KEY (or put it into .env)\n"
    assert len(roost("ps", "--json").json) == 1


def test_a_dotenv_names_the_model(roost: Machine) -> None:
    (roost.work / ".env").write_text("ROOST_MODEL=openai/from-dotenv\n")
    roost.env.pop("ROOST_MODEL")
    roost("run", "hi").ok()
    assert "model=openai/from-dotenv" in roost("logs").out


def test_local_weights_that_cannot_be_fetched_are_an_error_before_the_turn(roost: Machine) -> None:
    done = roost("run", "hi", "--model", "local")
    assert done.code == 1
    assert "1.1 GB" in done.err
    assert roost("ps", "--json").json == []


def test_a_failing_provider_is_exit_1_with_the_reason(roost: Machine) -> None:
    refusal = Script(rules=(Rule(answers=(Reply(fault=Fault(kind="status", status=401, times=0)),)),))
    with ProviderServer(refusal) as broken:
        done = roost("run", "hi", env={"OPENAI_BASE_URL": broken.url})
    assert done.code == 1
    assert "401" in done.err or "key" in done.err
    assert "failed" in done.err


def test_a_limit_is_said_in_words_and_with_what_to_do(roost: Machine) -> None:
    (roost.work / "agents").mkdir()
    (roost.work / "agents" / "rich.toml").write_text("limits = { money = 1.0 }\n")
    (roost.work / "agents" / "short.toml").write_text("limits = { steps = 1 }\ntools = ['list_files']\n")
    told = roost("run", "rich", "hello")
    assert (told.code, told.err.count("what openai/scripted costs is not known")) == (1, 1)
    quiet = roost("run", "-q", "rich", "hello")
    assert quiet.err.startswith("error: limit: price_unknown: what openai/scripted costs is not known")
    assert 'put its price into models.toml, as in [models."openai/scripted"]' in quiet.err
    assert roost("run", "rich", "hello", "--json").json["reason"].startswith("price_unknown: what openai/scripted")
    assert "turn limit: steps are used up" in roost("run", "short", "files").err


def test_control_codes_of_a_model_reach_no_terminal(roost: Machine) -> None:
    terminal = roost.terminal("run", "escape")
    assert terminal.wait() == 0
    assert "plain red" in terminal.text
    assert "owned" not in terminal.raw
    assert "\x1b[31mred" not in terminal.raw


def test_a_command_finds_no_key_in_the_processes_around_it(roost: Machine) -> None:
    roost.env["OPENAI_API_KEY"] = "sk-very-secret"
    for place in ("embedded", "daemon"):
        done = roost("run", "--yes", "environ", executable=True).ok()
        assert "HOME=" in done.out, place
        assert "sk-very-secret" not in done.out, place
        roost("up", "-d").ok()


def test_the_home_is_no_file_of_a_folder_that_holds_it(roost: Machine) -> None:
    roost.up()
    (roost.work / "mine").write_text("mine\n")
    assert "belongs to Roost's home" in roost("run", "--yes", "-w", str(roost.home), "the token").err
    roost("run", "--yes", "-w", str(roost.home.parent), "the token").ok()
    seen = roost("logs", "@last", "--json").ok().out
    assert "Roost" in seen
    assert "denied" in seen
    assert (roost.home / "token").read_text().strip() not in seen
    assert "roost.db" not in seen
    assert not (roost.home / "agents").exists()
    roost("run", "-w", str(roost.home.parent), "the token").ok()
    assert "work/mine:1: mine" in roost("logs", "@last", "--json").ok().out


@pytest.mark.parametrize("daemon", [False, True])
def test_bytes_that_are_no_text_and_streams_that_take_none(roost: Machine, daemon: bool) -> None:
    if daemon:
        roost.up()
    assert "caf" in roost("run", "caf\udce9").ok().out
    assert roost("run", "caf\u00e9", env={"PYTHONIOENCODING": "ascii"}).ok().out == "You said: caf?\n"
    if not Path("/dev/full").exists():
        return
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [ROOST, "ps"], stdout=full, stderr=subprocess.PIPE, text=True, env=roost.env, cwd=roost.work
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot go on writing or reading: No space left on device\n"
    closed = subprocess.run(["sh", "-c", f"{ROOST} ps >&- 2>&- <&-"], env=roost.env, cwd=roost.work)
    assert closed.returncode == 0


def test_a_home_or_a_folder_that_cannot_be_is_said_in_a_line(roost: Machine) -> None:
    file = roost.work / "file"
    file.write_text("x")
    for command in (["up", "-d"], ["run", "hello"]):
        done = roost("--home", str(file), *command)
        assert done.code == 1
        assert "internal" not in done.err
        assert str(file) in done.err
    script = f"mkdir gone; cd gone; rmdir ../gone; exec {ROOST} run hello"
    gone = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=roost.env, cwd=roost.work)
    assert (gone.returncode, gone.stderr) == (1, "error: the folder that you are in is gone: go to one that exists\n")


def test_ctrl_c_cancels_the_turn_and_the_session_stays(roost: Machine) -> None:
    process = roost.start("run", "sleep please", "--yes")
    assert process.stderr is not None
    while "sleep 20" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "cancelled" in err
    info = roost.newest()
    assert (info["state"], info["phase"]) == ("running", "idle")
    assert roost("run", "--session", "@last", "still there?").ok().out == "You said: still there?\n"


def test_a_second_ctrl_c_leaves_and_the_turn_is_found_again(roost: Machine) -> None:
    process = roost.start("run", "words please")
    assert process.stdout is not None
    assert process.stdout.read(10)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode in (1, 130)
    assert roost.newest()["phase"] == "working"
    other = roost("run", "something else").ok()  # does its own work only
    assert other.out == "You said: something else\n"
    old = roost("ps", "--json").json[1]
    assert old["phase"] == "working"
    done = roost("send", old["id"], "and then?", "--wait").ok()
    assert "You said: and then?" in done.out


def test_approvals_are_asked_in_a_terminal(roost: Machine) -> None:
    terminal = roost.terminal("run", "make it")
    asked = terminal.expect("[?] help:")
    assert "$ echo made" in asked
    terminal.type("y\n")
    terminal.expect("The result: done")
    assert terminal.wait() == 0
    terminal = roost.terminal("run", "make it")
    terminal.expect("[?] help:")
    terminal.type("n not on my machine\n")
    assert "not on my machine" in terminal.expect("2 steps")
    assert terminal.wait() == 0
    terminal = roost.terminal("run", "twice")
    for _ in range(2):  # commands of two programs: "always" would mean the whole session
        assert "[a]lways" not in terminal.expect("[?] help:")
        terminal.type("y\n")
    terminal.expect("Both: two")
    assert terminal.wait() == 0
    assert (roost.work / "made.txt").read_text() == "made\n"


def test_ctrl_c_at_the_question_cancels(roost: Machine) -> None:
    terminal = roost.terminal("run", "make it")
    terminal.expect("[?] help:")
    terminal.type("\x03")
    terminal.expect("cancelled")
    assert terminal.wait() == 130
    assert roost.newest()["phase"] == "idle"
    assert not (roost.work / "made.txt").exists()


def test_a_terminal_gets_colours_unless_told_not_to(roost: Machine) -> None:
    coloured = roost.terminal("run", "which files?")
    assert coloured.wait() == 0
    assert "\x1b[36m" in coloured.raw
    plain = roost.terminal("run", "which files?", env={"NO_COLOR": "1"})
    assert plain.wait() == 0
    assert "\x1b[36m" not in plain.raw


def test_what_happened_on_the_way_is_told_in_a_line(roost: Machine) -> None:
    busy = Fault(kind="status", status=503, retry_after="0")
    broken = Fault(kind="reset", at=700)
    script = Script(
        rules=(
            Rule(when="busy", answers=(Reply(text="At last.", fault=busy),)),
            Rule(when="broken", answers=(Reply(text="the whole answer", piece=4, pace=0.05, fault=broken),)),
        )
    )
    with ProviderServer(script) as provider:
        model = f"{provider.url}#scripted"
        done = roost("run", "busy", "--model", model).ok()
        assert done.out == "At last.\n"
        assert "the model call failed (overloaded)" in done.err
        assert "trying again in" in done.err
        done = roost("run", "broken", "--model", model).ok()
        assert done.out.endswith("the whole answer\n")
        assert "the answer broke off (connection)" in done.err
        assert "(the answer was cut off and begins again)" in done.err
        assert roost("run", "busy, please", "--model", model, "-q").ok().err == ""


def test_a_picture_is_shown_to_the_model(roost: Machine, provider: ProviderServer, tmp_path: Path) -> None:
    picture = tmp_path / "dot.png"
    picture.write_bytes(base64.b64decode(_DOT))
    roost("run", "What is this?", "--attach", str(picture)).ok()
    content = provider.provider.bodies[-1]["messages"][-1]["content"]
    assert content[0] == {"type": "text", "text": "What is this?"}
    assert content[1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert "cannot read" in roost("run", "x", "--attach", str(tmp_path / "none")).err
    (tmp_path / "empty").touch()
    assert "is empty" in roost("run", "x", "--attach", str(tmp_path / "empty")).err


_DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""One pixel."""


def test_a_wrong_agent_file_stops_nothing_but_itself(roost: Machine) -> None:
    folder = roost.work / "agents"
    folder.mkdir()
    (folder / "clerk.md").write_text("---\ntools: [grep]\n---\nYou are the clerk.\n")
    (folder / "reviewer.md").write_text("---\ntools: Read, Grep\n---\nYou review.\n")
    (folder / "assistant.toml").write_text('instructions = "mine"\n')
    for args in (("run", "hello"), ("run", "clerk", "hello"), ("agents", "list"), ("ps",)):
        done = roost(*args).ok()
        assert "skipped: agents/reviewer.md:2: field 'tools'" in done.err
        assert "skipped: agents/assistant.toml" in done.err
    missing = roost("run", "reviewer", "hello")
    assert (missing.code, "there is no agent 'reviewer'" in missing.err) == (1, True)
    named = roost("run", "--agents", "agents/reviewer.md", "clerk", "hello")
    assert (named.code, "skipped" in named.err, "field 'tools'" in named.err) == (1, False, True)
    roost.up()
    assert "clerk" in roost("agents", "list").ok().out
    assert roost("run", "clerk", "hello").ok()


def test_a_routed_answer_names_the_model_that_gave_it(roost: Machine) -> None:
    roost.home.mkdir(mode=0o700)
    toml = 'profile = "mine"\n[profiles.mine]\nchat = ["openai/small"]\nplan = ["openai/scripted"]\n'
    (roost.home / "models.toml").write_text(toml)
    assert "(auto: openai/small answered)" in roost("run", "--model", "auto", "hello").ok().err
    planned = roost("run", "--model", "auto", "Plan a trip to Rome").ok()
    assert "(auto: openai/scripted answered)" in planned.err
    assert "auto:" not in roost("run", "hello").ok().err


def test_an_agent_that_a_client_made_by_an_api_is_known(roost: Machine) -> None:
    import asyncio

    from roost.agent.definition import AgentSpec
    from roost.features.definitions.definitions import Definitions
    from roost.stores.open import open_store

    async def make() -> str:
        store = await open_store(roost.home / "roost.db")
        try:
            spec = AgentSpec("agent_1", instructions="Be brief.")
            found = await Definitions(store.documents).make(spec, door="managed", shown={}, owner="")
            return found.name
        finally:
            await store.close()

    roost("run", "hello").ok()
    name = asyncio.run(make())
    assert "You said: hi" in roost("run", "--agent", name, "hi").ok().out
    assert roost.newest()["agent"] == name
    wrong = roost("run", "--agent", "agent_2", "hi")
    assert wrong.code == 1
    assert "there is no agent 'agent_2'" in wrong.err
