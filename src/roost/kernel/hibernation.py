"""Suspend a session's sandbox while the session sleeps, and resume it with its programs, if the agent asks for that."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from pathlib import Path

import msgspec

from roost.agent.feature import asked
from roost.agent.session import Session
from roost.errors import SandboxError
from roost.log import events as ev
from roost.sandbox.backend import Backend, Guest, SandboxSpec
from roost.sandbox.guest.linked_guest import LinkedGuest
from roost.sandbox.suspended_image import clear

log = logging.getLogger("roost.sandbox")
_IMAGE, _ABOUT = "sandbox", "sandbox.about"


class _About(msgspec.Struct, frozen=True):
    """`epoch`: of the session when it went to sleep. If another node has owned it since, the image must not be used.
    `kept`: the notes on its programs."""

    epoch: int
    kept: tuple[msgspec.Raw, ...]


_decoder = msgspec.json.Decoder(_About)
"""Created before threads use it: msgspec analyses a type at first use, without a lock."""


async def lay_down(live: Session, guest: Guest, notes: Path) -> bool:
    """Suspend a sandbox into the folder `notes`, if it can keep its memory. Its programs then belong to the suspended
    sandbox, no longer to the session."""
    if guest.capabilities.suspends != "memory" or not guest.alive or not guest.background:
        return False
    slept = [one for feature in asked(live, "suspends") for one in await feature.suspends(live)]
    about = msgspec.json.encode(_About(live.log.epoch, tuple(one.note for one in slept)))
    try:
        await asyncio.to_thread(_write, notes, about)
        kept = await guest.suspend(notes / _IMAGE)
    except (OSError, SandboxError) as error:
        log.warning("session %s: its sandbox cannot be suspended: %s", live.id, error)
        return False
    if kept != "memory":
        return False
    for one in slept:
        await one.detach()
    return True


async def resume_guest(live: Session, backend: Backend, spec: SandboxSpec, notes: Path) -> Guest | None:
    """Resume a suspended sandbox with its programs; None when there is none. A failure is recorded in the log."""
    about = await asyncio.to_thread(_read, notes)
    if about is None:
        return None
    try:
        if live.log.epoch != about.epoch + 1:
            await asyncio.to_thread(shutil.rmtree, notes / _IMAGE, ignore_errors=True)
            raise SandboxError("the session ran elsewhere meanwhile")
        guest = await backend.resume(spec, notes / _IMAGE)
    except SandboxError as error:
        reason = f"its sleeping sandbox cannot be taken up: {error}"
        live.log.note(ev.SandboxEnded(at=time.time(), reason=reason, background=len(about.kept)))
        await asyncio.to_thread(_forget, notes)
        return None
    try:
        await asyncio.to_thread(_forget, notes)
        terminals = guest.terminals if isinstance(guest, LinkedGuest) else {}
        for note in about.kept:
            for feature in asked(live, "resumes"):
                feature.resumes(live, note, terminals)
        for terminal in terminals.values():  # the session no longer knows them
            await terminal.close()
    except BaseException:  # no caller owns it yet
        await guest.close()
        raise
    return guest


def is_suspended(notes: Path) -> bool:
    """Whether a suspended sandbox lies in the folder `notes`."""
    return (notes / _ABOUT).is_file()


def _write(notes: Path, about: bytes) -> None:
    notes.mkdir(parents=True, exist_ok=True)
    (notes / _ABOUT).write_bytes(about)


def _read(notes: Path) -> _About | None:
    """Read the note of a suspended sandbox. Removes the remains of a suspension that a crash cut off."""
    try:
        about = _decoder.decode((notes / _ABOUT).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None
    if (notes / _IMAGE).is_dir():
        return about
    clear(notes / _IMAGE)
    _forget(notes)
    return None


def _forget(notes: Path) -> None:
    (notes / _ABOUT).unlink(missing_ok=True)
