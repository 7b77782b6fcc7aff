"""Write docs/reference/cli.md from the commands of `roost`.

    python -m tools.cli_reference

Run it after a change of a command, an option or a help text. `tests/test_docs_site.py` fails when the page lacks a
command or an option.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from roost.cli.main import GROUPS, roost

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
_HEAD = """# Command line

`python -m tools.cli_reference` writes this page from the help texts; `roost COMMAND --help` prints the same. Each
command accepts `--help`, and most accept `--json` for scripts.

`SESSION` is an id, a prefix or suffix of an id that matches no other session, or `@last` for the newest session.

## Global options
"""


def commands(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield each command below `group`, groups before their members, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))


def options(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option) and not one.hidden]


def page() -> str:
    every = dict(commands(roost))
    parts = [_HEAD, _table(roost)]
    for title, names in GROUPS.items():
        parts.append(f"\n## {title}\n")
        for words, command in every.items():
            if words[0] in names:
                parts.append(_section(words, command))
    return "".join(parts)


def _section(words: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(("roost", *words)))
    usage = " ".join(command.collect_usage_pieces(context))
    name = f"roost {' '.join(words)}"
    heading = "#" * min(len(words) + 2, 4)
    return f"\n{heading} {name}\n\n```\n{name} {usage}\n```\n\n{_help(command)}\n{_table(command)}"


def _help(command: click.Command) -> str:
    text = (command.help or command.short_help or "").replace("\f", "")
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(_verbatim(part) if "\b" in part else _escape(" ".join(part.split())) for part in paragraphs)


def _verbatim(part: str) -> str:
    return "```\n" + inspect.cleandoc(part.replace("\b", "")) + "\n```"


def _table(command: click.Command) -> str:
    context = click.Context(command)
    rows = [record for one in options(command) if (record := one.get_help_record(context)) and one.name != "help"]
    if not rows:
        return ""
    lines = [f"| `{_escape(name)}` | {_escape(text)} |" for name, text in rows]
    return "\n| option | meaning |\n| --- | --- |\n" + "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page())
