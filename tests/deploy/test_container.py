"""The container file: what it installs is what is locked, and it keeps its promises."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
EXTRAS = ("postgres", "objects", "fast")
_PIN = re.compile(
    r"^(?P<name>[\w.-]+)(?:\[\w,]+\])?==(?P<version>[^\s;\\]+).*\\\n(?P<hashes>(?:\s+--hash=.+\n?)+)", re.MULTILINE
)


def pins(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """A package that has several versions, for several Pythons, counts as one."""
    matches = list(_PIN.finditer(path.read_text()))
    assert len(matches) == len(re.findall(r"^[a-z]", path.read_text(), re.MULTILINE)), "a pin without a hash"
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for match in matches:
        version, hashes = found.get(match["name"], ("", frozenset[str]()))
        hashes |= frozenset(re.findall(r"--hash=(\S+)", match["hashes"]))
        found[match["name"]] = (f"{version} {match['version']}".strip(), hashes)
    return found


def needed(name: str, extras: tuple[str, ...] = ()) -> set[str]:
    """Everything that a server on Linux installs, by the metadata of what is installed here."""
    found: set[str] = set()
    for text in requires(name) or ():
        requirement = Requirement(text)
        environments = [
            {"extra": extra, "sys_platform": "linux", "platform_system": "Linux"} for extra in ("", *extras)
        ]
        if requirement.marker is not None and not any(map(requirement.marker.evaluate, environments)):
            continue
        canonical = requirement.name.lower().replace("_", "-")
        found |= {canonical} | needed(canonical, tuple(requirement.extras))
    return found


def test_the_server_installs_what_is_locked_and_no_more(deploy: Path) -> None:
    """Out of step after `make lock`? It writes both files."""
    locked, server = pins(ROOT / "requirements.lock"), pins(deploy / "requirements.txt")
    for name, pin in server.items():
        assert locked[name] == pin, name
    missing = needed("roost", EXTRAS) - set(server)
    assert not missing
    assert not {"pytest", "dbos", "pyright", "kubernetes-validate"} & set(server)


def test_the_build_is_locked_too(deploy: Path) -> None:
    assert "hatchling" in pins(deploy / "requirements-build.txt")


def test_hadolint_has_nothing_to_say(deploy: Path, tool: Callable[[str], str]) -> None:
    done = subprocess.run([tool("hadolint"), str(deploy / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_two_stages_and_nothing_to_build_with_in_the_last(deploy: Path) -> None:
    text = (deploy / "Dockerfile").read_text()
    build, _, last = text.partition("\nFROM ${PYTHON}\n")
    assert "AS build" in build
    assert "--require-hashes" in build
    assert build.count("--require-hashes") == build.count("--only-binary :all:") == 2
    assert not re.search(r"\b(pip|gcc|build-essential|uv) install|build-essential|gcc", last)
    assert re.search(r"^ARG PYTHON=python:3\.\d+-slim-\w+$", text, re.MULTILINE), "a base pinned by tag"
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "chmod 711 /usr/bin/tini" in last, "agents' commands could read the secrets of process 1"
    assert "STOPSIGNAL SIGTERM" in last
    assert 'VOLUME ["/var/lib/roost"]' in last
    assert "/live" in last.partition("HEALTHCHECK")[2]
    assert "ROOST_CACHE=/var/lib/roost/" in last, "weights go to the volume"
    assert ".gguf" not in text


def test_the_context_is_what_is_copied(deploy: Path) -> None:
    allowed = {line[1:] for line in (deploy / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (deploy / "Dockerfile").read_text(), re.MULTILINE)
    copied = {part for line in copies for part in line.split()}
    assert copied == allowed
    assert all((ROOT / path).exists() for path in copied)
    assert "\n*\n" in (deploy / "Dockerfile.dockerignore").read_text(), "everything else stays out"
