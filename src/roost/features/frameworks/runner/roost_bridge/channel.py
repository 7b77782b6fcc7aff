"""The lines between an agent's program and the runtime. Any thread may speak; one thread listens."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from concurrent.futures import Future
from typing import Any, BinaryIO

_LOG_BYTES = 1024 * 1024


class Channel:
    """Both directions, over what were the standard input and output of the program."""

    def __init__(self) -> None:
        self._out: BinaryIO = os.fdopen(os.dup(1), "wb", buffering=0)
        self._in: BinaryIO = os.fdopen(os.dup(0), "rb")
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._number = 0
        self._logged = 0
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def say(self, message: dict[str, Any]) -> None:
        text = json.dumps(message, ensure_ascii=False)
        data = b"\n" + text.encode("utf-8", "replace") + b"\n"  # a copy that was killed may have left half a line
        with self._lock:
            left = memoryview(data)
            while left:
                left = left[self._out.write(left) or 0 :]

    def hear(self) -> dict[str, Any]:
        """Read the next line of the runtime. It has ended when there is none: then so does the program."""
        while line := self._in.readline():
            with contextlib.suppress(ValueError):  # a copy that was killed has read the first half of a line
                found = json.loads(line)
                if isinstance(found, dict):
                    return found  # pyright: ignore[reportUnknownVariableType]
        os._exit(0)

    def listen(self) -> None:
        """Give each answer to the call that waits for it."""
        threading.Thread(target=self._listen, name="roost", daemon=True).start()

    def number(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def ask(self, message: dict[str, Any]) -> Future[dict[str, Any]]:
        """Say something about call number `n`, and return its answer later."""
        answer: Future[dict[str, Any]] = Future()
        with self._lock:
            self._waiting[message["n"]] = answer
        self.say(message)
        return answer

    def take_output(self) -> None:
        """Send what the agent's code prints as `log` lines: the first megabyte of it."""
        read, write = os.pipe()
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        threading.Thread(target=self._forward, args=(read,), name="roost-log", daemon=True).start()

    def _forward(self, read: int) -> None:
        while data := os.read(read, 65536):
            kept = data[: max(0, _LOG_BYTES - self._logged)]
            self._logged += len(data)
            if kept:
                self.say({"type": "log", "text": kept.decode("utf-8", "replace")})

    def _listen(self) -> None:
        while True:
            message = self.hear()
            with self._lock:
                answer = self._waiting.pop(message.get("n", -1), None)
            if answer is not None:
                answer.set_result(message)
