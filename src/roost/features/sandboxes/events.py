"""Events and inputs of this feature."""

from __future__ import annotations

from typing import Literal, TypeAlias

from roost.log.events import Event
from roost.log.inputs import Input

SandboxAction: TypeAlias = Literal["start", "stop", "suspend", "resume", "exec"]


class SandboxOrdered(Event, frozen=True, tag="sandbox.ordered"):
    """A person's order is carried out next. input: the order. by: the account; None is the home. command: of `exec`."""

    input: int
    action: SandboxAction
    by: str | None = None
    command: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        what = f": {' '.join(self.command)[:80]}" if self.command else ""
        return f"{self.by or 'the owner'} orders: sandbox {self.action}{what}"


class SandboxOrderCompleted(Event, frozen=True, tag="sandbox.order_completed"):
    """An order has been carried out. problem: why not. The other fields are those of a command's result."""

    input: int
    action: SandboxAction
    problem: str | None = None
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    truncated: bool = False
    killed_by: str | None = None


class SandboxInput(Input, frozen=True, tag="sandbox"):
    """Carry out an order. seconds: limit of a command. walled: only behind an isolation boundary."""

    action: SandboxAction
    command: tuple[str, ...] = ()
    seconds: float = 60.0
    walled: bool = False


EVENTS = (SandboxOrdered, SandboxOrderCompleted)
INPUTS = (SandboxInput,)
