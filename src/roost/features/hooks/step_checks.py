"""Hooks, guardrails and the classifier around the steps of a turn. A decision is in the log before it takes effect;
after a crash a hook may be asked again about the same step."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from roost.agent.feature import CallEnd, TurnEnd
from roost.agent.origin import life_of
from roost.agent.outcomes import end_call
from roost.agent.session import Session
from roost.agent.state import Call, State, result_text, unheard
from roost.features.budgets import charging
from roost.features.hooks.events import PolicyDecided
from roost.log import events as ev
from roost.log.content import AssistantMessage, ErrorData, ResultPart, Text, ToolOutcome
from roost.models.request import Bill, Completed, Failed
from roost.policy.checks import Checks
from roost.policy.gate import GateCall, Verdict
from roost.policy.guardrails import Side, Tripped, first_tripped
from roost.policy.hooks import Answer, Moment, When, ask, concerns
from roost.tools.base import Tool
from roost.tools.run_tool import arguments_of

_CUT_OFF = "the hook that judges it was cut off"


async def before_call(session: Session, checks: Checks, call: Call, tool: Tool) -> bool:
    """Ask the hooks about a call before the gate judges it. Returns False if a hook denied it; its outcome is noted."""
    if "pre_tool" not in checks.hooks:
        return True
    given = arguments_of(tool, call.arguments)
    if isinstance(given, str):
        return True  # the tool reports the invalid arguments itself
    moment = _moment(session, "pre_tool", tool=tool.name, call=call.call.id, arguments=_shown(session, given))
    answer = await session.interrupts.interruptible(lambda: _hooks(session, checks, moment), steer=False)
    if answer.decision == "deny":
        end_call(session, call.call.id, "denied", f"[denied: {answer.reason}]", why=f"hook: {answer.reason}")
    return answer.decision != "deny"


def judges_early(checks: Checks, tool: Tool) -> bool:
    """Whether a check judges answers, or calls of this tool before they run."""
    return checks.judges_answers or any(fnmatchcase(tool.name, hook.tool) for hook in checks.hooks.get("pre_tool", ()))


async def consult(session: Session, checks: Checks, call: GateCall, verdict: Verdict) -> Verdict:
    """Return the classifier's verdict on a call that the gate allows, or the gate's if the classifier agrees or does
    not apply."""
    classifier = checks.classifier
    if classifier is None or call.safety == "read_only" or verdict.layer in ("user", "config", "person"):
        return verdict
    bill = Bill()
    charged = charging.budgets(session)
    said = Verdict("ask", "the classifier was cut off", "classifier")
    try:
        said = await session.interrupts.interruptible(
            lambda: classifier.judge(call, bill=bill, budgets=charged, meta=dict(session.about)), steer=False
        )
    finally:  # its cost counts even if it is cut off
        if bill.calls and bill.usage.cost != 0:
            charging.mark_charged(session)
        session.log.note(
            PolicyDecided(
                at=time.time(),
                by="classifier",
                on="call",
                decision=said.decision,
                reason=said.reason,
                call=call.call,
                usage=bill.usage if bill.calls else None,
            )
        )
    return verdict if said.decision == "allow" else said


async def after_call(session: Session, checks: Checks, end: CallEnd) -> None:
    """Let the hooks judge the result of a call. If they are cut off, it is withheld."""
    if "post_tool" not in checks.hooks:
        return
    outcome, parts = end.outcome, end.parts
    end.outcome, end.parts = _withheld(outcome, _CUT_OFF)
    text = session.means.scrubbed(result_text(parts))
    moment = _moment(session, "post_tool", tool=end.call.call.name, call=end.call.call.id, outcome=outcome, text=text)
    answer = await _hooks(session, checks, moment)
    match answer.decision:
        case "deny":
            end.outcome, end.parts = _withheld(outcome, answer.reason)
        case "modify":
            others = [part for part in parts if not isinstance(part, Text)]
            end.outcome, end.parts = outcome, (Text(answer.text or ""), *others)
        case _:
            end.outcome, end.parts = outcome, parts


def _withheld(outcome: ToolOutcome, reason: str) -> tuple[ToolOutcome, tuple[ResultPart, ...]]:
    """Withhold the result of a call that a hook denied afterwards. The text says that the call took effect, so that the
    model does not repeat it."""
    done = "the call has taken effect" if outcome == "ok" else "the call was made and failed"
    return "denied", (Text(f"[{done}; its result is withheld: {reason}]"),)


async def before_model(session: Session, checks: Checks) -> TurnEnd | None:
    """Return the end of the turn if the model must not be called. The checks run again at each attempt."""
    session.instruction = session.spec.instructions
    said = unheard(session.state)
    if said and (reason := await session.interrupts.interruptible(lambda: _new_input(session, checks), steer=False)):
        return TurnEnd("failed", reason)
    if "pre_model" not in checks.hooks:
        return None
    moment = _moment(session, "pre_model", text=session.means.scrubbed(session.instruction))
    answer = await session.interrupts.interruptible(lambda: _hooks(session, checks, moment), steer=False)
    if answer.decision == "modify":
        session.instruction = answer.text or ""
    return TurnEnd("failed", f"denied: {answer.reason}") if answer.decision == "deny" else None


async def after_model(session: Session, checks: Checks, outcome: Completed | Failed) -> Completed | Failed:
    """Return the answer as guardrails and hooks leave it."""
    if not isinstance(outcome, Completed) or not checks.judges_answers:
        return outcome
    return await session.interrupts.interruptible(lambda: _answer(session, checks, outcome), steer=False)


async def _answer(session: Session, checks: Checks, outcome: Completed) -> Completed | Failed:
    text = session.means.scrubbed(AssistantMessage(outcome.parts).text)
    if text and (tripped := await _guard(session, checks, "output", text)):
        return _refused(outcome, f"{tripped.guard}: {tripped.reason}")
    if "post_model" not in checks.hooks:
        return outcome
    answer = await _hooks(session, checks, _moment(session, "post_model", text=text))
    match answer.decision:
        case "deny":
            return _refused(outcome, answer.reason)
        case "modify":
            kept = [part for part in outcome.parts if not isinstance(part, Text)]
            return msgspec.structs.replace(outcome, parts=(*([Text(answer.text)] if answer.text else []), *kept))
        case _:
            return outcome


async def after_turn(session: Session, checks: Checks) -> None:
    if "turn_end" in checks.hooks:
        outcome = "answered" if session.state.answered else "ended"
        text = session.means.scrubbed(last_said(session.state))
        await _hooks(session, checks, _moment(session, "turn_end", text=text, outcome=outcome))


async def before_end(session: Session, checks: Checks, outcome: ev.ChildOutcome) -> None:
    """Run the session_end hooks: the session is `stopped`, or its task is over. They run before that is noted, so a
    crash in between runs them again. They cannot prevent the end."""
    turn = session.state.turn
    task = session.state.family is not None and turn is not None and turn.number == 1
    if "session_end" not in checks.hooks or not (outcome == "stopped" or task):
        return
    if (await life_of(session.id, session.state, session.means.read)).begun:
        text = session.means.scrubbed(last_said(session.state))
        await _hooks(session, checks, _moment(session, "session_end", text=text, outcome=outcome))


def last_said(state: State) -> str:
    """Return the text of the newest message if it is the agent's, else the empty string."""
    last = state.entries[-1].message if state.entries else None
    return last.text if isinstance(last, AssistantMessage) else ""


async def _new_input(session: Session, checks: Checks) -> str | None:
    said = "\n".join(
        part.text for entry in unheard(session.state) for part in entry.message.parts if isinstance(part, Text)
    )
    text = session.means.scrubbed(said)
    if tripped := await _guard(session, checks, "input", text):
        return f"denied: {tripped.guard}: {tripped.reason}"
    if "session_start" in checks.hooks:
        life = await life_of(session.id, session.state, session.means.read)
        if not life.begun:
            answer = await _hooks(session, checks, _moment(session, "session_start", text=text, outcome=life.how))
            if answer.decision == "deny":
                return f"denied: {answer.reason}"
    turn = session.state.turn
    if "turn_start" in checks.hooks and turn is not None and turn.steps == 0:
        answer = await _hooks(session, checks, _moment(session, "turn_start", text=text))
        return f"denied: {answer.reason}" if answer.decision == "deny" else None
    return None


async def _guard(session: Session, checks: Checks, side: Side, text: str) -> Tripped | None:
    guards = checks.guards.get(side)
    tripped = await first_tripped(guards, text) if guards else None
    if tripped is not None:
        session.log.note(
            PolicyDecided(
                at=time.time(), by=f"guardrail:{tripped.guard}", on=side, decision="deny", reason=tripped.reason
            )
        )
    return tripped


async def _hooks(session: Session, checks: Checks, moment: Moment) -> Answer:
    """Run all hooks concerned, in order; each sees the changes of those before it. The first denial stops the sequence,
    except for session_end, whose hooks all run."""
    composed = Answer()
    for hook in checks.hooks.get(moment.on, ()):
        if not concerns(hook, moment):
            continue
        answer = await ask(hook, moment, checks.hands)
        arguments = answer.arguments if answer.decision == "modify" and moment.on == "pre_tool" else None
        session.log.note(
            PolicyDecided(
                at=time.time(),
                by=f"hook:{hook.name}",
                on=moment.on,
                decision=answer.decision,
                reason=answer.reason,
                call=moment.call,
                arguments=None if arguments is None else msgspec.json.encode(arguments).decode(),
            )
        )
        if answer.decision == "deny" and moment.on != "session_end":
            return answer
        if answer.decision == "modify":
            composed = answer
            changed = {"arguments": arguments} if arguments is not None else {"text": answer.text}
            moment = msgspec.structs.replace(moment, **changed)
    return composed


def _moment(session: Session, on: When, **more: Any) -> Moment:
    turn = session.state.turn
    number = turn.number if turn else session.state.turns
    return Moment(on=on, session=session.id, agent=session.spec.name, turn=number, **more)


def _shown(session: Session, arguments: dict[str, Any]) -> Any:
    text = msgspec.json.encode(arguments).decode()
    clean = session.means.scrubbed(text)
    return arguments if clean is text else msgspec.json.decode(clean)


def _refused(outcome: Completed, reason: str) -> Failed:
    return Failed(ErrorData("denied", reason), usage=outcome.usage)
