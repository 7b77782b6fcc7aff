"""Kill a process while it makes an index, and a daemon while somebody downloads a shared file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2

from tests.doors.test_openai_killed import Node
from tests.files.test_folder_index import fill, found, index_of

_INDEX = """
import asyncio, sys
from pathlib import Path
from tests.files.test_folder_index import index_of

async def main():
    root, kept = map(Path, sys.argv[1:])
    async with index_of(root, kept):
        print("whole", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""
_FILES = 600
DATA = bytes(range(256)) * 60_000


async def test_an_index_is_killed_and_goes_on(tmp_path: Path) -> None:
    root, kept = tmp_path / "work", tmp_path / "kept"
    fill(root, {f"d{n % 7}/f{n}.txt": f"needle {n} " + "word " * 500 for n in range(_FILES)})
    place = Path(__file__).parents[2]
    for after in (0.02, 0.2):
        process = subprocess.Popen(
            [sys.executable, "-c", _INDEX, str(root), str(kept)],
            cwd=place,
            env={**os.environ, "PYTHONPATH": f"{place}/src:{place}"},
            stdout=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 60
            while not (kept / "index.sqlite").exists() and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(after)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(30)
    async with index_of(root, kept) as index:
        assert (await index.status()).files == _FILES
        assert (await found(index, "needle 417"))[0] == "d4/f417.txt"
        (root / "d4/f417.txt").unlink()
        assert "d4/f417.txt" not in await found(index, "needle 417")


def test_a_download_goes_on_after_the_daemon_was_killed(tmp_path: Path) -> None:
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "big.bin").write_bytes(DATA)
    (tmp_path / "home").mkdir()
    node = Node(tmp_path, "http://127.0.0.1:9")
    try:
        base, headers = f"http://127.0.0.1:{node.port}", {"authorization": f"Bearer {node.token}"}
        made = httpx2.put(f"{base}/file-spaces/papers", json={"folder": str(papers)}, headers=headers, timeout=60)
        assert made.status_code == 200, made.text
        asked = {"where": "space:papers", "path": "big.bin"}
        link = httpx2.post(f"{base}/file-shares", json=asked, headers=headers, timeout=60).json()["link"]
        (papers / "big.bin").write_bytes(b"something else")  # a link shows what was shared
        heard = b""
        with httpx2.stream("GET", base + link, timeout=60) as reply:
            for piece in reply.iter_raw(65_536):
                heard += piece
                if len(heard) > 1_000_000:
                    break
            node.kill()
        node.up()
        rest = httpx2.get(f"http://127.0.0.1:{node.port}{link}", headers={"range": f"bytes={len(heard)}-"}, timeout=60)
        assert (rest.status_code, heard + rest.content == DATA) == (206, True)
    finally:
        node.kill()
