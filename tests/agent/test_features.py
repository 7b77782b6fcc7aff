"""The features of the loop: their order, and that each input, event and seam has its owner."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from roost import registry
from roost.agent import feature, fold
from roost.agent.state import State
from roost.log import events as ev
from roost.log import inputs
from roost.tools.builtin import builtin_tool

ORDER = {
    ("intents", "snapshots"): "a person may reject a turn before its files are restored",
    ("client_tools", "intents"): "a tool that the client demands is called whatever the turn is about",
    ("snapshots", "memory"): "the undo point of a turn is taken before anything is recalled for it",
    ("stalls", "hooks"): "a stalled turn ends without asking hooks about its next step",
    ("hooks", "compaction"): "a hook may replace the instruction, whose size compaction counts",
    ("hooks", "delegation"): "hooks hear of the session's end before its orders go down to children",
    ("hooks", "snapshots"): "a hook judges a result before it decides whether the files are undone",
    ("snapshots", "delegation"): "the files are put back before the results of children are judged",
    ("jobs", "snapshots"): "commands end before the files that they write are saved",
    ("terminals", "snapshots"): "programs end before the files that they write are saved",
    ("sandboxes", "snapshots"): "commands of people end before the files that they write are saved",
    ("jobs", "checkpoints"): "the ends of commands are part of a checkpoint",
    ("snapshots", "checkpoints"): "a checkpoint before a risky call names the undo point of that call",
    ("checkpoints", "uploads"): "files are put back before uploaded ones are copied over them",
    ("schedules", "compaction"): "a fresh turn hides the conversation before pins are announced in it",
    ("checkpoints", "compaction"): "a rollback that waits makes a compaction needless",
    ("memory", "environment"): "recalled facts follow the user's words, and the environment comes last",
    ("credentials", "mcp"): "tokens of vaults are there before servers are called with them",
    ("mcp", "tool_search"): "the tools of servers are listed before a search offers them",
    ("memory", "budgets"): "the cost of a consolidation is charged before the budgets are closed",
}


@pytest.mark.parametrize(("first", "second"), ORDER)
def test_an_order_that_matters_is_kept(first: str, second: str) -> None:
    assert registry.FEATURES.index(first) < registry.FEATURES.index(second), ORDER[first, second]


def test_every_folder_is_a_feature_with_a_page() -> None:
    root = Path(feature.__file__).parent.parent / "features"
    folders = {path.name for path in root.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(registry.FEATURES)
    assert all((root / name / "README.md").read_text().startswith("# ") for name in folders)


def test_every_input_has_one_owner() -> None:
    owners = [kind for one in feature.all_features() for kind in (*one.takes, *one.begins)]
    assert sorted(map(str, owners)) == sorted(map(str, set(inputs.input_types()) - set(inputs.CORE)))


def test_every_event_folds() -> None:
    state = State()
    fold.apply(state, ev.Emitted(at=0.0, name="a"))
    assert state.seq == 1


def test_a_feature_overrides_only_seams() -> None:
    seams = set(feature.seam_names())
    for one in feature.all_features():
        own = {name for name in vars(type(one)) if not name.startswith("_")}
        assert own <= seams | {"used", "takes", "begins"}, type(one)


def test_the_tools_of_features_are_found_by_name() -> None:
    found = {name: builtin_tool(name) for name in registry.tools()}
    assert {"plan", "remember", "task", "pin", "read_history", "shell_start"} <= set(found)
    assert all(tool is not None and tool.name == name for name, tool in found.items())


def test_no_tool_of_a_feature_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, roost.tools.builtin as builtin\n"
        "assert 'plan' in builtin.BUILTIN\n"
        "assert not [name for name in sys.modules if name.startswith('roost.features.') and name.count('.') > 2]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


_EVENTS = """
from roost.log.events import Event
from roost.log.inputs import Input


class Moved(Event, frozen=True, tag="scratch.moved"):
    by: int


class Move(Input, frozen=True, tag="scratch"):
    by: int


EVENTS, INPUTS = (Moved,), (Move,)
"""
_STATE = """
from roost.agent.state_parts import StatePart
from roost.features.scratch.events import Moved


class ScratchState(StatePart):
    restored = ("count",)
    count: int = 0


PART, FOLDS = ScratchState, {Moved: lambda state, event: None}
"""
_BEHAVIOUR = """
from roost.agent.feature import Feature
from roost.features.scratch.events import Move


class Scratch(Feature):
    takes = {Move: lambda session, item: None}


FEATURE = Scratch()
"""
_START = """
import os, sys, traceback
from pathlib import Path
from roost import features, registry
from roost.agent import definition, feature

registry.FEATURES += ("scratch",)
for folder in sys.argv[1:]:
    if os.fork() == 0:
        features.__path__.append(folder)
        try:
            feature.check_features()
            registry.tools()
        except Exception:
            Path(folder, "complaint").write_text(traceback.format_exc())
        os._exit(0)
    os.wait()
"""
"""Starts a copy of itself with the feature of each folder. The modules of the product are imported once."""
WRONG = {
    ("events", "EVENTS, INPUTS = (Moved,)", "EVENTS, INPUTS = ()"): "scratch.events.Moved'>}, which is not in `EVENTS`",
    ("events", "(Move,)", "()"): "scratch.events.Move is in `takes` or `begins`, and not in `INPUTS`",
    ("events", '"scratch"', '"pin"'): "'pin': roost.features.compaction.events.PinInput and roost.features.scratch",
    ("events", '"scratch.moved"', '"emitted"'): "'emitted': roost.log.events.Emitted and roost.features.scratch.events",
    ("behaviour", "takes", "other"): "scratch.events.Move is in `takes` or `begins` of 0 features",
    ("state", "PART, FOLDS = ScratchState,", "FOLDS ="): "does not declare it: add PART = ScratchState",
    ("state", "int = 0", "int"): "scratch.state.ScratchState.count needs a default",
    ("state", '("count",)', '("counts",)'): "scratch.state.ScratchState names {'counts'}",
    ("__init__", "()", '("pin",)'): "tool 'pin': roost.features.compaction.tools and roost.features.scratch.tools",
}


def start(*folders: Path) -> list[str]:
    """Start once with each of the features. Returns what the program complains of."""
    done = subprocess.run([sys.executable, "-B", "-c", _START, *map(str, folders)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = [folder / "complaint" for folder in folders]
    return [file.read_text() if file.exists() else "" for file in files]


def written(folder: Path, **files: str) -> Path:
    (folder / "scratch").mkdir(parents=True)
    for name, text in files.items():
        (folder / f"scratch/{name}.py").write_text(text)
    return folder


def test_a_mistake_in_a_feature_ends_the_program_at_its_start(tmp_path: Path) -> None:
    right = {"__init__": "TOOLS = ()\n", "events": _EVENTS, "state": _STATE, "behaviour": _BEHAVIOUR}
    folders = [written(tmp_path / "right", **right)]
    for number, (part, text, other) in enumerate(WRONG):
        assert text in right[part]
        folders.append(written(tmp_path / str(number), **right | {part: right[part].replace(text, other)}))
    nothing, *complaints = start(*folders)
    assert nothing == ""
    for complaint, expected in zip(complaints, WRONG.values(), strict=True):
        assert expected in complaint
