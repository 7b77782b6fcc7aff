"""Offer the tools of accepted packages to the agents that name them."""

from __future__ import annotations

import time

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.agent.tool_offers import ToolOffers
from roost.features.packages.events import PackageUsed
from roost.features.packages.ports import SessionPackages
from roost.features.packages.state import PackageState
from roost.tools.base import Tool


class PackageTools(Feature):
    """A session offers each turn the tools of the versions that are accepted then, and the log says which."""

    def used(self, session: Session) -> bool:
        return bool(session.spec.packages) and session.means.find(SessionPackages) is not None

    async def enter_turn(self, session: Session) -> None:
        from roost.features.packages.package_tools import made

        port, tools = session.means.find(SessionPackages), dict[str, Tool]()
        assert port is not None
        known = session.state.part(PackageState).packages_used
        for bundle in await port.bundles(session.spec.packages):
            tools |= {tool.name: tool for tool in made(bundle)}
            if known.get(bundle.package) != bundle.digest:
                session.log.note(
                    PackageUsed(
                        at=time.time(),
                        package=bundle.package,
                        version=bundle.version,
                        digest=bundle.digest,
                        tools=tuple(one.name for one in bundle.tools),
                    )
                )
        session.own(ToolOffers).offer("packages", tools)


FEATURE = PackageTools()
