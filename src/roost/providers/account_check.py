"""Check that an account works by the cheapest real request that it allows."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal, TypeAlias

import msgspec

from roost.errors import RoostError
from roost.log.content import ErrorData, Text, UserMessage
from roost.models.catalog.facts import Account
from roost.models.http import HttpClient, HttpFailed, HttpTimeout
from roost.models.model_wrapper import events
from roost.models.request import Completed, Failed, Request
from roost.models.wire import Wire
from roost.models.wires import wire as make_wire
from roost.providers.accounts import Models

State: TypeAlias = Literal[
    "ok", "no_key", "bad_key", "no_credit", "no_route", "no_answer", "no_model", "not_an_api", "failed"
]
"""The result of a check. `no_route`: nothing listens at the address. `no_answer`: the server sends nothing.
`not_an_api`: it sends something else, such as a page to sign in."""

_CAP = 4 * 1024 * 1024
_WORD = 16
"""Tokens: the lowest limit of an answer that every provider accepts."""
_STATES: dict[str, State] = {
    "auth": "bad_key",
    "quota": "no_credit",
    "connection": "no_route",
    "timeout": "no_answer",
    "malformed": "not_an_api",
    "empty": "not_an_api",
}


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one account. `models`: how many it lists, where it has a list. `seconds`: how long it took."""

    account: str
    state: State
    detail: str
    fix: str | None = None
    models: int | None = None
    seconds: float = 0.0


async def check_account(models: Models, name: str, *, deadline: float, model: str | None = None) -> Checked:
    """List the account's models, or request one word from its model where it has no list. `model`: the model to be used
    there, which is looked up in the list. `deadline`: seconds. Raises nothing but cancellation."""
    began = time.monotonic()
    account = models.account(name)
    if account is None:
        return Checked(account=name, state="failed", detail="no account has this name", fix="see `roost models --all`")
    if (variable := models.lacks(name)) is not None:
        fix = f"set {variable} (or put it into .env)" + (f"; keys: {account.site}" if account.site else "")
        return Checked(account=name, state="no_key", detail="no key", fix=fix)
    client = HttpClient(connect_timeout=deadline, idle_timeout=deadline)
    try:
        async with asyncio.timeout(deadline):
            result = await _list(models, name, account, client, model)
    except TimeoutError:
        result = _unreachable(name, HttpTimeout(f"nothing came in {deadline:g} s"))
    except HttpFailed as error:
        result = _unreachable(name, error)
    except RoostError as error:
        result = Checked(
            account=name, state="failed", detail=error.message, fix="correct it, or see docs/reference/accounts.md"
        )
    finally:
        await client.close()
    return msgspec.structs.replace(result, seconds=round(time.monotonic() - began, 3))


async def _list(models: Models, name: str, account: Account, client: HttpClient, model: str | None) -> Checked:
    endpoint = await asyncio.to_thread(models.endpoint, name)
    path = account.listing
    if path == "":
        return await _word(models, name, account, model)
    if path and "://" in path and endpoint.base_url != account.base_url:
        path = None  # the account's own list counts only on its own server
    wire = make_wire(account.wire, account.options)
    call = wire.listing(endpoint, path)
    async with client.stream(call.method, call.url, {**call.headers, **endpoint.headers}, ca=endpoint.ca) as response:
        body = await response.read_all(_CAP)
        status, headers = response.status, response.headers
    if status in (404, 405, 501):
        return await _word(models, name, account, model)
    if 200 <= status < 300:
        result = _listed(name, wire, body, model)
    elif 300 <= status < 400:
        result = _no_api(name, f"sends elsewhere ({status})")
    else:
        result = _refused(name, account, status, wire.refused(status, headers, body, where="the server"))
    return msgspec.structs.replace(
        result, detail=endpoint.hide(result.detail), fix=result.fix and endpoint.hide(result.fix)
    )


def _refused(name: str, account: Account, status: int, error: ErrorData) -> Checked:
    if error.code == "auth" or (status == 400 and "api key" in error.message.lower()):
        fix = f"make a new key{f' at {account.site}' if account.site else ''}"
        return Checked(account=name, state="bad_key", detail=f"the key is refused: {error.message}", fix=fix)
    if error.code == "quota":
        return Checked(account=name, state="no_credit", detail=f"no credit: {error.message}", fix=account.site)
    fix = "the provider has trouble: try again later" if error.retryable else "check the base URL"
    return Checked(account=name, state="failed", detail=error.message, fix=fix)


def _listed(name: str, wire: Wire, body: bytes, model: str | None) -> Checked:
    try:
        listing = wire.listed(msgspec.json.decode(body, type=dict[str, Any]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _no_api(name, "answers with something that is no JSON")
    if listing is None:
        return Checked(account=name, state="ok", detail="the key is good")
    names, more = listing.models, listing.more
    detail = "1 model" if len(names) == 1 and not more else f"{len(names)}{' and more' if more else ''} models"
    if model is not None and names and not more and model not in names:
        fix = f"name another one; it has {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
        return Checked(account=name, state="no_model", detail=f"has no model {model!r}", fix=fix, models=len(names))
    return Checked(account=name, state="ok", detail=detail, models=len(names))


async def _word(models: Models, name: str, account: Account, model: str | None) -> Checked:
    """Request one short answer from the account's model."""
    chosen = model or account.default
    if chosen is None:
        return Checked(account=name, state="ok", detail="answers; it lists no models")
    request = Request(instruction="", messages=(UserMessage((Text("Say ok."),)),), max_output=_WORD)
    async with events(models.resolve(f"{name}/{chosen}"), request) as stream:
        async for event in stream:
            if isinstance(event, Completed):
                return Checked(account=name, state="ok", detail=f"{chosen} answers")
            if isinstance(event, Failed):
                error = event.error
                state = _STATES.get(error.code, "failed")
                if error.code == "empty":  # its thinking used up the limit
                    return Checked(account=name, state="ok", detail=f"{chosen} answers")
                return Checked(account=name, state=state, detail=error.message)
    return Checked(account=name, state="failed", detail="the answer had no end")


def _unreachable(name: str, error: HttpFailed) -> Checked:
    if isinstance(error, HttpTimeout):
        return Checked(account=name, state="no_answer", detail=error.message, fix="check the URL, the network, a proxy")
    if error.code == "malformed":
        return _no_api(name, error.message)
    return Checked(account=name, state="no_route", detail=error.message, fix="check the URL, and that the server runs")


def _no_api(name: str, detail: str) -> Checked:
    return Checked(account=name, state="not_an_api", detail=detail, fix="check the base URL; a proxy may be between")
