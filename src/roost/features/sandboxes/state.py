"""Fold orders for the sandbox into a session's state."""

from __future__ import annotations

from roost.agent.state import State
from roost.agent.state_parts import StatePart
from roost.features.sandboxes.events import SandboxAction, SandboxOrderCompleted, SandboxOrdered
from roost.log import events as ev


class SandboxOrders(StatePart):
    """open: by number of their input, the orders whose end is not in the log."""

    open: dict[int, SandboxAction] = {}

    @property
    def busy(self) -> bool:
        return bool(self.open)


def _ordered(state: State, event: SandboxOrdered) -> None:
    state.part(SandboxOrders).open[event.input] = event.action


def _completed(state: State, event: SandboxOrderCompleted) -> None:
    state.part(SandboxOrders).open.pop(event.input, None)


def _left(state: State, event: ev.SessionForked | ev.SessionImported) -> None:
    state.part(SandboxOrders).open = {}


PART = SandboxOrders
FOLDS = {SandboxOrdered: _ordered, SandboxOrderCompleted: _completed}
WATCHES = {ev.SessionForked: _left, ev.SessionImported: _left}
