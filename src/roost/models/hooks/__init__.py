"""Account hooks: three hooks that adapt a call beyond its wire, in a class that a user can write.

    # models.toml:  [accounts.office]  hooks = "office_hooks:Office"
    class Office(AccountHooks):
        def request(self, call, *, model, stream):
            return with_headers(call, {"X-Team": "blue"})

An account names its class in `hooks`: one of `BUILT_IN`, `module:Class`, or `/path/to/file.py:Class`. The class is
imported when the account's first model is made, and constructed with the environment (`env`) and the account's key
helper, if any.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import msgspec

from roost.errors import ConfigError
from roost.models.key_helpers import Helper
from roost.models.sse import SSEEvent
from roost.models.wire import Endpoint, HttpCall

__all__ = ["BUILT_IN", "AccountHooks", "HttpCall", "SSEEvent", "make_hooks", "with_body", "with_headers"]

Json: TypeAlias = dict[str, Any]

BUILT_IN: Mapping[str, str] = {
    "azure": "roost.models.hooks.azure:Azure",
    "bedrock": "roost.models.hooks.bedrock:Bedrock",
    "vertex": "roost.models.hooks.vertex:Vertex",
}


class AccountHooks:
    """The hooks of one account; this base class changes nothing. Holds no state of a call; several calls on one event
    loop use it at once. A hook raises `ConfigError` for a missing setting; the call then fails as `auth`."""

    def __init__(self, *, env: Mapping[str, str] | None = None, helper: Helper | None = None) -> None:
        self.env: Mapping[str, str] = env or {}
        self.helper = helper

    async def endpoint(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with the current key. Called before each call."""
        if self.helper is None:
            return endpoint
        credential = await self.helper.current()
        return msgspec.structs.replace(endpoint, key=credential.value)

    def request(self, call: HttpCall, *, model: str, stream: bool) -> HttpCall:
        """Return the call to send: another URL, further headers, a changed body, a signature."""
        return call

    def frame(self, frame: SSEEvent) -> SSEEvent:
        """Return a frame of the streamed answer as the wire expects it."""
        return frame


def make_hooks(name: str, *, env: Mapping[str, str], helper: Helper | None, where: str) -> AccountHooks:
    """Build the hooks class called `name`; "" is `AccountHooks` itself. Raises `ConfigError`."""
    place = BUILT_IN.get(name, name) if name else f"{__name__}:AccountHooks"
    module, colon, attribute = place.rpartition(":")
    if not colon:
        raise ConfigError(f"{where}: there are no hooks {name!r}: use {', '.join(BUILT_IN)}, or 'module:Class'")
    try:
        kind = getattr(_module(module), attribute)
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise ConfigError(f"{where}: the hooks {name!r} cannot be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, AccountHooks)):
        raise ConfigError(f"{where}: {name!r} is no subclass of roost.models.hooks.AccountHooks")
    return kind(env=env, helper=helper)


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        return importlib.import_module(name)
    module = ModuleType(Path(name).stem)
    module.__file__ = str(Path(name).expanduser())
    exec(compile(Path(module.__file__).read_bytes(), module.__file__, "exec"), vars(module))
    return module


def with_headers(call: HttpCall, headers: Mapping[str, str], *, without: tuple[str, ...] = ()) -> HttpCall:
    """Return the call with these headers merged over its own, and the headers `without` removed (in any case)."""
    gone = {name.lower() for name in (*without, *headers)}
    kept = {name: value for name, value in call.headers.items() if name.lower() not in gone}
    return HttpCall(call.method, call.url, {**kept, **headers}, call.body)


def with_body(call: HttpCall, changes: Mapping[str, Any], *, without: tuple[str, ...] = ()) -> HttpCall:
    """Return the call with fields of its JSON body set and left out. A call without a body is returned as it is."""
    if call.body is None:
        return call
    body: Json = msgspec.json.decode(call.body, type=dict[str, msgspec.Raw])
    kept = {name: value for name, value in body.items() if name not in without}
    return HttpCall(call.method, call.url, call.headers, msgspec.json.encode({**kept, **changes}))
