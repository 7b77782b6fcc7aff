"""The command `roost`: names, one line of help each, and the modules that are imported when they are used."""

from __future__ import annotations

import importlib
import io
import keyword
import os
import stat
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from roost.cli.feature_commands import FEATURE_COMMANDS
from roost.cli.options import places

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

GROUPS: dict[str, dict[str, str]] = {
    "Talk to an agent": {
        "run": "Give an agent one task and print its answer.",
        "chat": "Talk with an agent.",
        "acp": "Let an editor drive sessions, by the Agent Client Protocol.",
        "mcp": "Offer agents and sessions to a client of the Model Context Protocol.",
    },
    "Sessions": {
        "ps": "List sessions.",
        "top": "Show sessions, nodes, queues, money and waiting approvals, live.",
        "show": "Show a session and its last messages.",
        "logs": "Print a session's events.",
        "send": "Send a message to a session.",
        "attach": "Follow a session live; Ctrl-C leaves it running.",
        "pause": "Pause sessions where they are.",
        "resume": "Resume paused or failed sessions.",
        "cancel": "Cancel the running turns of sessions; the sessions stay.",
        "stop": "Stop sessions; they take no more messages.",
        "start": "Start stopped sessions again.",
        "trust": "Clear the untrusted-content mark of sessions.",
        "rm": "Delete sessions, their logs and private files.",
    },
    "The daemon": {
        "up": "Start the daemon.",
        "down": "Stop the daemon; unfinished work is kept.",
        "reload": "Have the daemon read its files again.",
        "config": "Show every setting and where it comes from; change those of all nodes.",
        "drain": "Move the sessions of a node to other nodes.",
        "nodes": "List the nodes that work on one store.",
    },
    "This machine": {
        "agents": "List the agents.",
        "models": "List models, what they cost, and whether they can be used here.",
        "pull": "Fetch the weights of a local model.",
        "serve-model": "Serve a local model by the OpenAI protocol.",
        "doctor": "Check what this machine can do.",
        "setup": "Set up an account of a model provider.",
        "init": "Write an agent, a policy and a line of .gitignore for this project.",
        "env": "Set variables for every command and daemon of this home.",
        "completion": "Print the line that completes commands and options in your shell, or install it.",
        "policy": "Show what agents may do, and which rule says so.",
        "audit": "Look for keys where they do not belong.",
        "store": "Maintain the store: migrate, copy, check, sweep.",
        "stub": "Run a model provider that follows a script.",
        "version": "Print the version.",
    },
}
# A command of a feature takes the place of the core's with the same name, which it extends.
for _section, _commands in GROUPS.items():
    _own = {name: line for name, (_, line) in FEATURE_COMMANDS.get(_section, {}).items()}
    GROUPS[_section] = dict(sorted((_commands | _own).items()))
_FEATURES = {name: feature for commands in FEATURE_COMMANDS.values() for name, (feature, _) in commands.items()}
_MODULES = {
    "up": "daemon", "down": "daemon",
    "pause": "control", "resume": "control", "cancel": "control", "stop": "control", "start": "control",
    "trust": "control",
    "rm": "control", "drain": "nodes", "ps": "listing", "version": "listing", "reload": "config",
    "serve-model": "serve_model",
}  # fmt: skip


class LazyGroup(click.Group):
    """Shows the help without importing any command's module."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for group in GROUPS.values() for name in group]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if all(cmd_name not in group for group in GROUPS.values()):
            return None
        if feature := _FEATURES.get(cmd_name):
            commands = importlib.import_module(f"roost.features.{feature}.commands").COMMANDS
            return next(one for section in commands.values() for one in section if one.name == cmd_name)
        module = importlib.import_module(f"roost.cli.commands.{_MODULES.get(cmd_name, cmd_name)}")
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(module, f"{name}_" if keyword.iskeyword(name) else name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] == "help":  # as in `roost help run`, `roost help models use`, `roost help keys`
            if ctx.resilient_parsing:  # a shell completes the line: nothing is printed
                return "help", _help_completion(self), args[1:]
            args = self._help(ctx, args[1:])
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = _near(name, self.list_commands(ctx))
            hint = f"did you mean `roost {near}`?" if near else 'to give an agent a task: roost run "…"'
            raise click.UsageError(f"there is no command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def _help(self, ctx: click.Context, words: list[str]) -> list[str]:
        """Print the overview or a topic and exit; return the command line that prints a command's help."""
        from roost.cli.help_topics import TOPICS

        if not words:
            click.echo(ctx.get_help())
            ctx.exit()
        known = self.get_command(ctx, words[0]) is not None
        if len(words) == 1 and (text := TOPICS.get(words[0])) is not None:
            click.echo(text)
            if known:
                click.echo(f"\nThe options of the command: roost {words[0]} --help")
            ctx.exit()
        if not known:
            near = _near(words[0], [*TOPICS, *self.list_commands(ctx)])
            hint = f"did you mean `roost help {near}`? " if near else ""
            raise click.UsageError(
                f"there is no help about {words[0]!r}; {hint}The subjects are {', '.join(TOPICS)}, and every command",
                ctx,
            )
        return [*words, "--help"]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        offered = [(name, line) for group in GROUPS.values() for name, line in group.items()]
        offered.append(("help", "Explain a subject or a command."))
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=line) for name, line in offered if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()), col_max=12)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write_text(
            "SESSION is an id, or a beginning or an end of one that fits no other, or @last for the newest. "
            "`roost help TOPIC` explains a subject: keys, agents, approvals, sessions, files, scripts."
        )


def _near(word: str, names: Sequence[str]) -> str | None:
    import difflib

    near = difflib.get_close_matches(word, names)
    near.sort(key=lambda one: one[:2] != word[:2])  # `rum` is sooner `run` than `rm`
    return near[0] if near else None


def _help_completion(group: LazyGroup) -> click.Command:
    """Return what completes the words behind `roost help`."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        from roost.cli.help_topics import TOPICS

        return [name for name in dict.fromkeys((*TOPICS, *group.list_commands(ctx))) if name.startswith(incomplete)]

    return click.Command("help", params=[click.Argument(["topic"], required=False, shell_complete=complete)])


def _print_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from roost.version import version

        click.echo(f"roost {version()}")
        context.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    subcommand_metavar="COMMAND ...",
    invoke_without_command=True,
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@places(hidden=False)
@click.pass_context
def roost(context: click.Context) -> int:
    """Agents that live on your machine: they sleep on disk, wake when spoken to, and survive a kill.

    \b
      roost                                   a conversation, on a terminal
      roost run "What is in this folder?"     one task, in this folder
      roost up -d                             a daemon, so that work continues without a terminal
    """
    if context.invoked_subcommand is not None:
        return 0
    if not _person_talks():
        click.echo(context.get_help())
        return 0
    group = context.command
    assert isinstance(group, LazyGroup)
    command = group.get_command(context, "chat")
    assert command is not None
    code: int = context.invoke(command)
    return code


def _person_talks() -> bool:
    """True where messages can come from: a terminal, also a dumb one, or a pipe or a file on standard input."""
    if sys.stdin.isatty():
        return sys.stdout.isatty()
    try:
        kind = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # not a file, as in a program that replaces it
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISREG(kind)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line. Returns its exit code and raises nothing (unless ROOST_DEBUG=1)."""
    debug = os.environ.get("ROOST_DEBUG", "") not in ("", "0")
    _make_streams_take_anything()
    try:
        code = roost.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.UsageError as error:
        _complain(error.format_message())
        if error.ctx is not None:
            _hint(f"see `{error.ctx.command_path} --help`")
        return 2
    except click.ClickException as error:
        _complain(error.format_message())
        return 1
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:  # the reader of the pipe has closed it
        _drop_output()
        return 141
    except Exception as error:  # one line for people; the traceback only with ROOST_DEBUG
        if debug:
            raise
        _explain(error)
        return 1


def _explain(error: Exception) -> None:
    from roost.errors import RoostError

    if isinstance(error, RoostError):
        from roost.cli.session_ids import shortened

        _complain(shortened(error.message))
    elif isinstance(error, OSError):
        _complain(_trouble(error))
    elif isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        _complain("what was given is not text: it has bytes that are not UTF-8")
    else:
        _complain(f"internal: {type(error).__name__}: {error}")
        _hint("this is a bug of Roost; ROOST_DEBUG=1 shows where")


def _make_streams_take_anything() -> None:
    """Replace closed streams by the null device, and characters that a stream cannot encode by question marks."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _drop_output() -> None:
    """Redirect stdout to the null device, so that the interpreter's last flush does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _trouble(error: OSError) -> str:
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the folder that you are in is gone: go to one that exists"
    _drop_output()
    return f"cannot go on writing or reading: {error.strerror or error}"


def _complain(text: str) -> None:
    from roost.cli.output import styled
    from roost.terminal_text import clean

    sys.stderr.write(f"{styled('error:', 'red', to=sys.stderr)} {clean(text)}\n")


def _hint(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
