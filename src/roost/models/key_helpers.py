"""Keys that a command prints and that expire: `key = "command:gcloud auth print-access-token"`."""

from __future__ import annotations

import asyncio
import datetime
import json
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, cast

import msgspec

from roost.errors import ConfigError

COMMAND_SECONDS = 60.0
"""How long a key helper may take: it may ask a server."""
DEFAULT_SECONDS = 300.0
"""How long a key without an expiry is used."""
EARLY_SECONDS = 60.0
"""How long before its expiry a key is replaced: a call that starts with it must be able to finish."""
_MOST = 64 * 1024
_VALUES = ("key", "token", "access_token", "accessToken", "apiKey", "AccessKeyId")
_ENDS = ("expires_at", "expiresOn", "expires_on", "expiration", "Expiration", "expiry")


class Credential(msgspec.Struct, frozen=True):
    """value: the key. until: expiry, seconds since 1970. fields: the JSON object that the command printed, if any. The
    repr shows neither value nor fields."""

    value: str
    until: float
    fields: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"Credential(until={self.until:.0f})"


class Helper:
    """Runs a key helper when the key is about to expire, once for all callers. Safe for several threads and event
    loops. A slow helper blocks no other work: it runs in a thread of its own."""

    def __init__(self, command: str, *, where: str, env: Mapping[str, str] | None = None) -> None:
        self._command, self._where = command, where
        self._env = None if env is None else dict(env)
        self._lock = threading.Lock()
        self._credential: Credential | None = None
        self._asking: Future[Credential] | None = None

    async def current(self) -> Credential:
        """Return a key that is valid for at least another minute. Raises `ConfigError` when the command fails."""
        asked = self._ask()
        return asked if isinstance(asked, Credential) else await asyncio.wrap_future(asked)

    def read(self) -> Credential:
        """Like `current`, but blocks."""
        asked = self._ask()
        return asked if isinstance(asked, Credential) else asked.result()

    def _ask(self) -> Credential | Future[Credential]:
        with self._lock:
            key = self._credential
            if key is not None and key.until - EARLY_SECONDS > time.time():
                return key
            if self._asking is None:
                self._asking = Future()
                self._asking.set_running_or_notify_cancel()  # a caller's cancellation must not reach it
                threading.Thread(target=self._run, args=(self._asking,), name="roost-key-helper", daemon=True).start()
            return self._asking

    def _run(self, asking: Future[Credential]) -> None:
        try:
            key = run_helper(self._command, where=self._where, env=self._env)
        except BaseException as error:  # any error goes to the callers
            with self._lock:
                self._asking = None
            asking.set_exception(error)
            return
        with self._lock:
            self._credential, self._asking = key, None
        asking.set_result(key)

    @property
    def used(self) -> Credential | None:
        """The key that is stored now, None if none is; never runs the command."""
        return self._credential

    def expire(self, refused: Credential | None) -> bool:
        """Forget a key that the server refused. Returns whether a retry may help; False when `refused` is None."""
        with self._lock:
            if refused is None:
                return False
            if self._credential is refused:
                self._credential = None
            return True


def run_helper(command: str, *, where: str, env: Mapping[str, str] | None = None) -> Credential:
    """Run a key helper, without a shell, and read what it prints: the key alone, or a JSON object with the key and its
    expiry (`expires_in` seconds, or a time). Blocks for up to a minute. Raises `ConfigError`, which shows the helper's
    stderr and never its stdout."""
    argv: list[str] = []
    try:
        argv = shlex.split(command)
        done = subprocess.run(
            argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=COMMAND_SECONDS, env=env, check=False
        )
    except FileNotFoundError as error:
        raise ConfigError(f"{where}: the key helper {error.filename!r} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{where}: the key helper gave no key within {COMMAND_SECONDS:.0f} s: {argv[0]}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: the key helper cannot be run: {error}") from error
    if done.returncode:
        output = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise ConfigError(f"{where}: the key helper {argv[0]!r} failed with {done.returncode}: {output[0][:300]}")
    return parse(done.stdout[:_MOST], where=where)


def parse(printed: bytes, *, where: str) -> Credential:
    """Read what a key helper printed. Raises `ConfigError`."""
    text = printed.decode("utf-8", "replace").strip()
    fields: dict[str, Any] = {}
    if text.startswith("{"):
        try:
            fields = cast("dict[str, Any]", json.loads(text))
        except ValueError as error:
            raise ConfigError(f"{where}: the key helper printed broken JSON") from error
        text = next((str(fields[name]) for name in _VALUES if fields.get(name)), "")
    if not text or not text.isascii() or not text.isprintable():
        raise ConfigError(f"{where}: the key helper printed no key: it prints the key alone, or a JSON object with one")
    return Credential(text, _until(fields, where), fields)


def _until(fields: Mapping[str, Any], where: str) -> float:
    now = time.time()
    if seconds := fields.get("expires_in"):
        try:
            return now + float(seconds)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{where}: the key helper printed an expires_in that is no number") from error
    end = next((fields[name] for name in _ENDS if fields.get(name)), None)
    if end is None:
        return now + DEFAULT_SECONDS
    try:
        return float(end)
    except (TypeError, ValueError):
        pass
    try:
        moment = datetime.datetime.fromisoformat(str(end).replace("Z", "+00:00"))
    except ValueError as error:
        raise ConfigError(f"{where}: the key helper printed an expiry that is no time: {str(end)[:40]!r}") from error
    return moment.timestamp()
