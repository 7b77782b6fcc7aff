"""The bytes of every persisted shape are pinned: what a log holds today must be readable for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from roost.agent.state import STATE_VERSION, layout
from roost.errors import UnknownEvent
from roost.features.checkpoints.events import (
    CheckpointDropped,
    CheckpointInput,
    CheckpointMade,
    DropCheckpointInput,
    RollbackInput,
)
from roost.features.client_tools.events import (
    ClientCalled,
    ClientOffered,
    ClientOfferInput,
    ClientResultInput,
    OfferedTool,
)
from roost.features.coding_agents.events import ProgramPrompted, ProgramThread
from roost.features.compaction.events import (
    CompactionStarted,
    ContextCompacted,
    ContextElided,
    ContextPinned,
    ContextTrimmed,
    PinInput,
)
from roost.features.delegation.events import (
    ChildEnded,
    ChildHeld,
    ChildInput,
    ChildStarted,
    ChildWaits,
    ChildWaitsInput,
)
from roost.features.environment.events import EnvironmentNoted, InstructionsNoted
from roost.features.frameworks.events import (
    FrameworkAnswered,
    FrameworkAsked,
    FrameworkBegan,
    FrameworkCallEnded,
    FrameworkCallStarted,
    FrameworkCallWaits,
    FrameworkDiverged,
    FrameworkEnded,
    FrameworkInstalled,
    FrameworkWentOn,
)
from roost.features.hooks.events import PolicyDecided
from roost.features.intents.events import IntentChosen
from roost.features.jobs.events import JobEnded, JobStarted
from roost.features.mcp.events import (
    McpAccepted,
    McpAcceptInput,
    McpAsked,
    McpChanged,
    McpFailed,
    McpOffered,
    McpServerAdded,
    McpServerInput,
)
from roost.features.memory.events import (
    ConsolidateInput,
    ConsolidationStarted,
    MemoryChanged,
    MemoryConsolidated,
    MemoryRecalled,
)
from roost.features.openapi.events import AcceptApiInput, ApiChanged, ApiFailed, ApiPinned, ApiResponse
from roost.features.planning.events import PlanChanged
from roost.features.remote_agents.events import RemoteTaskBegan
from roost.features.rules.events import RevokeRuleInput, RuleRevoked, RuleSaved
from roost.features.sandboxes.events import SandboxInput, SandboxOrderCompleted, SandboxOrdered
from roost.features.schedules.events import (
    ContextCleared,
    DueInput,
    ScheduleCleared,
    ScheduleFired,
    ScheduleInput,
    ScheduleSet,
)
from roost.features.skills.events import (
    ChooseSkillsInput,
    OfferedSkill,
    SkillAsked,
    SkillsChosen,
    SkillsOffered,
    SkillUsed,
)
from roost.features.snapshots.events import WorkspaceRestored, WorkspaceSaved, WorkspaceUnsaved
from roost.features.stalls.events import LoopStalled
from roost.features.terminals.events import OpenTerminalInput, TerminalEnded, TerminalOpened, TerminalTyped
from roost.features.tool_search.events import ToolsFound
from roost.features.upgrades.events import MoveInput, SessionMoved
from roost.features.uploads.events import (
    FilesPlaced,
    FilesPublished,
    FileToPlace,
    PlacedFile,
    PlaceFilesInput,
    PublishedFile,
    PublishingSet,
    PublishInput,
)
from roost.log import events as ev
from roost.log.content import Audio, ErrorData, File, Image, Text, Thinking, ToolCall, Usage, Video
from roost.log.facts import NewFact, RecalledFact
from roost.log.inputs import (
    ApprovalInput,
    ControlInput,
    EmitInput,
    Input,
    MessageInput,
    SetTimerInput,
    TimerInput,
    decode_input,
    encode_input,
    input_types,
)
from roost.log.schedule_events import ScheduleSpec, TurnLimits
from tools import pin_events

GOLDEN = Path(__file__).parents[1] / "golden"
_SPEC = msgspec.Raw(b'{"name":"clerk"}')

MEDIA = (
    Image("image/png", url="https://example.org/a.png"),
    Audio("audio/wav", "aGk=", name="a.wav"),
    Video("video/mp4", url="https://example.org/a.mp4"),
    File("application/pdf", "aGk=", name="a.pdf"),
)

FACT = NewFact(
    id="fct_1",
    space="user:ann",
    text="Ann likes tea",
    category="preference",
    key="drink",
    confidence=0.5,
    tainted=True,
    supersedes=("fct_0",),
    proposed=True,
)

SCHEDULE = ScheduleSpec(
    text="tell",
    cron="0 9 * * 1-5",
    zone="Europe/Berlin",
    missed="all",
    catch_up=3,
    grace=5.0,
    jitter=9.0,
    fresh=True,
    heartbeat=True,
    idle_after=2,
    limits=TurnLimits(steps=3, tokens=100, money=0.5, seconds=9.0),
)

EVENTS: list[ev.Event] = [
    ev.SessionCreated(
        at=1.5, agent="clerk", version="v", spec=_SPEC, workspace="/w", title="t", labels={"k": "v"}, parent="p"
    ),
    ev.SessionCreated(at=1.5, agent="clerk", version="v", spec=_SPEC),
    ev.StateChanged(at=2.0, state="paused", reason="why"),
    ev.ControlApplied(at=2.0, action="pause", input=7),
    ev.InputReceived(at=2.0, input=8, parts=(Text("hé"), Image("image/png", "aGk=")), mode="steer", source="cli"),
    ev.InputReceived(at=2.0, input=8, parts=(Text("hi"),)),
    ev.TurnStarted(at=2.0, turn=1, input=8),
    ev.ModelStarted(at=2.0, step=1, model="m", attempt=2),
    ev.ModelCompleted(
        at=3.0,
        step=1,
        parts=(Thinking("hm", "sig"), Text("ok"), ToolCall("c1", "read", '{"path":"a"}')),
        stop="tool_calls",
        usage=Usage(10, 5, 2, 700),
        seconds=0.5,
    ),
    ev.ModelCompleted(
        at=3.0,
        step=1,
        parts=(Image("image/png", "aGk="), Audio("audio/wav", "aGk="), Video("video/mp4", "aGk=")),
        stop="end",
        usage=Usage(),
        seconds=0.5,
    ),
    ev.ModelFailed(at=3.0, step=1, error=ErrorData("rate_limited", "slow down", True, 3.0), seconds=0.1),
    ev.ToolStarted(at=3.0, call="c1", name="read", replay="safe", key="s:1:c1", attempt=2),
    ev.ToolCompleted(at=4.0, call="c1", outcome="ok", parts=(Text("text"),), seconds=0.2),
    ev.ToolCompleted(at=4.0, call="c1", outcome="interrupted"),
    ev.ApprovalRequested(at=4.0, call="c1", name="rm", arguments="{}", reason="r", cause="replay"),
    ev.ApprovalResolved(at=4.0, call="c1", decision="reject", note="no", source="ann"),
    ev.TimerSet(at=4.0, timer="t", due=9.0),
    ev.TimerFired(at=9.0, timer="t", input=9),
    ev.TimerCleared(at=9.0, timer="t"),
    ContextTrimmed(at=9.0, dropped=4, before=900, after=400),
    ev.TurnCompleted(at=9.0, turn=1, outcome="limit", reason="steps", steps=3, usage=Usage(20, 9)),
    ev.Emitted(at=9.0, name="mine", data={"a": [1, None]}),
    ev.ModelFailed(at=3.0, step=1, error=ErrorData("cancel", "cut off"), usage=Usage(10, 5, 0, 700)),
    WorkspaceSaved(at=9.0, snapshot="20778-ab", files=2, bytes=700, skipped=1),
    WorkspaceUnsaved(at=9.0, reason="down"),
    WorkspaceUnsaved(at=9.0, reason="gone", lost=True),
    ev.InputReceived(at=2.0, input=8, parts=MEDIA),
    ev.ToolCompleted(at=4.0, call="c1", outcome="ok", parts=MEDIA),
    ev.ModelCompleted(
        at=3.0,
        step=1,
        parts=(Thinking("hm", "sig", "anthropic"), Thinking("", "sealed", "anthropic", True), Text("ok")),
        stop="end",
        usage=Usage(10, 5, 2, 700, 3, 4),
        seconds=0.5,
    ),
    ev.ModelCompleted(at=3.0, step=1, parts=(Text("ok"),), usage=Usage(10, 5, 0, 700), seconds=0.5, model="a/m"),
    ev.ModelNotice(at=3.0, step=1, kind="retry", data={"code": "overloaded", "try": 2}),
    ev.ModelNotice(at=3.0, step=1, kind="restart"),
    ev.ModelLost(at=3.0, step=1, attempt=1, usage=Usage(10, 5, 0, 700)),
    ev.ToolStarted(at=3.0, call="c1", name="read", replay="safe", key="s:1:c1", why="level: the tool only reads"),
    ev.ToolCompleted(at=4.0, call="c1", outcome="denied", parts=(Text("[denied: no]"),), why="user: deny tool=rm"),
    ev.SessionTainted(at=4.0, by="web_fetch"),
    ev.ControlApplied(at=5.0, action="trust", input=9),
    ev.ApprovalRequested(at=4.0, call="c1", name="rm", arguments="{}", reason="r", why="level: r", due=9.0),
    ev.ApprovalResolved(at=4.0, call="c1", decision="modify", source="ann", arguments='{"a":1}'),
    PolicyDecided(at=4.0, by="hook:lint", on="pre_tool", decision="modify", call="c1", arguments='{"a":1}'),
    PolicyDecided(at=4.0, by="classifier", on="call", decision="ask", reason="r", call="c1", usage=Usage(9, 1)),
    PolicyDecided(at=4.0, by="guardrail:length", on="input", decision="deny", reason="too long"),
    ev.SandboxChosen(at=4.0, level=1, backend="bwrap"),
    ev.SandboxChosen(at=4.0, level=0, backend="process", why="there is no bwrap"),
    ev.SandboxLimit(at=4.0, limit="pids"),
    ev.SandboxLimit(at=4.0, limit="memory_bytes", killed=True),
    ev.SandboxEnded(at=4.0, reason="the session went to sleep", background=2),
    WorkspaceSaved(at=9.0, snapshot="20778-ab", files=2, bytes=700, point="home"),
    WorkspaceSaved(at=9.0, snapshot="20778-ab", point="store"),
    WorkspaceRestored(at=9.0, snapshot="20778-ab", call="c1"),
    WorkspaceRestored(at=9.0, snapshot=None, error="gone"),
    ev.ToolStarted(at=3.0, call="c1", name="sh", replay="never", key="s:1:c1", undo="20778-ab"),
    MemoryChanged(at=9.0, op="update", facts=(FACT,), ended=("fct_0",), call="c1"),
    MemoryChanged(at=9.0, op="revert", since=7),
    MemoryRecalled(
        at=9.0,
        turn=1,
        facts=(RecalledFact(id="fct_1", space="agent:clerk", text="é", created=1.5, score=0.5, tainted=True),),
        how="words",
        why="there is no embedding model",
        seconds=0.5,
    ),
    MemoryRecalled(at=9.0, turn=2),
    EnvironmentNoted(at=9.0, turn=2, text="[Now: Monday\nFiles: a.txt]"),
    MemoryConsolidated(at=9.0, upto=20, facts=3, model="m", usage=Usage(10, 5, 0, 700), seconds=0.5),
    MemoryConsolidated(at=9.0, upto=20, error="no answer"),
    ev.ModelStarted(at=2.0, step=1, model="m", context=900),
    ContextElided(at=9.0, outputs=(12, 15), before=900, after=400),
    ContextElided(at=9.0, outputs=(12,), before=900, after=400, readable=False),
    CompactionStarted(at=9.0, model="m", messages=4, before=900, attempt=2),
    ContextCompacted(
        at=9.0, before=900, after=400, upto=5, keep=(0,), dropped=4, summary="notes", by="model", usage=Usage(9, 1)
    ),
    ContextCompacted(at=9.0, before=900, after=900, seconds=0.5, error=ErrorData("empty", "nothing")),
    ContextPinned(at=9.0, key="rule", text="no force", by="ann"),
    ContextPinned(at=9.0, key="rule", text=None),
    ContextElided(at=9.0, outputs=(12,), before=900, after=400, shown=80),
    ConsolidationStarted(at=9.0, upto=20, model="m", attempt=2),
    CheckpointMade(at=9.0, cause="manual", label="good", files="v1", files_in="home", input=7, dropped=(3,)),
    CheckpointMade(at=9.0, cause="pause", why_no_files="own folder"),
    CheckpointDropped(at=9.0, checkpoint=3, input=8),
    CheckpointDropped(at=9.0, checkpoint=3, points=("20000-ab",)),
    ev.SessionRolledBack(at=9.0, to=3, input=8, label="good", files="v1", why_no_files="older"),
    ev.SessionForked(
        at=9.0, source="s", position=3, title="t", labels={"k": "v"}, files="v1", files_in="home", why_no_files="older"
    ),
    SessionMoved(at=9.0, version="v2", spec=_SPEC, input=7, source="ann"),
    ev.SessionImported(at=9.0, source="s"),
    ev.SessionImported(at=9.0, source="s", format="codex"),
    ev.SessionCreated(at=1.5, agent="clerk", version="v", spec=_SPEC, tainted="import"),
    ev.ToolStarted(at=3.0, call="c1", name="read", replay="safe", key="s:early.1.1.1", early=True),
    ev.SessionCreated(
        at=1.5,
        agent="clerk",
        version="v",
        spec=_SPEC,
        parent="p",
        family=ev.Family((ev.Ancestor("g", 700), ev.Ancestor("p")), 1, True),
    ),
    ChildStarted(at=9.0, child="s2", call="c1", agent="clerk", background=True, due=12.0),
    ChildHeld(at=9.0, call="c1"),
    ChildWaits(at=9.0, child="s2", session="s3", call="c1", tool="sh", reason="r"),
    ChildEnded(at=9.0, child="s2", outcome="timeout", reason="r", usage=Usage(10, 5, 0, 700)),
    JobStarted(at=9.0, job="job-1", call="c1", command="npm test", due=99.5, outside="shell_start"),
    JobEnded(at=9.0, job="job-1", outcome="exited", code=-9, told=True),
    JobEnded(at=9.0, job="job-1", outcome="lost", reason="r"),
    ScheduleSet(at=9.0, name="d", spec=SCHEDULE, next=99.5, input=7),
    ScheduleSet(at=9.0, name="d", spec=ScheduleSpec(text="x", every=60.0), next=None, paused="idle"),
    ScheduleFired(at=9.0, name="d", due=99.5, next=199.5, input=8, missed=3, run=False),
    ScheduleFired(at=9.0, name="d", due=None, next=None, input=8),
    ScheduleCleared(at=9.0, name="d", why="deleted", input=9),
    ScheduleCleared(at=9.0, name="d", why="over"),
    ContextCleared(at=9.0),
    LoopStalled(at=9.0, turn=1, step=5, kind="repeat", count=5, action="hint", hint="[stop]"),
    IntentChosen(at=9.0, turn=1, intent="deploy", tools=("sh",), word="deploy", confirm=True, calls="execute"),
    IntentChosen(at=9.0, turn=1, intent="chat"),
    PlanChanged(
        at=9.0,
        goals=(ev.Goal("read", "done"), ev.Goal("write")),
        score=4,
        note="n",
        ended=1,
        eta=9.5,
        call="c1",
    ),
    PlanChanged(at=9.0, goals=()),
    ev.ApprovalRequested(
        at=4.0,
        call="c1",
        name="shell",
        arguments="{}",
        reason="r",
        dangers=(ev.Danger("rm -r x", "removes x", 4, 11), ev.Danger("sh", "runs it")),
        prefixes=("npm test",),
    ),
    ev.ApprovalResolved(at=4.0, call="c1", decision="approve", always=("npm test",), scope="session"),
    ev.ToolCompleted(at=4.0, call="c1", outcome="ok", seen={"src/a.py": "5dc1", "gone": None}),
    ev.ToolCompleted(at=4.0, call="c1", outcome="ok", code=1),
    ClientOffered(
        at=4.0, tools=(OfferedTool("weather", "Ask for it.", {"type": "object"}),), answer={"type": "object"}
    ),
    ClientOffered(at=4.0),
    ClientCalled(at=4.0, call="c1", name="weather", arguments='{"in":"Ghent"}'),
    ClientOffered(at=4.0, tools=(OfferedTool("weather"),), choice=("weather",)),
    ev.InputReceived(at=2.0, input=8, parts=(Text("hi"),), note={"metadata": {"a": "b"}}),
    ToolsFound(at=4.0, names=("pets__get_pet", "pets__add_pet")),
    FilesPlaced(at=9.0, input=7, files=(PlacedFile("file_1", "a.txt", 3), PlacedFile("file_2", "b", error="gone"))),
    SkillsOffered(
        at=1.0,
        turn=2,
        skills=(
            OfferedSkill("pdf", "home", "d1", "Fills forms."),
            OfferedSkill("x", "workspace", "d2", accepted=False),
        ),
        more=1,
    ),
    SkillAsked(at=1.0, call="c", name="x", digest="d2"),
    SkillUsed(at=1.0, call="c", name="x", digest="d2", place="workspace", accepted=False),
    SkillsChosen(at=1.0, names=("pdf",)),
    InstructionsNoted(at=1.0, turn=2, path="AGENTS.md", digest="d", text="Use tabs."),
    ApiPinned(at=4.0, api="pets", digest="d1", spec="/srv/pets.json", operations=4),
    ApiPinned(at=4.0, api="pets", digest="d2", spec="/srv/pets.json", operations=5, by="ann"),
    ApiChanged(at=4.0, api="pets", digest="d2", added=("sellPet",), removed=("a",), changed=("servers", "getPet")),
    ApiFailed(at=4.0, api="pets", reason="it has no paths"),
    ApiResponse(at=4.0, call="c1", text="[]"),
    RemoteTaskBegan(at=4.0, agent="other", call="c1", key="k1", task="t1", context="x1"),
    McpOffered(at=5.0, server="git", digest="d1", catalog="c1", tools=12, accepted=True),
    McpFailed(at=5.0, server="git", reason="it did not start within 20 s"),
    McpChanged(at=5.0, server="git", tool="git_log", call="c1", definition="t2"),
    McpAccepted(at=5.0, server="git", tool="git_log", definition="t2", catalog="c2"),
    McpAsked(at=5.0, server="git", call="c1", wants={"": {"message": "Which?"}}, arguments="{}", state="s"),
    McpServerAdded(at=5.0, name="git", server={"name": "git", "command": "mcp-server-git"}),
    FilesPublished(at=9.0, turn=2, files=(PublishedFile("o/a", "file_1", 3, "ab"), PublishedFile("o/b", error="gone"))),
    PublishingSet(at=9.0, folder="outputs", input=7, owner="ann", keys={"artifact": "s"}),
    ev.ApprovalRequested(
        at=4.0,
        call="c1",
        name="deploy",
        arguments="{}",
        reason="r",
        offers=(ev.RuleOffer("tool:deploy", "calls of 'deploy'", ("session", "agent")),),
    ),
    RuleSaved(at=4.0, rules=("rule_1",)),
    RuleRevoked(at=4.0, rule="npm test", input=8, account="ann"),
    ProgramPrompted(at=9.0, program="codex", thread="t1", told=1),
    ProgramThread(at=9.0, program="codex", thread="t1"),
    TerminalOpened(
        at=1.0, terminal="term-1", command=("bash",), columns=80, rows=24, by="agent", idle=3600.0, call="c1"
    ),
    TerminalTyped(at=2.0, terminal="term-1", by="ada", text="ls\r"),
    TerminalTyped(at=2.5, terminal="term-1", by="alice/ada", text="", hidden=9),
    TerminalEnded(at=3.0, terminal="term-1", code=-9, reason="the session was stopped", recording="eJw="),
    SandboxOrdered(at=1.0, input=4, action="exec", by="alice", command=("make", "test")),
    SandboxOrderCompleted(
        at=2.0, input=4, action="exec", exit_code=2, stdout="out", stderr="err", seconds=0.5, truncated=True
    ),
    SandboxOrderCompleted(at=3.0, input=5, action="suspend", problem="no", killed_by="wall_seconds"),
    FrameworkInstalled(at=1.0, environment="e1", packages=38, seconds=7.9),
    FrameworkBegan(at=1.0, framework="python", run=1, first=0, told=1, environment="e1", code="c1"),
    FrameworkAsked(at=1.0, step=1, scope="", digest="d1", masked="m1"),
    FrameworkAnswered(at=1.0, scope="c1", digest="d1", masked="m1", parts=(Text("hi"),), usage=Usage(1, 2, cost=3)),
    FrameworkWentOn(at=1.0),
    FrameworkCallStarted(at=1.0, call="c2", outer="c1", name="pay", arguments="{}", replay="never", why="level"),
    FrameworkCallEnded(at=1.0, call="c2", outcome="ok", parts=(Text("paid"),)),
    FrameworkCallWaits(at=1.0, call="c2", outer="c1", name="pay", arguments="{}"),
    FrameworkEnded(at=1.0, keep=2, items=({"role": "user"},), unclaimed=1),
    FrameworkDiverged(at=1.0, kind="drifted", about="a date"),
    FrameworkDiverged(at=1.0, kind="stopped", about="pay ran before", call="c3", lost=("c1",)),
]
INPUTS: list[Input] = [
    MessageInput((Text("hi"),), "steer", "cli"),
    MessageInput((Text("hi"), Image("image/png", "aGk="))),
    ControlInput("cancel"),
    ApprovalInput("c1", "approve", "fine", "ann"),
    SetTimerInput("t", 9.0, (Text("wake"),)),
    SetTimerInput("t", None),
    TimerInput("t", (Text("wake"),)),
    EmitInput("mine", {"a": 1}),
    MessageInput(MEDIA),
    ApprovalInput("c1", "modify", None, "ann", '{"a":1}'),
    ControlInput("trust"),
    ControlInput("compact"),
    PinInput("rule", "no force", "ann"),
    PinInput("rule", None, "ann"),
    CheckpointInput("good"),
    CheckpointInput(cause="fork"),
    DropCheckpointInput(3),
    RollbackInput(3, "undo"),
    MoveInput("v2", msgspec.Raw(b'{"name":"clerk"}'), ("account:openai",), "ann"),
    MessageInput((Text("hi"),), source="agent:clerk:s", tainted="web_fetch"),
    ChildInput("s2", "answered", (Text("ok"),), usage=Usage(10, 5, 0, 700), tainted="web_fetch"),
    ChildInput("s2", "failed", reason="r"),
    ChildWaitsInput("s2", "s3", "c1", "sh", "r"),
    ScheduleInput("d", "set", SCHEDULE),
    ScheduleInput("d", "pause"),
    DueInput("d", 99.5),
    DueInput("d"),
    ConsolidateInput(99.5),
    ControlInput("cancel", "task"),
    ControlInput("stop", "unused"),
    ApprovalInput("c1", "approve", None, "ann", None, ("npm test",), "session", 7),
    ClientOfferInput((OfferedTool("weather", "Ask for it.", {"type": "object"}),), {"type": "object"}),
    ClientOfferInput(),
    ClientResultInput("c1", (Text("rain"),)),
    ClientResultInput("c1", (Text("no such place"),), error=True),
    ClientOfferInput((OfferedTool("weather"),), choice=("weather",)),
    MessageInput((Text("hi"),), note={"metadata": {"a": "b"}}),
    PlaceFilesInput((FileToPlace("file_1", "a.txt"),)),
    ChooseSkillsInput(("pdf", "web-*")),
    AcceptApiInput("pets", "d2", "ann"),
    McpServerInput("git", {"name": "git", "command": "mcp-server-git"}),
    McpAcceptInput("git"),
    PublishInput("outputs", "ann", {"artifact": "s"}),
    RevokeRuleInput("npm test"),
    OpenTerminalInput("term-1", ("python3", "-q"), 100, 30, "ada", 3600.0, walled=True),
    ControlInput("cancel", input=7),
    SandboxInput("exec", ("make", "test"), 30.0, walled=True),
]


def state_shape() -> bytes:
    """The snapshot's schema, without what is said about it."""
    return msgspec.json.format(_bare(msgspec.json.schema(layout().struct)))


def log_shape() -> bytes:
    """The schemas of all events and of what they contain, a line each."""
    kinds = sorted(ev.event_types(), key=lambda kind: str(kind.__struct_config__.tag))
    _, parts = msgspec.json.schema_components(kinds)
    tags = {kind.__name__: str(kind.__struct_config__.tag) for kind in kinds}
    lines = sorted(b'"%b": %b' % (tags.get(name, name).encode(), _bare(part, "title")) for name, part in parts.items())
    return b"{\n%b\n}" % b",\n".join(lines)


def _bare(schema: object, *without: str) -> bytes:
    """A schema without what is said about it."""

    def bare(node: object) -> object:
        if isinstance(node, dict):
            return {key: bare(value) for key, value in node.items() if key not in ("description", *without)}
        return [bare(value) for value in node] if isinstance(node, list) else node

    return msgspec.json.encode(bare(schema), order="deterministic")


def test_every_example_is_pinned() -> None:
    for name, examples in (("events", EVENTS), ("inputs", INPUTS)):
        lines = (GOLDEN / f"{name}.v1.jsonl").read_bytes().splitlines()
        assert len(lines) == len(examples), "run python -m tools.pin_events"


def test_a_new_example_is_pinned_and_an_old_one_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "events.v1.jsonl"
    path.write_bytes(b"1\n")
    pin_events.pin(path, [b"1", b"2"])
    assert path.read_bytes() == b"1\n2\n"
    for lines in ([b"0", b"2"], [b"1"]):
        with pytest.raises(SystemExit):
            pin_events.pin(path, lines)


def made(name: str) -> list[bytes]:
    """The pinned examples that `tools.pin_events` has made, of kinds without one in `EVENTS` and `INPUTS`."""
    path = GOLDEN / f"{name}.made.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def test_every_kind_is_pinned() -> None:
    events = {type(one) for one in (*EVENTS, *map(ev.decode_event, made("events")))}
    inputs = {type(one) for one in (*INPUTS, *map(decode_input, made("inputs")))}
    assert (events, inputs) == ({*ev.event_types()}, {*input_types()}), "run python -m tools.pin_events"


@pytest.mark.parametrize(
    ("line", "again"),
    [
        *((line, lambda body: ev.encode_event(ev.decode_event(body))) for line in made("events")),
        *((line, lambda body: encode_input(decode_input(body))) for line in made("inputs")),
    ],
)
def test_bytes_of_made_examples(line: bytes, again: Callable[[bytes], bytes]) -> None:
    assert again(line) == line


@pytest.mark.parametrize("kind", [*ev.event_types(), *input_types()], ids=lambda kind: kind.__name__)
def test_every_kind_could_have_a_made_example(kind: type[msgspec.Struct]) -> None:
    example = pin_events.made(kind)
    body = encode_input(example) if isinstance(example, Input) else ev.encode_event(example)
    left_out = [one for one in msgspec.structs.fields(kind) if one.encode_name not in msgspec.json.decode(body)]
    assert [one.name for one in left_out if getattr(example, one.name) != one.default] == []
    assert (decode_input(body) if isinstance(example, Input) else ev.decode_event(body)) == example


def test_the_page_gets_a_row_for_an_event_that_it_lacks(tmp_path: Path) -> None:
    page = tmp_path / "events.md"
    page.write_text("| `turn.started` | a turn begins | `turn` |\n")
    pin_events.add_rows(page, (ev.TurnStarted, RuleRevoked))
    assert page.read_text().splitlines()[1].startswith("| `rule.revoked` | ")
    assert page.read_text().endswith("| `rule`, `input`, `account` |\n")


def test_the_format_is_raised_in_its_source(tmp_path: Path) -> None:
    source = tmp_path / "events.py"
    source.write_text(f"a = 1\nFORMAT = {ev.FORMAT}\n")
    assert pin_events.raised(source) == ev.FORMAT + 1
    assert source.read_text() == f"a = 1\nFORMAT = {ev.FORMAT + 1}\n"


@pytest.mark.parametrize("place", range(len(EVENTS)))
def test_event_bytes(place: int) -> None:
    golden = (GOLDEN / "events.v1.jsonl").read_bytes().splitlines()[place]
    assert ev.encode_event(EVENTS[place]) == golden
    assert ev.decode_event(golden) == EVENTS[place]


@pytest.mark.parametrize("place", range(len(INPUTS)))
def test_input_bytes(place: int) -> None:
    golden = (GOLDEN / "inputs.v1.jsonl").read_bytes().splitlines()[place]
    assert encode_input(INPUTS[place]) == golden
    assert decode_input(golden) == INPUTS[place]


def pinned(name: str, number: int) -> bytes:
    path = GOLDEN / f"{name}.v{number}.json"
    return path.read_bytes().strip() if path.exists() else b""


def test_state_shape_changes_with_its_version() -> None:
    """A snapshot is read back by whoever runs next: change `STATE_VERSION` together with the shape."""
    assert pinned("state", STATE_VERSION) == state_shape(), pin_events.CHANGED.format("state")


def test_log_shape_changes_with_its_format() -> None:
    """An older node folds what it can read, and forgets the rest: it must leave such a session to a newer one."""
    assert pinned("log", ev.FORMAT) == log_shape(), pin_events.CHANGED.format("log")


def test_a_shape_is_pinned_once_for_each_number(tmp_path: Path) -> None:
    for number in (1, 2):
        pin_events.pin_shape(tmp_path, "log", number, b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["log.v2.json"], "the older one is nobody's any more"
    with pytest.raises(SystemExit, match="FORMAT"):
        pin_events.pin_shape(tmp_path, "log", 2, b"[]")
    pin_events.pin_shape(tmp_path, "log", 2, b"[]", compatible=True)
    assert (tmp_path / "log.v2.json").read_bytes() == b"[]\n"


def test_the_tag_comes_first() -> None:
    """Readers take an event's type from its first bytes without decoding the rest."""
    for event in EVENTS:
        assert ev.encode_event(event).startswith(b'{"type":"' + ev.event_type(event).encode() + b'"')


def test_fields_of_a_newer_version_are_ignored() -> None:
    body = b'{"type":"turn.started","turn":1,"input":8,"at":2.0,"colour":"blue"}'
    assert ev.decode_event(body) == ev.TurnStarted(at=2.0, turn=1, input=8)


@pytest.mark.parametrize(
    "body", [b'{"type":"turn.begun","at":1.0}', b'{"type":"turn.started"}', b"", b"\xff\xfe", b"[]"]
)
def test_unknown_events_are_an_error_of_ours(body: bytes) -> None:
    with pytest.raises(UnknownEvent):
        ev.decode_event(body)


class Unlisted(ev.Event, frozen=True, tag="unlisted"):
    """In `EVENTS` of no feature."""


class UnlistedInput(Input, frozen=True, tag="unlisted"):
    """In `INPUTS` of no feature."""


def test_what_nobody_could_read_again_is_not_encoded() -> None:
    with pytest.raises(TypeError, match="Unlisted is not in `EVENTS`"):
        ev.encode_event(Unlisted(at=1.0))
    with pytest.raises(TypeError, match="UnlistedInput is not in `INPUTS`"):
        encode_input(UnlistedInput())
