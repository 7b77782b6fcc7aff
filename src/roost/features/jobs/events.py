"""Events of this feature."""

from __future__ import annotations

from roost.log.events import Event, JobOutcome


class JobStarted(Event, frozen=True, tag="job.started"):
    """A `command` runs in the background from `at` on, started by the tool call `call`; committed with the call's
    outcome. due: when it is stopped. outside: the source that makes its output untrusted."""

    job: str
    call: str
    command: str
    due: float
    outside: str | None = None


class JobEnded(Event, frozen=True, tag="job.ended"):
    """The background command ended. code: its exit code; negative: the signal. told: a tool call reported the end to
    the agent in this commit. Otherwise this commit puts a message into the session's own inbox, unless a person stopped
    the command."""

    job: str
    outcome: JobOutcome
    code: int | None = None
    reason: str | None = None
    told: bool = False

    @property
    def line(self) -> str | None:
        if self.told:
            return None
        code = "" if self.code is None else f" {self.code}"
        return f"{self.job}: {self.outcome}{code}" + (f", {self.reason}" if self.reason else "")


TIMERS = {"job:": "background commands"}
EVENTS = (
    JobStarted,
    JobEnded,
)
