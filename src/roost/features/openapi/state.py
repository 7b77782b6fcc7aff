"""Fold the documents and responses of APIs into a session's state."""

from __future__ import annotations

from roost.agent.state import State
from roost.agent.state_parts import StatePart
from roost.features.openapi.events import ApiChanged, ApiFailed, ApiPinned, ApiResponse
from roost.log import events as ev

_KEPT = 64


class OpenApiState(StatePart):
    """digests: of the pinned document of each API. waiting: of a changed one that no person has accepted. failed: for
    each API that cannot be used, the reason. responses: position of the kept response of each call, the newest 64.

    A rollback keeps all of it: what a person accepted stays accepted. An import keeps no document: people accepted them
    elsewhere, and the file may name any that this node knows."""

    digests: dict[str, str] = {}
    waiting: dict[str, str] = {}
    failed: dict[str, str] = {}
    responses: dict[str, int] = {}


def _pinned(state: State, event: ApiPinned) -> None:
    part = state.part(OpenApiState)
    part.digests[event.api] = event.digest
    part.waiting.pop(event.api, None)
    part.failed.pop(event.api, None)


def _changed(state: State, event: ApiChanged) -> None:
    state.part(OpenApiState).waiting[event.api] = event.digest


def _failed(state: State, event: ApiFailed) -> None:
    state.part(OpenApiState).failed[event.api] = event.reason


def _kept(state: State, event: ApiResponse) -> None:
    responses = state.part(OpenApiState).responses
    responses.pop(event.call, None)
    responses[event.call] = state.seq
    for oldest in list(responses)[: len(responses) - _KEPT]:
        del responses[oldest]


def _imported(state: State, event: ev.SessionImported) -> None:
    part = state.part(OpenApiState)
    part.digests, part.waiting, part.failed = {}, {}, {}


PART = OpenApiState
WATCHES = {ev.SessionImported: _imported}
FOLDS = {ApiPinned: _pinned, ApiChanged: _changed, ApiFailed: _failed, ApiResponse: _kept}
