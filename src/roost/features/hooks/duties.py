"""Hooks, at the seams of the node."""

from __future__ import annotations

import logging

from roost.agent.definition import AgentSpec
from roost.agent.origin import life_of
from roost.agent.resources import Resources
from roost.errors import StoreCorrupt, UnknownEvent
from roost.features.hooks.step_checks import last_said
from roost.kernel.node_feature import Host, NodeFeature
from roost.kernel.state_loader import load_state
from roost.log.session_info import SessionInfo
from roost.policy.checks import Checks, checks_of
from roost.policy.classifier import ModelClassifier
from roost.policy.hooks import Moment, ask
from roost.policy.patterns import Patterns

log = logging.getLogger("roost.hooks")


class HookDuties(NodeFeature):
    """Give sessions their checks, and call the `session_end` hooks of a session that is deleted."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._hands = host.sandboxes.process
        self._patterns = Patterns(self._hands)

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if (checks := self._checks(spec.name)) is not None:
            resources.give(checks)

    async def before_deletion(self, info: SessionInfo) -> None:
        store, resources = self.host.store, self.host.resources
        checks = self._checks(info.agent)
        hooks = () if checks is None else checks.hooks.get("session_end", ())
        if checks is None or not hooks:
            return
        try:
            state = await load_state(store, info.id)
            life = await life_of(info.id, state, store.logs.read)
        except (UnknownEvent, StoreCorrupt) as error:
            log.warning("session %s: no hook is told that it is deleted: %s", info.id, error)
            return
        if life.begun:
            moment = Moment(
                on="session_end",
                session=info.id,
                agent=info.agent,
                turn=state.turns,
                text=resources.vault.scrub(last_said(state)),
                outcome="deleted",
            )
            for hook in hooks:
                await ask(hook, moment, checks.hands)

    def _checks(self, agent: str) -> Checks | None:
        """Return the hooks, guardrails and classifier for an agent's sessions; None without any."""
        resources, python = self.host.resources, self.host.agents.python(agent)
        policy, classifier = resources.policy, None
        if (named := policy.classifier) is not None:
            classifier = ModelClassifier(resources.named(named.model), seconds=named.seconds, advice=named.advice)
        hooks, guards = (*policy.hooks, *python.hooks), (*policy.guardrails, *python.guards)
        return checks_of(hooks, guards, classifier, self._hands, self._patterns)


NODE = HookDuties
