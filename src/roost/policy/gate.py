"""The gate: every tool call passes its decision before it runs, whatever its origin."""

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
    anchor,
    decide,
    held_back,
    needles,
    within,
)
from roost.policy.standing_rules import covering
from roost.workspace.files import Held

Safety: TypeAlias = Literal["read_only", "safe_write", "destructive", "high_risk"]
Permissions: TypeAlias = Literal["read_only", "ask", "workspace", "auto", "custom", "all"]
Layer: TypeAlias = Literal[
    "roost", "agents", "user", "config", "project", "system", "level", "classifier", "default", "person"
]
LAYERS: tuple[Layer, ...] = ("user", "config", "project", "system")
"""Layers of rules, in order of priority: 100, 60, 50 and 10."""
NOTHING = Touches()
_OWN = "it belongs to Roost itself; leave it alone"


class GateCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the gate sees it. arguments: JSON text, as the model wrote it. touches: what the tool derives from
    them. inside: whether the tool stays inside the session's own files, in `root`. walled: its commands run
    behind an isolation boundary (isolation level 1 or more). tainted: the session has read untrusted content. grants:
    standing rules that a person's answers have made (`roost.policy.standing_rules`)."""

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
    """A decision on a call. layer: the layer that decided. rule: the rule that decided, if any."""

    decision: Effect
    reason: str
    layer: Layer = "level"
    rule: str | None = None

    @property
    def why(self) -> str:
        """Decision source for the log: the layer, and its rule or reason."""
        return f"{self.layer}: {self.rule or self.reason}"


class Gate(Protocol):
    """Decide on calls. Must not raise or block. A call that it cannot understand gets `ask` or `deny`, never
    `allow`."""

    def decide(self, call: GateCall) -> Verdict: ...


class _Laid(NamedTuple):
    """The rules of a layer, indexed. narrow: no rule applies to a call that touches nothing. needles: for each rule,
    strings of which a matching path contains one; None = unknown. anchors: for each rule, the folder that contains all
    matches."""

    layer: Layer
    rules: tuple[Rule, ...]
    narrow: bool
    needles: tuple[tuple[str, ...] | None, ...]
    anchors: tuple[str, ...]

    def near(self, paths: Sequence[str], below: Sequence[str] = ()) -> list[Rule]:
        """Return the rules that may apply to a call that touches these paths and the content of the folders `below`.
        The system's rules for any folder (`/**/.env`) apply to named paths only."""
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
    """Index a layer's rules, once for each tuple, which is recognized by identity: every session that wakes makes a
    gate, and hashing all rules would cost more than the rest of its wake."""
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
    """Return the form of a hidden path that `LayeredGate` accepts without a look at the disk."""
    return os.path.realpath(path).casefold()


class LayeredGate:
    """Decide a call by the first layer with an applicable rule.

    The layers are the rules of the user, of the configuration, of the project and of the system, then the agent's
    permission mode (`Level`), then the default: deny. Before all of them, no call may touch the paths in `hidden`,
    Roost's home with policy, token and logs; and `refusal` returns why an agent may not be called.

    A project's rules may only ask or deny, because agents can write its files; its `allow` rules are ignored. If the
    project or the system asks, a later layer may still deny: asking never loosens. The system's rules apply to known
    facts of a call; the level asks about unknown ones. While a session is tainted, mode `all` and rules of the project
    or the system do not let a call with an outside effect run unasked.
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
        self._refusal = refusal or nobody
        self._hidden = tuple(path if isinstance(path, str) else hidden_at(path) for path in hidden)
        given = rules or {}
        self._layers = [_laid(layer, given[layer]) for layer in LAYERS if given.get(layer)]

    def decide(self, call: GateCall) -> Verdict:
        touches = call.touches
        if touches.fault is not None:
            return Verdict("deny", touches.fault, "roost")
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
        """Return a test for the real paths below `searched` that a search must leave out (`rules.held_back`), or
        None."""
        return held_back([laid.rules for laid in self._layers], tool, root, str(searched))

    def of_layer(self, layer: Layer, call: GateCall) -> Verdict | None:
        """Return the verdict of one layer alone; None if none of its rules applies."""
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
        """Return why a call touches Roost's own files, or None. That includes moving or removing a folder around them,
        and reading all of its content."""
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
        """Whether a path is hidden. A workspace inside the home is the session's own. Compares without case, like some
        file systems."""
        path, root = path.casefold(), root.casefold()
        return any(within(path, home) and not (within(root, home) and within(path, root)) for home in self._hidden)

    def _may_hide(self, pattern: str, root: str) -> bool:
        """Whether a shell pattern may match one of Roost's own files."""
        if within(pattern.casefold(), root.casefold()):
            return any(within(home, root.casefold()) and could_match(pattern, home + "/**") for home in self._hidden)
        return any(could_match(pattern, way) for home in self._hidden for way in (home, home + "/**"))

    def _minding(self, call: GateCall, verdict: Verdict) -> Verdict:
        trusted = verdict.layer in ("user", "config")
        if verdict.decision != "allow" or trusted or not (call.tainted and call.touches.outside):
            return verdict
        reason = "the session has read things from outside, and this call has an effect outside"
        return Verdict("ask", reason, verdict.layer, verdict.rule)


def nobody(agent: str) -> str:
    """Return the refusal where no agent may be called."""
    return f"this agent may not call {agent!r}, nor any other"


def _unlinked(touches: Touches) -> Touches:
    """Remove the files that only get another name."""
    return msgspec.structs.replace(touches, writes=tuple(path for path in touches.writes if path not in touches.links))


class Level:
    """The agent's permission mode, for calls to which no rule applies. Isolated means isolation level 1 or more.

    - `read_only` (PLAN): read-only tools run, every other call is denied. - `ask`: read-only tools run, every other
    call waits for a person. - `workspace` (DEFAULT): if isolated, calls that read or that write in the workspace run; a
    person is asked about commands that are not understood, that use the network, install or publish, or lose data for
    good. If not isolated, commands that are known to read run, and tools that stay inside a private workspace. - `auto`
    (AUTO): like `workspace`, but isolated commands may use the network, and tools that stay inside any workspace run
    without isolation too. - `custom` (CUSTOM): only rules decide; a call to which none applies is denied. - `all`
    (BYPASS): every call runs, except commands that are not understood and not isolated. Rules apply to calls that are
    known to match, not to those that may match.
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
        rule = self._covered(call) if verdict.decision == "ask" and call.grants else None
        return verdict if rule is None else Verdict("allow", "a person has allowed such calls", "person", rule)

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

    def _covered(self, call: GateCall) -> str | None:
        return covering(
            call.grants,
            call.tool,
            call.touches,
            call.root,
            high_risk=call.safety == "high_risk",
            lost=lambda: _lost(call) is not None,
        )


_ELSEWHERE = frozenset({"cd", "pushd", "popd", "env"})
"""Programs that may make git use another repository."""


def _harmless_here(call: GateCall, command: Analysis) -> bool:
    """Whether a reading command is safe without isolation: git runs programs from a repository's settings even when it
    reads."""
    if "git" not in command.programs:
        return True
    return not _ELSEWHERE & set(command.programs) and plain_repository(str(call.root))


def _yes(call: GateCall) -> str:
    return f"{call.tool!r} is {call.safety} and needs a person's yes"


def _lost(call: GateCall) -> str | None:
    """Return a path that would be lost for good, or None. In a private workspace nothing is: the session made it, and
    checkpoints cover it."""
    touches = call.touches
    if call.private_workspace or not (touches.loses or touches.edits):
        return None
    gone = lost(touches.loses, str(call.root), edited=touches.edits)
    return None if gone is None else os.path.relpath(gone, call.root)


def _worry(command: Analysis | None) -> str | None:
    """Return a warning for the person who decides on a command, or None."""
    if command is None:
        return None
    if command.unclear:
        return f"the command cannot be understood: {command.unclear[0]}"
    if command.findings:
        first = command.findings[0]
        return f"{first.why}: {first.command}"
    return f"it installs packages: {command.installs[0]}" if command.installs else None
