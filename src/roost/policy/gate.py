"""The gate: the one decision that every tool call passes before it runs, whatever its origin."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from roost.policy.command import Analysis
from roost.policy.globs import could_match
from roost.policy.recoverability import lost, plain_repository
from roost.policy.rules import (
    Effect,
    Rule,
    Touches,
    allowed_by,
    anchor,
    decide,
    held_back,
    needles,
    within,
)
from roost.workspace.files import Held

Safety: TypeAlias = Literal["read_only", "safe_write", "destructive", "high_risk"]
Permissions: TypeAlias = Literal["read_only", "ask", "workspace", "auto", "custom", "all"]
Layer: TypeAlias = Literal[
    "roost", "agents", "user", "config", "project", "system", "level", "classifier", "default", "person"
]
LAYERS: tuple[Layer, ...] = ("user", "config", "project", "system")
"""Of rules, in order: priorities 100, 60, 50 and 10."""
NOTHING = Touches()
_OWN = "it belongs to Roost itself; leave it alone"


class GateCall(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate may judge. `arguments` is the JSON text of the call, as the model wrote it; `touches` what the tool
    says that they mean. `inside` says whether the tool keeps itself inside the session's own files, which lie in
    `root`. `walled`: its commands run behind a wall (isolation level 1 or more). `tainted`: the session has read what
    comes from outside. `grants`: command prefixes that a person has allowed in this session."""

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
    grants: tuple[str, ...] = ()


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
        if touches is not NOTHING and (reason := self._of_roost(touches, str(call.root))) is not None:
            return Verdict("deny", reason, "roost")
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
        reason = rule.reason or f"the {laid.layer}'s rule '{rule.shown}'"
        if touches.links and decide((rule,), call.tool, _unlinked(touches), call.root, wary=wary) is None:
            reason = f"it makes another name for {touches.links[0]!r}, through which later commands could change that"
        return Verdict(effect, reason, laid.layer, rule.shown)

    def _of_roost(self, touches: Touches, root: str) -> str | None:
        """Why a call touches what is Roost's, also when a folder around it would be taken from its place, or read with
        all that is in it."""
        if any(self._hides(path, root) for path in touches.paths("any")):
            return _OWN
        if any(self._may_hide(pattern, root) for pattern in touches.patterns("any")):
            return f"{_OWN} (a pattern matches it)"
        for path in (*touches.removes, *touches.below, *touches.picked):
            if any(within(home, path.casefold()) for home in self._hidden):
                done = "removes or moves" if path in touches.removes else "reads all of"
                worry = _worry(touches.command) if path in touches.removes else None
                return f"it {done} {path!r}, in which Roost's own files lie" + (f" ({worry})" if worry else "")
        return None

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


def _unlinked(touches: Touches) -> Touches:
    """Without the files that only get another name."""
    return msgspec.structs.replace(touches, writes=tuple(path for path in touches.writes if path not in touches.links))


class Level:
    """The agent's permission mode, for calls of which no rule speaks. A wall is isolation level 1 or more.

    - `read_only` (PLAN): read-only tools run, everything else is denied.
    - `ask`: read-only tools run, everything else waits for a person.
    - `workspace` (DEFAULT): behind a wall, what reads and what writes in the workspace runs; a person is asked before
      what is not understood, what speaks to other machines, what installs or publishes, and what would be lost for
      good. Without a wall, commands that are known to read run, and tools that keep inside a private workspace.
    - `auto` (AUTO): as `workspace`, but behind a wall commands may speak to other machines; and tools that keep inside
      any workspace run without a wall too.
    - `custom` (CUSTOM): only rules decide; of what they do not speak is denied.
    - `all` (BYPASS): everything runs, but without a wall not what is not understood; rules hold for what is known to
      fit them, and for nothing that only might.
    """

    def __init__(self, mode: Permissions) -> None:
        self._mode: Permissions = mode

    def decide(self, call: GateCall) -> Verdict:
        if self._mode == "all":
            return self._all(call)
        if self._mode == "custom":
            return Verdict("deny", f"no rule allows {call.tool!r}", "default")
        if call.safety == "read_only":
            return Verdict("allow", "the tool only reads")
        if self._mode == "read_only":
            return Verdict("deny", f"{call.tool!r} changes things and the agent's permissions are 'read_only'")
        command = call.touches.command
        if self._mode == "ask":
            verdict = Verdict("ask", _worry(command) or _yes(call))
        elif call.inside:
            verdict = self._inside(call)
        elif command is not None:
            verdict = self._command(call, command)
        else:
            verdict = Verdict("ask", _yes(call))
        return self._granted(call) if verdict.decision == "ask" and self._covered(call) else verdict

    def _all(self, call: GateCall) -> Verdict:
        command = call.touches.command
        if command is not None and command.unclear and not call.walled:
            return Verdict("ask", f"{_worry(command)}, and it runs on this machine without a wall around it")
        return Verdict("allow", "the agent's permissions are 'all'")

    def _inside(self, call: GateCall) -> Verdict:
        if call.private_workspace or call.walled or self._mode == "auto":
            return Verdict("allow", "the tool stays inside the session's workspace")
        return Verdict("ask", _yes(call))

    def _command(self, call: GateCall, command: Analysis) -> Verdict:
        if (worry := _worry(command)) is not None:
            return Verdict("ask", worry)
        if command.read_only and not command.network and (call.walled or _harmless_here(call, command)):
            return Verdict("allow", "the command only reads")
        if not call.walled:
            return Verdict("ask", f"{call.tool!r} runs on this machine without a wall around it")
        if (gone := _lost(call)) is not None:
            return Verdict("ask", f"it would lose {gone!r}, which is not in version control as it is now")
        if command.network and self._mode == "workspace":
            return Verdict("ask", f"it speaks to other machines: {command.network[0]}")
        return Verdict("allow", "no danger is known of the command, and it runs behind a wall")

    def _covered(self, call: GateCall) -> bool:
        command = call.touches.command
        if command is None or not call.grants or command.redirected or command.elsewhere or _lost(call) is not None:
            return False
        return allowed_by(call.grants, command, command.doing, call.root)

    def _granted(self, call: GateCall) -> Verdict:
        return Verdict("allow", "a person has allowed such commands in this session", "person")


_ELSEWHERE = frozenset({"cd", "pushd", "popd", "env"})
"""Programs that may lead git to another repository."""


def _harmless_here(call: GateCall, command: Analysis) -> bool:
    """Without a wall: git runs what the settings of a repository say, also where it only reads."""
    if "git" not in command.programs:
        return True
    return not _ELSEWHERE & set(command.programs) and plain_repository(str(call.root))


def _yes(call: GateCall) -> str:
    return f"{call.tool!r} is {call.safety} and needs a person's yes"


def _lost(call: GateCall) -> str | None:
    """What would be lost for good. A private workspace holds what the session has made, and checkpoints are of it."""
    touches = call.touches
    if call.private_workspace or not (touches.loses or touches.edits):
        return None
    gone = lost(touches.loses, str(call.root), edited=touches.edits)
    return None if gone is None else os.path.relpath(gone, call.root)


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
