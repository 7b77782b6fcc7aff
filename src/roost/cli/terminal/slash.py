"""Commands that a person types into a conversation: thin calls of what the node offers."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from roost.cli.output import ago
from roost.cli.terminal.actions import Actions
from roost.cli.terminal.attachments import clipboard_picture
from roost.cli.terminal.blocks import count, diff_blocks
from roost.cli.terminal.completion import Listed
from roost.cli.terminal.dialog import Choice
from roost.cli.terminal.git_changes import changes
from roost.cli.terminal.lines import CYAN, DIM, Span
from roost.cli.terminal.link import Link
from roost.cli.terminal.markdown import Table
from roost.cli.terminal.others import LOOKED_AT, waiting
from roost.cli.terminal.plan import go, plan
from roost.cli.terminal.programs import Ran, roost_command
from roost.cli.terminal.themes import THEMES, keep
from roost.errors import UnknownEvent
from roost.ids import short
from roost.log import events as ev
from roost.log.content import Text
from roost.terminal_text import clean, one_line

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.policy.gate import Permissions

T = TypeVar("T")
_KEYS = (
    ("Enter", "send; into the turn while it works"),
    ("Ctrl-J", "a new line (also Shift-Enter, or \\ and Enter)"),
    ("Tab", "keep for after the turn"),
    ("Up", "history; takes queued text back"),
    ("Esc", "stop the turn; twice: go back"),
    ("Ctrl-C", "clear the line; twice: leave"),
    ("Ctrl-R", "search the history"),
    ("Ctrl-O", "the last outputs, whole"),
    ("Ctrl-T", "show thoughts"),
    ("Ctrl-G", "write in $EDITOR"),
    ("Ctrl-P", "choose a model"),
    ("Shift-Tab", "ask more or less"),
    ("Ctrl-V", "attach the clipboard's picture"),
    ("Ctrl-Z", "suspend"),
    ("/", "commands"),
    ("@", "files; pictures are attached"),
    ("!COMMAND", "run it here; the agent sees the output"),
    ("!!COMMAND", "run it here; the agent does not see the output"),
)
_MODES = ("ask", "workspace", "auto", "read_only")
_LINES = 40
"""Lines of a command's output that are shown; the pager has the rest."""
_PAST = 3000
"""Events, from the end of the log, that are searched for messages of before."""


class Said(NamedTuple):
    """A message of the conversation, its position in the log, and when it came."""

    seq: int
    text: str
    at: float


class Command(NamedTuple):
    help: str
    run: Callable[[Actions, str], None]


def listed() -> list[Listed]:
    """Return the commands, then those of the command line."""
    from roost.cli.main import GROUPS

    lines = {name: line for group in GROUPS.values() for name, line in group.items()}
    own = [Listed(name, one.help, whole=True) for name, one in sorted(COMMANDS.items())]
    return own + [Listed(name, lines[name], whole=False) for name in sorted(_others()) if name not in COMMANDS]


def obey(chat: Actions, text: str) -> bool:
    """Obey a slash command. Returns False for a text that is a message: also one that begins with a path."""
    if not text.startswith("/") or "\n" in text:
        return False
    word, _, rest = text[1:].partition(" ")
    if (command := COMMANDS.get(word)) is not None:
        command.run(chat, rest.strip())
    elif not word or "/" in word or os.path.exists(f"/{word}"):
        return False
    elif word in _others():
        _other(chat, word, rest)
    else:
        near = difflib.get_close_matches(word, [*COMMANDS, *_others()], n=1)
        hint = f"did you mean /{near[0]}?" if near else "/help lists them"
        chat.note(f"there is no command /{clean(word)}; {hint} A message may begin with a space.")
    return True


def _linked(run: Callable[[Actions, Link, str], None]) -> Callable[[Actions, str], None]:
    """Return a command that needs an open session."""

    def command(chat: Actions, rest: str) -> None:
        if chat.link is None:
            chat.hint("the session is not open yet")
        else:
            run(chat, chat.link, rest)

    return command


def _ask(chat: Actions, work: Callable[[], T], then: Callable[[T], object]) -> None:
    chat.worker.do(work, then)


# Sessions


def _new(chat: Actions, rest: str) -> None:
    chat.new(rest or None)


def _sessions(chat: Actions, link: Link, rest: str) -> None:
    """Choose a session to go on with, those that wait for a person first, or go on with the named one."""
    if rest:
        from roost.cli.session_ids import session_id

        chat.switch(lambda node: session_id(node, rest))
        return

    def then(page: Any) -> None:
        asking = {info.id for info in waiting(page.sessions)}
        choices = [
            Choice(
                short(info.id),
                f"{info.title or info.agent}  {'waits for you' if info.id in asking else info.phase}"
                f"  {ago(info.updated_at)}",
                info.id,
            )
            for info in sorted(page.sessions, key=lambda one: one.id not in asking)
            if info.id != link.session
        ]
        chat.pick("Sessions", choices, lambda session: chat.switch(lambda _: session))

    _ask(chat, lambda: link.node.sessions.find(limit=LOOKED_AT), then)


def _resume(chat: Actions, link: Link, rest: str) -> None:
    """Resume a paused session; else choose another one."""
    if not rest and chat.conversation.state in ("paused", "error"):
        link.order("resume")
    elif not rest and chat.conversation.state == "stopped":
        link.order("start")
    else:
        _sessions(chat, link, rest)


def _fork(chat: Actions, link: Link, rest: str) -> None:
    def fork(node: Node) -> str:
        made = node.checkpoints.fork(link.session, None, title=rest or None)
        return made.id

    chat.note(f"a fork of session {short(link.session)}, which stays as it is")
    chat.switch(fork)


def _rewind(chat: Actions, link: Link, rest: str) -> None:
    """Choose an earlier message, go back to before it, and take its text into the editor."""

    def work() -> list[Said]:
        return list(_messages(link))

    def then(found: list[Said]) -> None:
        choices = [Choice(one_line(one.text, 60), ago(one.at), one) for one in reversed(found)]
        chat.pick("Go back to before the message", choices, back)

    def back(one: Said) -> None:
        def done(_: object) -> None:
            chat.input.editor.set(one.text)
            chat.note("your message stands in the line again; on an empty line (Ctrl-C) /undo takes this back")

        _ask(chat, lambda: link.node.checkpoints.rollback(link.session, max(1, one.seq - 1)), done)

    _ask(chat, work, then)


def _messages(link: Link) -> Iterator[Said]:
    """Yield the messages of the last part of the log that were not rolled back. Blocks."""
    head = link.node.info(link.session).head
    at, found = max(0, head - _PAST), list[Said]()
    past: list[tuple[int, list[Said]]] = []
    """The messages there were after an event: going back to it, also by /undo, goes back to them."""
    while True:
        page = link.node.sessions.events(link.session, after=at, limit=500)
        for entry in page.events:
            at = entry.seq
            try:
                event = ev.decode_event(bytes(entry.event))
            except UnknownEvent:
                continue
            if isinstance(event, ev.InputReceived):
                text = "\n".join(part.text for part in event.parts if isinstance(part, Text))
                found = [*found, Said(entry.seq, text, event.at)]
            elif isinstance(event, ev.SessionRolledBack):
                found = next((then for seq, then in reversed(past) if seq <= event.to), list[Said]())
            past.append((entry.seq, found))
        if at >= page.head or not page.events:
            break
    yield from found


def _undo(chat: Actions, link: Link, rest: str) -> None:
    _ask(chat, lambda: link.node.checkpoints.rollback(link.session, None, undo=True), lambda _: None)


def _checkpoint(chat: Actions, link: Link, rest: str) -> None:
    def then(done: Any) -> None:
        chat.note(f"checkpoint {clean(done.label or str(done.seq))} made")

    _ask(chat, lambda: link.node.checkpoints.make(link.session, rest or None), then)


def _diff(chat: Actions, link: Link, rest: str) -> None:
    """Show what changed: in the folder by git, in private files since the newest checkpoint."""

    def private() -> str:
        done = link.node.checkpoints.diff(link.session, since=rest or None)
        return "\n".join(f"{one.change} {one.path}\n{one.diff or ''}" for one in done.changes)

    def then(workspace: str | None) -> None:
        if workspace is None:
            _ask(chat, private, lambda text: _show_diff(chat, text))
        else:
            chat.worker.beside(lambda: changes(Path(workspace)), lambda text: _show_diff(chat, text))

    _ask(chat, lambda: link.node.info(link.session).workspace, then)


def _show_diff(chat: Actions, text: str) -> None:
    if not text.strip():
        chat.note("nothing has changed")
    elif text.count("\n") > _LINES:
        chat.page(clean(text))
    else:
        chat.note("")
        for block in diff_blocks(text):
            chat.conversation.block(block)


# The agent and its model


def pick_model(chat: Actions) -> None:
    if chat.link is not None:
        _model(chat, chat.link, "")


def _model(chat: Actions, link: Link, rest: str) -> None:
    """Choose the model of this session, from its next turn on."""

    def use(name: str) -> None:
        def done(_: object) -> None:
            chat.note(f"the model is {name}, from the next turn on")
            chat.conversation.model = name

        _ask(chat, lambda: link.node.upgrades.adjust(link.session, model=name, by="terminal"), done)

    def then(found: Any) -> None:
        usable = sorted(found.models, key=lambda one: not one.usable)
        choices = [Choice(one.name, _about(one), one.name) for one in usable]
        chat.pick("Model, from the next turn on", choices, use)

    if rest:
        use(rest)
    else:
        _ask(chat, lambda: link.node.models.list(), then)


def _about(model: Any) -> str:
    """Return a few words about a model of the list, which begins with its name."""
    if model.trouble:
        return model.trouble.removeprefix(f"the model {model.name!r} ")
    return f"{count(model.window)} tokens" if model.window else ""


def next_mode(chat: Actions) -> None:
    """Go to the next permissions: ask, workspace, auto, read_only."""
    if chat.link is not None:
        at = _MODES.index(chat.permissions) if chat.permissions in _MODES else -1
        _mode(chat, chat.link, _MODES[(at + 1) % len(_MODES)])


def _mode(chat: Actions, link: Link, rest: str) -> None:
    if not rest:
        choices = [Choice(one, line, one) for one, line in _MODE_HELP.items()]
        chat.pick("What the agent may do, from the next turn on", choices, lambda one: _mode(chat, link, one))
        return
    if rest not in _MODE_HELP:
        chat.note(f"there is no mode {clean(rest)}; the modes are: {', '.join(_MODE_HELP)}")
        return
    mode = cast("Permissions", rest)

    def done(_: object) -> None:
        chat.permissions, link.planned_from = rest, ""
        chat.hint(f"{rest}: {_MODE_HELP[rest]}; from the next turn on")

    _ask(chat, lambda: link.node.upgrades.adjust(link.session, permissions=mode, by="terminal"), done)


_MODE_HELP = {
    "ask": "asks before each change and command",
    "workspace": "works in its folder, asks for the rest",
    "auto": "asks only for what is dangerous",
    "read_only": "changes nothing: for plans and questions",
    "all": "asks for nothing",
}


def _agents(chat: Actions, link: Link, rest: str) -> None:
    def then(found: Any) -> None:
        choices = [Choice(one.name, one_line(one.description or "", 60), one.name) for one in found.agents]
        chat.pick("A new session of the agent", choices, chat.new)

    if rest:
        chat.new(rest)
    else:
        _ask(chat, lambda: link.node.node.agents(), then)


def _cost(chat: Actions, link: Link, rest: str) -> None:
    def then(view: Any) -> None:
        usage = view.usage
        cost = "unknown" if usage.cost is None and view.steps else f"${(usage.cost or 0) / 1e9:.4f}"
        cached = f" ({usage.cached:,} from the cache)" if usage.cached else ""
        chat.note(
            f"{view.turns} turns, {view.steps} model calls: {usage.input:,} tokens in{cached}, {usage.output:,} out;"
            f" cost: {cost}"
        )

    _ask(chat, lambda: link.node.sessions.inspect(link.session), then)


def _context(chat: Actions, link: Link, rest: str) -> None:
    def then(view: Any) -> None:
        pins = f", {len(view.pins)} pinned notes" if view.pins else ""
        chat.note(f"the context has about {view.context_tokens:,} tokens{pins}; /compact shortens it")

    _ask(chat, lambda: link.node.sessions.inspect(link.session), then)


def _compact(chat: Actions, link: Link, rest: str) -> None:
    _ask(chat, lambda: link.node.compaction.compact(link.session, wait=30.0), lambda _: chat.hint("compacted"))


def _memory(chat: Actions, link: Link, rest: str) -> None:
    def work() -> list[str]:
        if rest:
            found = link.node.memory.retrieve(rest, limit=10)
            return [hit.fact.text for hit in found.facts]
        return [fact.text for fact in link.node.memory.list(limit=30).facts]

    def then(found: list[str]) -> None:
        chat.note("\n".join(f"  • {one_line(text, 200)}" for text in found) or "nothing is remembered about this")

    _ask(chat, work, then)


def _jobs(chat: Actions, link: Link, rest: str) -> None:
    def then(view: Any) -> None:
        rows = [f"  {job.job}  {one_line(job.command, 80)}, since {ago(job.began)}" for job in view.jobs]
        rows += [f"  timer {name}" for name in view.timers]
        chat.note("\n".join(rows) or "no command runs in the background")

    _ask(chat, lambda: link.node.sessions.inspect(link.session), then)


# The turn


def _order(action: Any) -> Callable[[Actions, Link, str], None]:
    return lambda chat, link, rest: link.order(action)


def _steer(chat: Actions, rest: str) -> None:
    chat.say(rest) if rest else chat.hint("give a message, as in: /steer look at the tests first")


def _later(chat: Actions, rest: str) -> None:
    if not rest:
        chat.hint("give a message, as in: /later and then commit")
    else:
        chat.keep(rest)


def _approve(chat: Actions, link: Link, rest: str) -> None:
    chat.conversation.asked = True
    chat.hint("calls that wait are asked about below")


# The terminal


def paste_picture(chat: Actions) -> None:
    def then(file: Path | None) -> None:
        if file is None:
            chat.hint("the clipboard has no picture (or wl-paste, xclip or pngpaste is missing); name one with @")
        else:
            chat.input.editor.insert(f"@{file} ")

    _ask(chat, clipboard_picture, then)


def _export(chat: Actions, link: Link, rest: str) -> None:
    """Write the conversation as Markdown into a file."""
    target = (chat.folder / (rest or f"conversation-{short(link.session)}.md")).expanduser()

    def work() -> Path:
        download = link.node.exchange.export(link.session, format="transcript")
        try:
            with target.open("xb") as file:
                for piece in download.chunks:
                    file.write(piece)
        finally:
            download.done()
        return target

    _ask(chat, work, lambda path: chat.note(f"written: {path}"))


def _copy(chat: Actions, rest: str) -> None:
    """Put the last answer into the clipboard, by the terminal (OSC 52)."""
    import base64

    text = chat.conversation.answer
    if not text:
        chat.hint("there is no answer yet")
        return
    chat.tty.write(f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\x07")
    chat.hint(f"{len(text):,} characters for the clipboard, if this terminal allows it")


def show_keys(chat: Actions, rest: str = "") -> None:
    _explain(chat, _KEYS)


def _explain(chat: Actions, lines: Sequence[tuple[str, str]]) -> None:
    """Add words with their meanings to the history, in two columns."""
    cells = tuple(((Span(word, CYAN),), (Span(meaning, DIM),)) for word, meaning in lines)
    chat.conversation.block(Table(cells, head=False))


def _cancel(chat: Actions, rest: str) -> None:
    chat.cancel()


def _quit(chat: Actions, rest: str) -> None:
    chat.leave()


def _theme(chat: Actions, rest: str) -> None:
    """Choose the colours of what is drawn from now on."""

    def use(name: str) -> None:
        keep(chat.home, name)
        chat.live.codes = THEMES[name][1]
        chat.live.redraw()
        chat.note(f"the theme is {name}" + ("" if chat.live.colour else "; NO_COLOR leaves colours out"))

    if rest in THEMES:
        use(rest)
    elif rest:
        chat.note(f"there is no theme {clean(rest)}; the themes are: {', '.join(THEMES)}")
    else:
        chat.pick("Colours", [Choice(name, line, name) for name, (line, _) in THEMES.items()], use)


def _thinking(chat: Actions, rest: str) -> None:
    chat.conversation.thinking = not chat.conversation.thinking
    chat.hint("thoughts are shown" if chat.conversation.thinking else "thoughts are folded")


def _help(chat: Actions, rest: str) -> None:
    _explain(chat, [(f"/{name}", one.help) for name, one in sorted(COMMANDS.items())])
    chat.note("Other commands of roost work too, as in /ps or /logs @this. ? shows the keys.")


def _others() -> list[str]:
    """Return the other commands of `roost` that make sense in a conversation: they print something and end."""
    from roost.cli.main import GROUPS

    apart = {"run", "chat", "acp", "mcp", "attach", "up", "stub", "serve-model", "rm"}
    return [name for group in GROUPS.values() for name in group if name not in apart]


def _other(chat: Actions, word: str, rest: str) -> None:
    """Run a command of the command line. `@this` stands for the session."""
    try:
        words = [word, *shlex.split(rest)]
    except ValueError as error:
        chat.note(f"/{word}: {error}")
        return
    session = chat.link.session if chat.link is not None else "@last"

    chat.note(f"/{word} {clean(rest)}".rstrip(), CYAN)
    chat.besides.append(f"/{word}")

    def failed(error: Exception) -> None:
        chat.besides.remove(f"/{word}")
        chat.failed(error)

    def then(ran: Ran) -> None:
        chat.besides.remove(f"/{word}")
        lines = clean(ran.output).rstrip().splitlines()
        if len(lines) > _LINES:
            chat.page("\n".join(lines))
        else:
            chat.note("\n".join(lines) or "done")

    command = [session if one == "@this" else one for one in words]
    chat.worker.beside(lambda: roost_command(command, chat.variables), then, failed)


COMMANDS: dict[str, Command] = {
    "help": Command("the commands", _help),
    "keys": Command("the keys", show_keys),
    "new": Command("begin a new session, /new AGENT with another agent", _new),
    "sessions": Command("go on with another session", _linked(_sessions)),
    "resume": Command("resume a paused session, or go on with another", _linked(_resume)),
    "rewind": Command("go back to before an earlier message", _linked(_rewind)),
    "undo": Command("take the last rewind back", _linked(_undo)),
    "fork": Command("go on in a copy of this session", _linked(_fork)),
    "checkpoint": Command("save this point, /checkpoint LABEL", _linked(_checkpoint)),
    "diff": Command("what has changed in the files", _linked(_diff)),
    "model": Command("choose the model, /model NAME", _linked(_model)),
    "mode": Command("choose what the agent may do without asking", _linked(_mode)),
    "plan": Command("have a plan made first, /plan TEXT", _linked(plan)),
    "go": Command("have the plan carried out", _linked(go)),
    "agent": Command("begin a session of another agent", _linked(_agents)),
    "cost": Command("tokens and money of this session", _linked(_cost)),
    "context": Command("how full the model's context is", _linked(_context)),
    "compact": Command("shorten the context now", _linked(_compact)),
    "memory": Command("what is remembered, /memory WORDS", _linked(_memory)),
    "jobs": Command("commands that run in the background", _linked(_jobs)),
    "steer": Command("say something into the running turn", _steer),
    "later": Command("say something after the running turn", _later),
    "cancel": Command("stop the turn (Esc)", _cancel),
    "pause": Command("stop where it is", _linked(_order("pause"))),
    "approve": Command("look again for calls that wait", _linked(_approve)),
    "trust": Command("clear the mark of untrusted text", _linked(_order("trust"))),
    "export": Command("write the conversation as Markdown", _linked(_export)),
    "copy": Command("copy the last answer", _copy),
    "theme": Command("choose the colours", _theme),
    "thinking": Command("show or fold thoughts (Ctrl-T)", _thinking),
    "quit": Command("leave; the session is kept", _quit),
    "exit": Command("leave; the session is kept", _quit),
}
