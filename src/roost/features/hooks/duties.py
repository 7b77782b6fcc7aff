"""Hooks, at the seams of the node."""

from __future__ import annotations

import logging

from roost.agent.origin import life_of
from roost.errors import StoreCorrupt, UnknownEvent
from roost.features.hooks.step_checks import last_said
from roost.kernel.node_feature import NodeFeature
from roost.kernel.state_loader import load_state
from roost.log.session_info import SessionInfo
from roost.policy.hooks import Moment, ask

log = logging.getLogger("roost.hooks")


class HookDuties(NodeFeature):
    """Call the `session_end` hooks of a session that is deleted."""

    async def before_deletion(self, info: SessionInfo) -> None:
        store, resources = self.host.store, self.host.resources
        checks = resources.checks(info.agent)
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


NODE = HookDuties
