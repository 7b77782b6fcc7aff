"""What a terminal shows of the events of features."""

from __future__ import annotations

import pytest

from roost.features.checkpoints.events import CheckpointMade
from roost.features.compaction.events import ContextCompacted, ContextElided
from roost.features.delegation.events import ChildEnded, ChildStarted
from roost.features.jobs.events import JobEnded
from roost.features.memory.events import MemoryConsolidated
from roost.features.schedules.events import ScheduleCleared, ScheduleFired, ScheduleSet
from roost.features.snapshots.events import WorkspaceRestored, WorkspaceUnsaved
from roost.log.events import Event
from roost.log.schedule_events import ScheduleSpec

_CHILD = "ses_000000000000000012345678"
_SPEC = ScheduleSpec(text="x", every=3600.0, zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (CheckpointMade(at=0, cause="manual", label="one", why_no_files="full"), "  checkpoint one; files: full"),
        (ContextElided(at=0, outputs=(1, 2), before=9, after=3), "2 outputs of tools left the model's context"),
        (
            ContextCompacted(at=0, before=9, after=3, upto=4, dropped=2, by="model"),
            "2 messages were summarized: 9 → 3 tokens",
        ),
        (ContextCompacted(at=0, before=9, after=9), None),
        (
            ChildStarted(at=0, child=_CHILD, call="c", agent="clerk", background=True),
            "  clerk has a task in the background: session 12345678",
        ),
        (ChildEnded(at=0, child=_CHILD, outcome="failed", reason="why"), "  session 12345678: failed, why"),
        (JobEnded(at=0, job="job1", outcome="exited", code=3), "  job1: exited 3"),
        (JobEnded(at=0, job="job1", outcome="exited", told=True), None),
        (MemoryConsolidated(at=0, upto=1, facts=1), "  kept 1 fact of the last turns"),
        (ScheduleSet(at=0, name="n", spec=_SPEC, next=0.0), "  schedule n: comes due 1970-01-01 01:00 CET"),
        (
            ScheduleSet(at=0, name="n", spec=_SPEC, next=None, paused="idle"),
            "  schedule n: rests, there was nothing to do",
        ),
        (ScheduleFired(at=0, name="n", next=None, input=1, due=0.0, missed=2, run=False), "  schedule n: 2 missed"),
        (ScheduleFired(at=0, name="n", next=None, input=1, due=0.0), None),
        (ScheduleCleared(at=0, name="n", why="deleted"), "  schedule n is no more: deleted"),
        (WorkspaceRestored(at=0, snapshot=None, error="gone"), "  files not put back: gone"),
        (WorkspaceUnsaved(at=0, reason="full", lost=True), "files lost: full"),
    ],
)
def test_a_line_says_what_happened(event: Event, line: str | None) -> None:
    assert (None if event.line is None else event.margin + event.line) == line
