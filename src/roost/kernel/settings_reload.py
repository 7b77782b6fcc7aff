"""Reload a running node's configuration: its files, and settings changed for all nodes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from roost.agent.agent_file_watch import AgentFiles, Stamp, stamp
from roost.errors import ConfigError
from roost.kernel.config import KernelConfig
from roost.kernel.node import Node
from roost.kernel.settings import KEYS, Key, Record, Reloaded, Revision, Setting, Value, checked
from roost.models.catalog.refreshed import FILE as CATALOG
from roost.policy.loading import FILE as POLICY
from roost.policy.loading import Approvals, Policy, load_policy
from roost.providers.config import ModelsConfig
from roost.providers.config_file import FILE as MODELS
from roost.providers.config_file import load_config

log = logging.getLogger("roost.config")
EVERY = 2.0
"""Seconds between checks for changes made on other nodes or in files."""
_SHARED = "roost config"
_KERNEL = ("linger", "max_live", "cleanup_every", "session_timeout", "retention")
_NEVER = ("session_timeout", "retention", "approvals.seconds")


class Reloading:
    """Reload a node's configuration. Belongs to one event loop.

    files: the agent files; None when the program defines its agents itself.
    models, policy: whether these come from the home's files.
    take_policy: puts a policy in force.
    """

    def __init__(
        self,
        node: Node,
        home: Path,
        *,
        files: AgentFiles | None,
        models: bool,
        policy: Policy,
        policy_file: bool,
        take_policy: Callable[[Policy], Awaitable[None]],
    ) -> None:
        self._node, self._home, self._files = node, home, files
        self.record = Record(node.store.coordination)
        self.faults: dict[str, str] = {}
        """By file: why its content is not in force."""
        self._config: KernelConfig = node.membership.config
        self._models: ModelsConfig = node.models.config
        self._policy: Policy = policy
        self._take_policy = take_policy
        self._watched = {home / MODELS: models, home / POLICY: policy_file}
        self._stamps: dict[Path, tuple[Stamp, ...]] = {}
        self._applied = 0
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Apply the shared settings at start. Raises `StoreFailed`."""
        self._stamps = await asyncio.to_thread(self._look)
        await self._apply(await self.record.look())

    def watch(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def patch(self, given: Mapping[str, Any], *, by: str) -> Revision:
        """Change shared settings, as `Record.patch`. In force here on return, on other nodes within `EVERY` seconds.
        Raises `ConfigError` for a model or a budget that this node cannot use, and changes nothing."""
        async with self._lock:
            wanted = {key: checked(key, value) for key, value in given.items()}
            self._check({**(await self.record.look()).values, **wanted})
            made = await self.record.patch(wanted, by=by)
            await self._apply(made)
            return made

    async def settings(self) -> list[Setting]:
        """Return every changeable key with its present value here."""
        async with self._lock:
            await self._apply(await self.record.look())
            return [self._setting(name, key) for name, key in KEYS.items()]

    async def reload(self, *, ordered: bool = True) -> Reloaded:
        """Reload the files. `ordered` by a person: apply all changes; else only those that cannot widen what agents may
        do: no Python and no policy."""
        async with self._lock:
            changed = await self._agents(ordered=ordered)
            files = [name for name in (MODELS, POLICY) if await self._file(name, ordered=ordered)]
            if files:
                self._let_go()
            if files or changed:
                self._node.signals.beat.set()
            return Reloaded(agents=tuple(changed), files=tuple(files), faults=self.all_faults())

    def all_faults(self) -> dict[str, str]:
        return {**(self._files.faults if self._files is not None else {}), **self.faults}

    async def _agents(self, *, ordered: bool) -> list[str]:
        if self._files is None:
            return []
        before = self._files.agents
        told = dict(self._files.faults)
        after = await asyncio.to_thread(self._files.read, ordered=ordered)
        for path, fault in self._files.faults.items():
            if told.get(path) != fault:
                log.error("%s; what it said before holds", fault)
        changed = self._node.agents.renew(before, after)
        if changed:
            log.info("agents read again: %s", ", ".join(changed))
        return changed

    async def _file(self, name: str, *, ordered: bool) -> bool:
        """Reload one file. Returns True when its changed content is now in force."""
        path = self._home / name
        if not self._watched[path]:
            return False
        now = await asyncio.to_thread(_stamps, path)
        other = os.environ.get("ROOST_MODELS") if name == MODELS else None
        if now == self._stamps.get(path) and not (ordered and (other or str(path) in self.faults)):
            return False
        if name == POLICY and not ordered:
            self._fault(path, "it was changed: `roost reload` puts it in force")
            return False
        self._stamps[path] = now
        try:
            changed = await (self._read_models() if name == MODELS else self._read_policy())
        except ConfigError as error:
            self._fault(path, error.message)
            return False
        self.faults.pop(str(path), None)
        if changed:
            log.info("%s was read again", path)
        return changed

    def _fault(self, path: Path | str, what: str) -> None:
        if self.faults.get(str(path)) != what:
            log.error("%s: %s; what it said before holds", path, what)
        self.faults[str(path)] = what

    async def _read_models(self) -> bool:
        read = await asyncio.to_thread(load_config, self._home, os.environ)
        if read == self._models:
            return False
        self._node.model_pool.change(_models(read, self.record.newest.values))
        self._models = read
        return True

    async def _read_policy(self) -> bool:
        read = await asyncio.to_thread(load_policy, self._home / POLICY)
        if read.sandbox != self._policy.sandbox:
            raise ConfigError("[sandbox] takes effect at the next start: restart the node, or undo the change")
        await self._take_policy(_policy(read, self.record.newest.values))
        self._policy = read
        return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                async with self._lock:
                    await self._apply(await self.record.look())
                self._node.failures.worked("cannot look at the configuration")
                await self.reload(ordered=False)
            except Exception as error:  # the node keeps its configuration, and must keep checking
                self._node.failures.failed("cannot look at the configuration", error)

    def _look(self) -> dict[Path, tuple[Stamp, ...]]:
        return {path: _stamps(path) for path, mine in self._watched.items() if mine}

    def _check(self, wanted: Mapping[str, Value | None]) -> None:
        """Raise `ConfigError` for a model or a budget that this node cannot use."""
        values = {key: value for key, value in wanted.items() if value is not None}
        self._node.model_pool.check(_models(self._models, values))
        if "model" in values:
            self._node.models.card(str(values["model"]))

    async def _apply(self, revision: Revision) -> None:
        if revision.number == self._applied:
            return
        values, node = revision.values, self._node
        models, policy = _models(self._models, values), _policy(self._policy, values)
        changed = models != node.models.config or policy != node.resources.policy
        try:
            if models != node.models.config:
                node.model_pool.change(models)
            self.faults.pop(_SHARED, None)
        except ConfigError as error:  # valid on another node, and this one must run with the rest
            self._fault(_SHARED, error.message)
        given: dict[str, Any] = {name: _meant(name, values[name]) for name in _KERNEL if name in values}
        node.membership.config = msgspec.structs.replace(self._config, **given)
        node.resources.policy = policy
        self._applied = revision.number
        if changed:
            self._let_go()
        node.signals.beat.set()
        log.info("configuration %d is in force: %s", revision.number, ", ".join(c.key for c in revision.changes))

    def _let_go(self) -> None:
        for live in self._node.slots.live.values():
            live.outdated = True
            live.woken.set()

    def _setting(self, name: str, key: Key) -> Setting:
        values, started = self.record.newest.values, self._started(name)
        value = _meant(name, values[name]) if name in values else started
        return Setting(key=name, value=value, started=started, set=name in values, says=key.says)

    def _started(self, name: str) -> Value | None:
        match name:
            case "approvals.seconds":
                return self._policy.approvals.seconds
            case "budget.month":
                return self._models.budget.month
            case "model":
                return self._models.default
            case _:
                return getattr(self._config, name)


def _meant(name: str, value: Value) -> Value | None:
    return None if name in _NEVER and value == 0 else value


def _models(config: ModelsConfig, values: Mapping[str, Value]) -> ModelsConfig:
    over: dict[str, Any] = {}
    if "model" in values:
        over["default"] = values["model"]
    if "budget.month" in values:
        over["budget"] = msgspec.structs.replace(config.budget, month=float(values["budget.month"]))
    return msgspec.structs.replace(config, **over)


def _policy(policy: Policy, values: Mapping[str, Value]) -> Policy:
    if "approvals.seconds" not in values:
        return policy
    seconds: Any = _meant("approvals.seconds", values["approvals.seconds"])
    return msgspec.structs.replace(policy, approvals=Approvals(seconds=seconds))


def _stamps(path: Path) -> tuple[Stamp, ...]:
    """Return the stamps of a file; of `models.toml` also that of the refreshed catalog, which is read with it."""
    return (stamp(path), stamp(path.with_name(CATALOG))) if path.name == MODELS else (stamp(path),)
