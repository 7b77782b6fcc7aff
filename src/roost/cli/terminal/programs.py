"""Programs that a conversation runs beside it: a pager, an editor, commands of the person."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_OUTPUT = 200_000
"""Bytes of a command's output that are kept: its end."""


class Ran(NamedTuple):
    """How a command ended. `code`: None when it was stopped."""

    command: str
    output: str
    code: int | None


def page(text: str, *, end: bool = False) -> None:
    """Show a text in the pager, which owns the terminal meanwhile. `end`: begin at its end."""
    words = _words(os.environ.get("PAGER")) or ["less"]
    if os.path.basename(words[0]) == "less":
        words += ["-R", *(["+G"] if end else [])]
    with tempfile.NamedTemporaryFile("w", prefix="roost-", suffix=".txt", encoding="utf-8", errors="replace") as file:
        file.write(text + "\n")
        file.flush()
        try:
            with _foreground():
                subprocess.run([*words, file.name], env=os.environ | {"LESSCHARSET": "utf-8"}, check=False)
        except OSError:
            sys.stdout.write(text + "\n")


def edited(text: str, *, suffix: str = ".md") -> str | None:
    """Let a person edit a text in their editor. None when it could not be run, or failed."""
    editor = _words(os.environ.get("VISUAL") or os.environ.get("EDITOR")) or ["vi"]
    with tempfile.TemporaryDirectory(prefix="roost-") as folder:
        file = Path(folder) / f"text{suffix}"
        file.write_text(text, encoding="utf-8")
        try:
            with _foreground():
                done = subprocess.run([*editor, str(file)], check=False)
            return file.read_text(encoding="utf-8", errors="replace") if done.returncode == 0 else None
        except OSError:
            return None


def _words(command: str | None) -> list[str]:
    """Return the words of a variable that names a program; one that is no shell syntax names it whole."""
    try:
        return shlex.split(command or "")
    except ValueError:
        return [command or ""]


@contextlib.contextmanager
def _foreground() -> Generator[None]:
    """Leave the terminal's signals to the program that has it. Ctrl-Z stops both, else the shell would not come
    back."""
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTSTP, stop)


class Shell:
    """A command of the person, in their shell and without the terminal. `run` blocks; `stop` may come from another
    thread."""

    def __init__(self, command: str, folder: Path) -> None:
        self._command, self._folder = command, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self) -> Ran:
        kept = b""
        if self._stopped:
            return Ran(self._command, "", None)
        self._process = subprocess.Popen(
            [os.environ.get("SHELL") or "/bin/sh", "-c", self._command],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if self._stopped:  # while it was being started
            self.stop()
        assert self._process.stdout is not None
        with self._process.stdout as out:
            while piece := os.read(out.fileno(), 65536):
                kept = (kept + piece)[-_OUTPUT:]
        code = self._process.wait()
        return Ran(self._command, kept.decode("utf-8", "replace"), None if self._stopped else code)

    def stop(self) -> None:
        self._stopped = True
        if self._process is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGTERM)


def roost_command(arguments: Sequence[str], variables: Mapping[str, str]) -> Ran:
    """Run another command of `roost` and return what it prints. `variables`: for its environment."""
    done = subprocess.run(
        [sys.executable, "-m", "roost", *arguments],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    return Ran(shlex.join(arguments), done.stdout[-_OUTPUT:].decode("utf-8", "replace"), done.returncode)
