"""Fold who gave a session's standing rules, and which rules are still to be written."""

from __future__ import annotations

import msgspec

from roost.agent.state import State
from roost.agent.state_parts import StatePart
from roost.features.rules.events import RuleRevoked, RuleSaved
from roost.log import events as ev
from roost.log.session_info import GrantScope


class GivenRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule, and the answer that made it. at: wall time, seconds."""

    rule: str
    scope: GrantScope
    call: str
    at: float
    account: str | None = None
    source: str | None = None


class RulesState(StatePart):
    """given: who gave the session's own rules; `State.grants` says which of them count. unwritten: rules of agents and
    users that are not written yet. A rollback takes back the session's own; those of agents and users are for other
    sessions too and stay."""

    given: tuple[GivenRule, ...] = ()
    unwritten: tuple[GivenRule, ...] = ()


def _answered(state: State, event: ev.ApprovalResolved) -> None:
    if event.scope is None:
        return
    part = state.part(RulesState)
    made = [GivenRule(rule, event.scope, event.call, event.at, event.account, event.source) for rule in event.always]
    if event.scope == "session":  # one that is given again after a rollback has its new giver
        part.given = (*(one for one in part.given if one.rule not in event.always), *made)
    else:
        part.unwritten = (*part.unwritten, *made)


def _saved(state: State, event: RuleSaved) -> None:
    state.part(RulesState).unwritten = ()


def _revoked(state: State, event: RuleRevoked) -> None:
    part = state.part(RulesState)
    part.given = tuple(one for one in part.given if one.rule != event.rule)
    state.grants = [one for one in state.grants if one != event.rule]


def _elsewhere(state: State, event: ev.SessionForked | ev.SessionImported) -> None:
    part = state.part(RulesState)
    part.given, part.unwritten = (), ()


PART = RulesState
FOLDS = {RuleSaved: _saved, RuleRevoked: _revoked}
WATCHES = {ev.ApprovalResolved: _answered, ev.SessionForked: _elsewhere, ev.SessionImported: _elsewhere}
