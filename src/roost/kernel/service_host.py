"""What the services of features are built with.

A feature that has operations has one class that implements them, in `roost/features/NAME/service.py`: the class is
`SERVICE` there, and takes a `ServiceHost`. `roost.runtime.Runtime.service` makes one of each for a running node; the
server and Python programs use the same object. A service holds nothing that must be closed: what a feature keeps open
belongs to its `NodeFeature`, which the service gets by `host.node.feature(...)`."""

from __future__ import annotations

from typing import NamedTuple

from roost.kernel.node import Node
from roost.kernel.sessions import Sessions
from roost.log.store import Store
from roost.policy.vault import Vault


class ServiceHost(NamedTuple):
    """A running node, and the operations on its sessions. Other parts are the node's: `agents`, `models`,
    `model_pool`, `resources`, `place` (with the id of its home)."""

    node: Node
    sessions: Sessions

    @property
    def store(self) -> Store:
        """The store as requests see it."""
        return self.node.tenants

    @property
    def vault(self) -> Vault:
        """The vault as it is now: a new policy replaces it."""
        return self.node.resources.vault
