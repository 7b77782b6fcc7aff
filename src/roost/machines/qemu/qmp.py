"""Control QEMU's machine over QMP (its `docs/interop/qmp-spec.txt`), from version 7.2 on."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from roost.errors import SandboxError

_LONGEST = 1024**2
_PAUSE = 0.01
_FASTEST = 1 << 50


class Monitor:
    """Blocks, at most `seconds` for one answer. All methods raise `SandboxError`, also when QEMU ends meanwhile."""

    def __init__(self, end: socket.socket, *, seconds: float = 30.0) -> None:
        end.settimeout(seconds)
        self._end, self._said, self._seconds = end, end.makefile("rb"), seconds
        self._greeted = False

    def ask(self, what: str, fd: int | None = None, **arguments: object) -> Any:
        """Send a command and return its result. `fd`: descriptor passed along."""
        try:
            if not self._greeted:
                self._greeted = True
                self._line()
                self.ask("qmp_capabilities")
            data = json.dumps({"execute": what, "arguments": arguments}).encode() + b"\n"
            socket.send_fds(self._end, [data], [] if fd is None else [fd])
            while True:
                answer = self._line()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise SandboxError(f"QEMU refuses {what}: {answer['error'].get('desc')}")
        except (OSError, ValueError) as error:
            raise SandboxError(f"QEMU does not answer {what}: {error}") from error

    def write_out(self, place: Path) -> None:
        """Write the memory and the devices of a stopped machine into a new file."""
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self.ask("getfd", fd, fdname="memory")
            self.ask("migrate-set-parameters", **{"max-bandwidth": _FASTEST})
            self.ask("migrate", uri="fd:memory")
            end = time.monotonic() + self._seconds
            while (now := self.ask("query-migrate")).get("status") != "completed":
                if now.get("status") in ("failed", "cancelled") or time.monotonic() > end:
                    raise SandboxError(f"QEMU cannot write the machine out: {now.get('error-desc') or now}")
                time.sleep(_PAUSE)
        finally:
            os.close(fd)

    def go_on(self) -> None:
        """Resume a machine once its state is read in completely."""
        end = time.monotonic() + self._seconds
        while (status := self.ask("query-status")["status"]) == "inmigrate":
            if time.monotonic() > end:
                raise SandboxError("QEMU does not read the machine in")
            time.sleep(_PAUSE)
        if status not in ("paused", "running"):
            raise SandboxError(f"QEMU has read the machine in, and it is {status}")
        self.ask("cont")

    def close(self) -> None:
        self._said.close()
        self._end.close()

    def _line(self) -> dict[str, Any]:
        line = self._said.readline(_LONGEST)
        if not line.endswith(b"\n"):
            raise OSError("it has ended")
        return json.loads(line)
