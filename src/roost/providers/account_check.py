"""Check that an account works by the cheapest real request that it allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

import msgspec

from roost.errors import RoostError
from roost.log.content import Text, UserMessage
from roost.models.catalog.facts import Account
from roost.models.http import HttpClient, HttpFailed, HttpTimeout
from roost.models.model_wrapper import events
from roost.models.request import Completed, Failed, Request
from roost.models.wire import Endpoint
from roost.providers.accounts import Models

State: TypeAlias = Literal[
    "ok", "no_key", "bad_key", "no_credit", "no_route", "no_answer", "no_model", "not_an_api", "failed"
]
"""The result of a check. `no_route`: nothing listens at the address. `no_answer`: the server sends nothing.
`not_an_api`: it sends something else, such as a page to sign in."""

_CAP = 4 * 1024 * 1024
_NAME = 200
"""Characters of a model's name that are compared."""
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
            found = await _asked(models, name, account, client, model)
    except TimeoutError:
        found = _broken(name, HttpTimeout(f"nothing came in {deadline:g} s"))
    except HttpFailed as error:
        found = _broken(name, error)
    except RoostError as error:
        found = Checked(
            account=name, state="failed", detail=error.message, fix="correct it, or see docs/reference/accounts.md"
        )
    finally:
        await client.close()
    return msgspec.structs.replace(found, seconds=round(time.monotonic() - began, 3))


async def _asked(models: Models, name: str, account: Account, client: HttpClient, model: str | None) -> Checked:
    endpoint = await asyncio.to_thread(models.endpoint, name)
    url = _listing(account, endpoint)
    if url is None:
        return await _word(models, name, account, model)
    async with client.stream("GET", url, _headers(account, endpoint), ca=endpoint.ca) as response:
        body = await response.read_all(_CAP)
        status = response.status
    if status in (404, 405, 501):
        return await _word(models, name, account, model)
    found = _read(name, account, status, body, model)
    return msgspec.structs.replace(
        found, detail=endpoint.hide(found.detail), fix=found.fix and endpoint.hide(found.fix)
    )


def _listing(account: Account, endpoint: Endpoint) -> str | None:
    if not account.listing:
        return None
    if "://" not in account.listing:
        url = endpoint.url(account.listing)
        return url + ("&" if "?" in url else "?") + "limit=1000" if account.wire == "anthropic" else url
    # The account's own list counts only on its own server; another server has the common list.
    return account.listing if endpoint.base_url == account.base_url else endpoint.url("models")


def _headers(account: Account, endpoint: Endpoint) -> dict[str, str]:
    key = endpoint.key
    send: dict[str, str] = {"Accept": "application/json"}
    if account.wire == "anthropic":
        send |= {"anthropic-version": "2023-06-01", **({"x-api-key": key} if key else {})}
    elif account.wire == "gemini":
        send |= {"x-goog-api-key": key} if key else {}
    elif key:
        send["Authorization"] = f"Bearer {key}"
    return {**send, **endpoint.headers}


def _read(name: str, account: Account, status: int, body: bytes, model: str | None) -> Checked:
    try:
        found: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    said = _said(found)
    if status in (401, 403) or (status == 400 and "api key" in said.lower()):
        where = f" at {account.site}" if account.site else ""
        return Checked(
            account=name, state="bad_key", detail=f"the key is refused: {said or status}", fix=f"make a new key{where}"
        )
    if 300 <= status < 400:
        return _no_api(name, f"sends elsewhere ({status})")
    if status == 402:
        return Checked(account=name, state="no_credit", detail=f"no credit: {said or status}", fix=account.site)
    if not 200 <= status < 300:
        fix = "the provider has trouble: try again later" if status == 429 or status >= 500 else "check the base URL"
        return Checked(account=name, state="failed", detail=f"answers {status}: {said or 'no reason given'}", fix=fix)
    if not isinstance(found, dict):
        return _no_api(name, "answers with something that is no JSON")
    return _listed(name, cast("Mapping[str, Any]", found), model)


def _listed(name: str, found: Mapping[str, Any], model: str | None) -> Checked:
    listed: object = found.get("data", found.get("models"))
    if not isinstance(listed, list):
        return Checked(account=name, state="ok", detail="the key is good")
    names = [_name(item) for item in cast("list[object]", listed)]
    more = bool(found.get("has_more") or found.get("nextPageToken"))
    detail = "1 model" if len(names) == 1 and not more else f"{len(names)}{' and more' if more else ''} models"
    if model is not None and names and not more and model not in names:
        fix = f"name another one; it has {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
        return Checked(account=name, state="no_model", detail=f"has no model {model!r}", fix=fix, models=len(names))
    return Checked(account=name, state="ok", detail=detail, models=len(names))


def _name(item: object) -> str:
    fields: Mapping[str, Any] = cast("Mapping[str, Any]", item) if isinstance(item, dict) else {}
    return str(fields.get("id") or fields.get("name") or "").removeprefix("models/")[:_NAME]


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


def _broken(name: str, error: HttpFailed) -> Checked:
    if isinstance(error, HttpTimeout):
        return Checked(account=name, state="no_answer", detail=error.message, fix="check the URL, the network, a proxy")
    if error.code == "malformed":
        return _no_api(name, error.message)
    return Checked(account=name, state="no_route", detail=error.message, fix="check the URL, and that the server runs")


def _no_api(name: str, detail: str) -> Checked:
    return Checked(account=name, state="not_an_api", detail=detail, fix="check the base URL; a proxy may be between")


def _said(found: object) -> str:
    """Return the reason in an error's document, in the form that most providers use."""
    for _ in range(3):
        if isinstance(found, list) and found:
            found = cast("list[object]", found)[0]
        if not isinstance(found, dict):
            break
        fields = cast("Mapping[str, object]", found)
        found = fields.get("error") or fields.get("message") or fields.get("detail")
    return found[:300] if isinstance(found, str) else ""
