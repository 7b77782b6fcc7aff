"""What a probe found is known to the next process, as long as nothing has changed that it depends on."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

_SCRIPT = """
import asyncio, sys
from pathlib import Path
import msgspec
from roost.errors import SandboxError
from roost.sandbox.backend import Capabilities
from roost.sandbox.base import ExecResult
from roost.sandbox.choose import Chooser
from roost.sandbox.probe_cache import ProbeCache
from roost.sandbox.probe import tried

folder, program, version, able, anew, level = sys.argv[1:]

class Guest:
    capabilities = Capabilities(memory="kernel")
    async def exec(self, argv, *, cwd):
        return ExecResult(exit_code=0, stdout="fine\\n", stderr="", seconds=0.0)
    async def close(self):
        pass

class Made:
    name, level = "made-by us", int(level)
    async def probe(self):
        return await tried(self, version, script="x", fix="y", program=program)
    async def create(self, spec):
        print("made", file=sys.stderr)
        if able == "no":
            raise SandboxError("not today")
        return Guest()
    async def reap(self, marker):
        return 0

async def main():
    chooser = Chooser([Made()], kept=ProbeCache(Path(folder), anew=anew == "anew"))
    return (await chooser.probes())[0]

sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(main())))
"""


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder, self.program = folder / "kept", folder / "program"
        self.program.touch()

    async def probe(
        self, version: str = "1", *, able: str = "yes", anew: str = "", level: int = 1
    ) -> tuple[dict[str, object], bool]:
        """The probe of a new process, and whether it made a guest."""
        options = [str(self.folder), str(self.program), version, able, anew, str(level)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SCRIPT, *options, stdout=pipe, stderr=pipe
        )
        said, told = await process.communicate()
        assert told in (b"", b"made\n"), told.decode()
        return json.loads(said), told != b""


async def test_a_probe_is_not_done_again_by_the_next_process(tmp_path: Path) -> None:
    place = Place(tmp_path)
    first, made = await place.probe()
    assert made
    assert first["able"]
    assert await place.probe() == (first, False)
    assert (await place.probe(level=2))[1]
    assert (await place.probe("2"))[1]
    assert not (await place.probe())[1]
    assert (await place.probe(anew="anew"))[1]
    os.utime(place.program, ns=(1, 1))
    assert (await place.probe())[1]


async def test_what_is_broken_is_ignored_and_mended(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.probe()
    (file,) = place.folder.iterdir()
    whole = file.read_bytes()
    for broken in (b"", b"{", b"\xff", whole[:-3], b'[{"key":1}]', whole.replace(b'"level":1', b'"level":2')):
        assert broken != whole
        file.write_bytes(broken)
        assert (await place.probe())[1]
        assert not (await place.probe())[1]
    file.unlink()
    file.mkdir()
    assert (await place.probe())[1]


async def test_what_could_not_be_done_is_tried_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    refused, made = await place.probe(able="no")
    assert (refused["able"], refused["why"], made) == (False, "not today", True)
    assert (await place.probe())[1]
    assert not (await place.probe(able="no"))[1]
    assert (await place.probe(able="no", anew="anew"))[1]
    assert (await place.probe())[1]
