"""`roost completion`: completion of commands and options in the shell."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal, TypeAlias

import click

from roost.cli.app import App
from roost.cli.options import command
from roost.cli.output import note, say

Shell: TypeAlias = Literal["bash", "zsh", "fish"]
_MARK = "# completion of roost"
_LINES: dict[Shell, str] = {
    "bash": 'eval "$(_ROOST_COMPLETE=bash_source roost)"',
    "zsh": (
        "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }; "
        'eval "$(_ROOST_COMPLETE=zsh_source roost)"'
    ),
    "fish": "_ROOST_COMPLETE=fish_source roost | source",
}


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
@click.option("--install", is_flag=True, help="Write it into the shell's start file.")
def completion(app: App, shell: Shell | None, install: bool) -> int:
    """Print the line that completes commands and options in your shell, or install it.

    \b
      roost completion --install             for the shell of $SHELL
      roost completion fish                  print it
    """
    chosen = shell or _present()
    line = _LINES[chosen]
    if not install:
        say(line)
        return 0
    path = _start_file(chosen)
    before = path.read_text(errors="surrogateescape") if path.exists() else ""
    if line in before:
        note(f"{path} has it already")
        return 0
    if shutil.which("roost") is None:
        note("roost is not on your PATH: completion works once it is", "yellow")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(f"{'' if not before or before.endswith(chr(10)) else chr(10)}{_MARK}\n{line}\n")
    say(f"added it to {path}; it works in new shells")
    return 0


def _present() -> Shell:
    name = Path(os.environ.get("SHELL", "")).name
    for shell in _LINES:
        if name == shell:
            return shell
    raise click.UsageError(f"name the shell: roost completion {'|'.join(_LINES)}")


def _start_file(shell: Shell) -> Path:
    home = Path.home()
    match shell:
        case "bash":
            return home / ".bashrc"
        case "zsh":
            return Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"
        case "fish":
            base = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
            return base / "fish" / "completions" / "roost.fish"
