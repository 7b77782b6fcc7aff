"""Parts of an approval question about a command: its dangerous parts, and prefixes to allow from now on."""

from __future__ import annotations

import re
from pathlib import Path

from roost.log.events import Danger
from roost.policy.command.tables import INTERPRETERS, SHELLS, WRAPPERS
from roost.policy.rules import Touches, allowed_by

_MOST = 8
_TWO = frozenset(
    "git npm pnpm yarn bun cargo go make gmake just task rake uv poetry pipenv hatch tox nox pip pip3 bundle gem dotnet"
    " mvn gradle docker podman kubectl terraform helm gh rustup conda pdm pre-commit alembic django-admin flask rails"
    " php composer mix sbt bazel swift zig deno ruff gcloud aws az systemctl apt apt-get dnf yum snap brew vagrant"
    " docker-compose python pypy node nodejs ruby perl lua luajit tclsh"
    " Rscript julia bash sh dash ksh fish".split()
)
"""Programs whose second word selects the action."""
_THREE = frozenset({("npm", "run"), ("pnpm", "run"), ("yarn", "run"), ("bun", "run"), ("uv", "run"), ("poetry", "run"),
                    ("python", "-m"), ("pypy", "-m"), ("bundle", "exec"), ("docker", "compose"),
                    ("docker", "container")})  # fmt: skip
_NEVER = frozenset(
    "rm unlink rmdir srm shred truncate dd mv cp ln install tee chmod chown find xargs curl wget nc ncat ssh scp sftp"
    " rsync telnet socat sed awk perl kill pkill killall eval source . env sh bash zsh sudo docker podman set export"
    " unset declare typeset readonly trap read open xdg-open tmux screen lldb psql mysql java openssl nix nix-shell"
    " direnv ansible ansible-playbook".split()
) | ((SHELLS | frozenset(INTERPRETERS) | frozenset(WRAPPERS)) - _TWO)
"""Programs that can do anything or remove things: no prefix restricts them enough."""
_NEVER_TWO = frozenset({("git", "config"), ("uv", "pip"), ("uv", "tool"), ("python", "-m", "pip"),
                        ("pypy", "-m", "pip"), ("gh", "api"), ("gh", "alias")})  # fmt: skip
"""Prefixes that allow any command of a package manager or any request to GitHub, or make git run a program."""
_VERSION = re.compile(r"(?<=[a-z])[0-9][0-9.]*$")


def dangers(touches: Touches) -> tuple[Danger, ...]:
    """Return the parts of a command that a person should see first, the worst first."""
    command = touches.command
    if command is None:
        return ()
    found = [Danger(one.command or one.category, one.why, one.start, one.end) for one in command.findings]
    found += [Danger(what, "it cannot be understood") for what in command.unclear]
    found += [Danger(call, "it installs packages") for call in command.installs]
    found += [Danger(call, "it speaks to other machines") for call in command.network]
    found += [Danger(path, "what it holds is removed or overwritten") for path in command.loses]
    return tuple(dict.fromkeys(found))[:_MOST]


def prefixes(touches: Touches, root: Path) -> tuple[str, ...]:
    """Return the prefix that would allow this command, if there is one. A command that installs packages has none: its
    prefix would allow any package. A command of several programs has none: a person would have to see for each of them
    what its prefix allows."""
    command = touches.command
    if command is None or len(command.calls) != 1 or not command.doing:
        return ()
    if command.redirected or command.elsewhere or command.installs:
        return ()
    found = _prefix(command.doing[0])
    return (found,) if found is not None and allowed_by((found,), command, command.doing, root) else ()


def _prefix(call: tuple[str, ...]) -> str | None:
    name = call[0].rpartition("/")[2]  # `/bin/bash` is bash
    kind = _VERSION.sub("", name)  # python3.12 is python
    known = _TWO.intersection((name, kind))
    words = 3 if (kind, *call[1:2]) in _THREE else 2 if known else 1
    said = call[:words]
    plain = len(said) == words and all(_plain(word) for word in said[1:])
    if words > 1 and not plain and said[1:2] not in (("-m",),):
        return None
    if {(kind, *said[1:2]), (kind, *said[1:3])} & _NEVER_TWO:
        return None
    if words == 1 and _NEVER.intersection((name, kind)):
        return None
    if name in ("bash", "sh", "docker", "podman") and said[1:2] in (("run",), ("exec",), ("-c",)):
        return None
    if not _plain(call[0]) or ":" in call[0]:
        return None
    return " ".join(said) if all(_plain(word) or word == "-m" for word in said) else None


def _plain(word: str) -> bool:
    """Whether a rule can hold the word literally."""
    return bool(word) and not word.startswith("-") and not any(char in word for char in "*?[]{}\ufffc\n\t \"'\\")
