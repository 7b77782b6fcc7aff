"""The gate: the one decision that every tool call passes before it runs, whatever its origin."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from roost.policy.command import Analysis
from roost.policy.globs import could_match
from roost.policy.rules import Effect, Rule, Touches, anchor, decide, held_back, needles, within
from roost.workspace.files import Held

Safety: TypeAlias = Literal["read_only", "safe_write", "destructive", "high_risk"]
Permissions: TypeAlias = Literal["read_only", "ask", "workspace", "auto", "custom", "all"]
Layer: TypeAlias = Literal[
    "roost", "agents", "user", "config", "project", "system", "level", "classifier", "default", "person"
]
LAYERS: tuple[Layer, ...] = ("user", "config", "project", "system")
"""Of rules, in order: priorities 100, 60, 50 and 10."""
NOTHING = Touches()


class GateCall(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate may judge. `arguments` is the JSON text of the call, as the model wrote it; `touches` what the tool
    says that they mean. `inside` says whether the tool keeps itself inside the session's own files, which lie in
    `root`. `walled`: its commands run behind a wall (isolation level 1 or more). `tainted`: the session has read what
    comes from outside."""

    session: str
    call: str
    tool: str
    arguments: str
    safety: Safety
    inside: bool
    private_workspace: bool
    root: Path = Path("/")
    touches: Touches = NOTHING
    walled: bool = False
    tainted: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """`layer` is who decided, `rule` by which rule."""

    decision: Effect
    reason: str
    layer: Layer = "level"
    rule: str | None = None

    @property
    def why(self) -> str:
        """For the log: who decided, and by what."""
        return f"{self.layer}: {self.rule or self.reason}"


class Gate(Protocol):
    """Must not raise and must not block; a call that it cannot understand gets `ask` or `deny`, never `allow`."""

    def decide(self, call: GateCall) -> Verdict: ...


class _Laid(NamedTuple):
    """`narrow`: none of the rules speaks of a call that touches nothing. `needles`: of each rule, what the paths of
    which it speaks have in them; None where that says nothing. `anchors`: the folders below which these lie."""

    layer: Layer
    rules: tuple[Rule, ...]
    narrow: bool
    needles: tuple[tuple[str, ...] | None, ...]
    anchors: tuple[str, ...]

    def near(self, paths: Sequence[str], below: Sequence[str] = ()) -> list[Rule]:
        """Those that may speak of a call which touches these paths, what is in the folders `below`, and no others. Of
        what fits in any folder (`/**/.env`) the system's rules speak only where it is named."""
        if below and self.layer != "system":
            return list(self.rules)
        text = "\n".join(paths).casefold()
        return [
            rule
            for rule, needles, begin in zip(self.rules, self.needles, self.anchors, strict=True)
            if needles is None
            or any(needle in text for needle in needles)
            or (below and any(begin.startswith(folder + "/") or folder == "/" for folder in below))
        ]


_LAID: dict[tuple[Layer, int], tuple[Sequence[Rule], _Laid]] = {}
_MOST_LAID = 256


def _laid(layer: Layer, rules: Sequence[Rule]) -> _Laid:
    """Once for the same tuple of rules, which is told by its identity: every session that wakes has a gate, and to hash
    all rules would cost more than the rest of its waking."""
    known = _LAID.get((layer, id(rules)))
    if known is not None and known[0] is rules:
        return known[1]
    if len(_LAID) >= _MOST_LAID:
        _LAID.clear()
    laid = _lay(layer, rules)
    if isinstance(rules, tuple):
        _LAID[layer, id(rules)] = rules, laid
    return laid


def _lay(layer: Layer, rules: Sequence[Rule]) -> _Laid:
    kept = tuple(rule for rule in rules if layer != "project" or rule.effect != "allow")
    known = (needles(rule.path) if rule.of_known_paths and rule.path is not None else None for rule in kept)
    anchors = tuple(anchor(rule.path or "/", "/") for rule in kept)
    return _Laid(layer, kept, not any(rule.of_any_call for rule in kept), tuple(known), anchors)


def hidden_at(path: Path) -> str:
    """As a `LayeredGate` takes it too, which then need not look where it is."""
    return os.path.realpath(path).casefold()


class LayeredGate:
    """The first layer that speaks of a call decides: the rules of the user, of the configuration, of the project, of
    the system, then the agent's permission mode (`Level`), then the default, which is no. Before all of them, nobody
    touches `hidden`: the home of Roost with the policy, the token and the logs; and `refusal` says why an agent may not
    be called.

    A project's rules may only ask or deny, since its files are the agent's to write: there `allow` is left out. Where
    the project or the system asks, a layer below may still deny: asking never loosens. The system's rules are about
    what is known of a call; what is not known is the level's to ask about. While a session is tainted, `all` and rules
    of the project or the system do not let a call with an effect outside run unasked.
    """

    def __init__(
        self,
        mode: Permissions,
        rules: Mapping[Layer, Sequence[Rule]] | None = None,
        *,
        hidden: Sequence[Path | str] = (),
        refusal: Callable[[str], str | None] | None = None,
    ) -> None:
        self._level = Level(mode)
        self._wary = mode != "all"
        self._refusal = refusal or _nobody
        self._hidden = tuple(path if isinstance(path, str) else hidden_at(path) for path in hidden)
        given = rules or {}
        self._layers = [_laid(layer, given[layer]) for layer in LAYERS if given.get(layer)]

    def decide(self, call: GateCall) -> Verdict:
        touches = call.touches
        if touches is not NOTHING and self._of_roost(touches, str(call.root)):
            return Verdict("deny", "it belongs to Roost itself; leave it alone", "roost")
        if touches.agent is not None and (no := self._refusal(touches.agent)):
            return Verdict("deny", no, "agents")
        asked: Verdict | None = None
        for laid in self._layers:
            verdict = None if laid.narrow and touches == NOTHING else self._says(laid, call)
            if verdict is None:
                continue
            if verdict.decision != "ask" or laid.layer in ("user", "config"):
                return self._minding(call, verdict) if asked is None or verdict.decision == "deny" else asked
            asked = asked or verdict
        level = self._level.decide(call)
        return asked if asked is not None and level.decision != "deny" else self._minding(call, level)

    def unseen(self, tool: str, root: Path, searched: Path) -> Callable[[str], Held | None] | None:
        """For a search: which real paths below `searched` it must leave out (`rules.held_back`)."""
        return held_back([laid.rules for laid in self._layers], tool, root, str(searched))

    def of_layer(self, layer: Layer, call: GateCall) -> Verdict | None:
        """What one layer alone says; None when it does not speak."""
        if layer == "agents":
            no = None if call.touches.agent is None else self._refusal(call.touches.agent)
            return None if no is None else Verdict("deny", no, "agents")
        if layer == "level":
            return self._level.decide(call)
        laid = next((laid for laid in self._layers if laid.layer == layer), None)
        return None if laid is None else self._says(laid, call)

    def _says(self, laid: _Laid, call: GateCall) -> Verdict | None:
        wary, touches = self._wary and laid.layer != "system", call.touches
        if touches.patterns("any") or (wary and touches.unknown):
            rules = laid.rules
        else:
            rules = laid.near(touches.paths("any") + touches.named, touches.below + touches.picked)
        found = decide(rules, call.tool, touches, call.root, wary=wary)
        if found is None:
            return None
        effect, rule = found
        return Verdict(effect, rule.reason or f"the {laid.layer}'s rule '{rule.shown}'", laid.layer, rule.shown)

    def _of_roost(self, touches: Touches, root: str) -> bool:
        """Also when a folder around it would be taken from its place, or read with all that is in it."""
        if any(self._hides(path, root) for path in touches.paths("any")):
            return True
        if any(self._may_hide(pattern, root) for pattern in touches.patterns("any")):
            return True
        gone = (*touches.removes, *touches.below, *touches.picked)
        return any(within(home, path.casefold()) for path in gone for home in self._hidden)

    def _hides(self, path: str, root: str) -> bool:
        """A workspace that lies in the home is the session's own. Letters of both sizes are one, as on some systems."""
        path, root = path.casefold(), root.casefold()
        return any(within(path, home) and not (within(root, home) and within(path, root)) for home in self._hidden)

    def _may_hide(self, pattern: str, root: str) -> bool:
        """Whether a pattern of the shell may match something of Roost's."""
        if within(pattern.casefold(), root.casefold()):
            return any(within(home, root.casefold()) and could_match(pattern, home + "/**") for home in self._hidden)
        return any(could_match(pattern, way) for home in self._hidden for way in (home, home + "/**"))

    def _minding(self, call: GateCall, verdict: Verdict) -> Verdict:
        trusted = verdict.layer in ("user", "config")
        if verdict.decision != "allow" or trusted or not (call.tainted and call.touches.outside):
            return verdict
        reason = "the session has read things from outside, and this call has an effect outside"
        return Verdict("ask", reason, verdict.layer, verdict.rule)


def _nobody(agent: str) -> str:
    return f"this agent may not call {agent!r}, nor any other"


class Level:
    """The agent's permission mode, for calls of which no rule speaks.

    - `read_only` (PLAN): read-only tools run, everything else is denied.
    - `ask` (DEFAULT): read-only tools run, everything else waits for a person.
    - `workspace` (ACCEPT_EDITS): as `ask`, but tools that keep inside the session's own private workspace run.
    - `auto` (AUTO): also tools that keep inside any workspace, and commands behind a wall in which no danger is known,
      which install nothing and write nowhere else.
    - `custom` (CUSTOM): only rules decide; of what they do not speak is denied.
    - `all` (BYPASS): everything runs; rules hold for what is known to fit them, and for nothing that only might.
    """

    def __init__(self, mode: Permissions) -> None:
        self._mode: Permissions = mode

    def decide(self, call: GateCall) -> Verdict:
        if self._mode == "all":
            return Verdict("allow", "the agent's permissions are 'all'")
        if self._mode == "custom":
            return Verdict("deny", f"no rule allows {call.tool!r}", "default")
        if call.safety == "read_only":
            return Verdict("allow", "the tool only reads")
        if self._mode == "read_only":
            return Verdict("deny", f"{call.tool!r} changes things and the agent's permissions are 'read_only'")
        if call.inside and (call.private_workspace or self._mode == "auto") and self._mode != "ask":
            return Verdict("allow", "the tool stays inside the session's own workspace")
        if self._mode == "auto" and call.touches.command is not None:
            return self._command(call)
        return Verdict(
            "ask", _worry(call.touches.command) or f"{call.tool!r} is {call.safety} and needs a person's yes"
        )

    def _command(self, call: GateCall) -> Verdict:
        command = call.touches.command
        assert command is not None
        if (worry := _worry(command)) is not None:
            return Verdict("ask", worry)
        if not call.walled:
            return Verdict("ask", f"{call.tool!r} runs on this machine without a wall around it")
        return Verdict("allow", "no danger is known of the command, and it runs behind a wall")


def _worry(command: Analysis | None) -> str | None:
    """What a person should know of a command before they say yes."""
    if command is None:
        return None
    if command.unclear:
        return f"the command cannot be understood: {command.unclear[0]}"
    if command.findings:
        first = command.findings[0]
        return f"{first.category}: {first.why} ({first.command})"
    return f"it installs packages: {command.installs[0]}" if command.installs else None
