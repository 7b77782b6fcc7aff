"""The image of a suspended sandbox: a folder that is complete or absent, and can be used once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from roost.errors import SandboxError
from roost.sandbox.backend import Capabilities, Suspends
from roost.sandbox.guest.link import Link
from roost.sandbox.guest.linked_guest import Body, LinkedGuest, Manner
from roost.sandbox.guest.terminal import Kept
from roost.syncing import sync

_ABOUT = "sandbox.json"


class _About(msgspec.Struct, frozen=True):
    version: str
    workspace: str
    last: int
    kept: tuple[Kept, ...]


_decoder = msgspec.json.Decoder(_About)
"""Made before threads use it: msgspec inspects a type at its first use, without a lock."""


class Image(NamedTuple):
    """`version`: the program that wrote it. `last`: number of the link's last job. `kept`: the background programs."""

    folder: Path
    version: str
    workspace: str
    last: int
    kept: tuple[Kept, ...]

    async def write(self, fill: Callable[[Path], Awaitable[None]]) -> None:
        """Write the image; `fill` writes the memory into the folder that it gets. An error of `fill` leaves nothing. A
        crash leaves only a folder beside the image, which the next write removes. Raises `OSError`."""
        part = _beside(self.folder, "part")
        await asyncio.to_thread(_fresh, part)
        try:
            await fill(part)
            await asyncio.to_thread(self._seal, part)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise

    def check(self, version: str, workspace: Path) -> None:
        """Raises `SandboxError` when the image is of another version or workspace."""
        if self.version != version:
            raise SandboxError(f"the sandbox was suspended by {self.version}, and this is {version}; make a new one")
        if self.workspace != str(workspace):
            raise SandboxError(f"the sandbox was suspended with {self.workspace} as its workspace, not {workspace}")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _seal(self, part: Path) -> None:
        about = _About(self.version, self.workspace, self.last, self.kept)
        (part / _ABOUT).write_bytes(msgspec.json.encode(about))
        for place in (*part.iterdir(), part):
            sync(place)
        shutil.rmtree(self.folder, ignore_errors=True)
        part.rename(self.folder)
        sync(self.folder.parent)


class Keeping(NamedTuple):
    """How a sandbox's memory is written: `write` puts it into a folder, in the format of this `version`. The processes
    inside must hold still within `seconds`."""

    version: str
    workspace: Path
    write: Callable[[Path], Awaitable[None]]
    seconds: float


class KeptGuest(LinkedGuest):
    """A guest that can be suspended with its memory."""

    def __init__(
        self,
        level: int,
        capabilities: Capabilities,
        link: Link,
        body: Body,
        manner: Manner,
        keeping: Keeping,
    ) -> None:
        super().__init__(level, capabilities, link, body, manner)
        self._keeping = keeping

    async def suspend(self, image: Path) -> Suspends:
        """Cancel the commands that `exec` still waits for, and write the memory with all background programs."""
        how = self._keeping
        await self._finish_running()
        try:
            self._link.hold()
            async with asyncio.timeout(how.seconds):
                await asyncio.shield(self._link.held)
            kept = tuple(terminal.kept() for terminal in self.terminals.values())
            made = Image(image, how.version, str(how.workspace), self._link.last, kept)
            await made.write(how.write)
        except (SandboxError, OSError, TimeoutError, asyncio.CancelledError) as error:
            await self.close()
            if isinstance(error, asyncio.CancelledError) and not self._link.held.cancelled():
                raise
            return "none"
        await self.close()
        return "memory"


def take(folder: Path) -> Image:
    """Claim the image: move it aside, so that it cannot be resumed twice, even after a crash. Blocks. Raises
    `SandboxError`."""
    used = _beside(folder, "used")
    try:
        shutil.rmtree(used, ignore_errors=True)
        folder.rename(used)
        sync(used.parent)
        about = _decoder.decode((used / _ABOUT).read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        raise SandboxError(f"there is no suspended sandbox in {folder}: {error}; make a new one") from error
    return Image(used, about.version, about.workspace, about.last, about.kept)


def clear(folder: Path) -> None:
    """Remove the leftovers of an interrupted write or resume beside an image. Blocks."""
    for what in ("part", "used"):
        shutil.rmtree(_beside(folder, what), ignore_errors=True)


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f"{folder.name}.{what}")


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
