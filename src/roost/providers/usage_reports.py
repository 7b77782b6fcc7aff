"""What providers report about calls that were made: OpenRouter by call, OpenAI and Anthropic in buckets of time."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import urlencode

import msgspec

from roost.errors import RoostError
from roost.log.content import Usage
from roost.models.http import HttpClient, HttpFailed
from roost.models.wire import Endpoint

ReportKind: TypeAlias = Literal["openrouter", "openai", "anthropic"]
REPORTS: dict[str, tuple[ReportKind, tuple[str, ...]]] = {
    "openrouter": ("openrouter", ()),
    "openai": ("openai", ("OPENAI_ADMIN_KEY",)),
    "anthropic": ("anthropic", ("ANTHROPIC_ADMIN_KEY", "ANTHROPIC_ADMIN_API_KEY")),
}
"""The accounts whose reports are known, and the variables that hold an admin key. Without any the account's own key
counts."""
_MOST_BYTES = 16 * 1024 * 1024
_PAGES = 100
_MINUTES = 1440
"""Buckets of a minute that a page may hold at most."""
_DAYS = 31
_SECONDS = 60.0
_NANO = 1_000_000_000
_CENT = _NANO // 100
_DATED = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
_Params: TypeAlias = list[tuple[str, str | int]]


class ReportFailed(RoostError):
    """The provider's usage report could not be had or read. Nothing was settled by it."""

    code, status = "report_failed", 502


class ReportSource(NamedTuple):
    """Where the report of `account` is. The key of `endpoint` is the one for the report. With `key_id`, the provider's
    id of an API key, only the usage of that key is asked for."""

    account: str
    kind: ReportKind
    endpoint: Endpoint
    key_id: str | None = None


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one model in a span of time. `requests`: how many they are, None where the report does not say."""

    model: str
    usage: Usage
    requests: int | None = None


class Billed(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider bills an organization for a day (`2026-11-22`, UTC): `amount` in billionths of `currency`."""

    day: str
    amount: int
    currency: str


def same_model(reported: str, asked: str) -> bool:
    """Whether a report's name means the model that was asked for: reports add the day of the version."""
    return reported == asked or _DATED.sub("", reported) == _DATED.sub("", asked)


class Reports:
    """Asks one provider. Raises `ReportFailed`, whose text never holds a key."""

    def __init__(self, source: ReportSource, client: HttpClient) -> None:
        self._source = source
        self._client = client

    async def call_cost(self, provider_id: str) -> int | None:
        """What one call cost, in nano-dollars (OpenRouter). None where the provider does not know the call (yet)."""
        answer = await self._get("/v1/generation", [("id", provider_id)], missing=True)
        if answer is None:
            return None
        return self._read(lambda: _generation(answer["data"]))

    async def usage(self, begin: float, end: float) -> list[Reported]:
        """What was used from one wall time up to another, both at full minutes, by model."""
        by_model: dict[str, Reported] = {}
        kind, key_id = self._source.kind, self._source.key_id
        if kind == "openai":
            path, ids = "/v1/organization/usage/completions", "api_key_ids"
            params = [*_openai_span(begin, end), ("bucket_width", "1m"), ("group_by", "model")]
        else:
            path, ids = "/v1/organizations/usage_report/messages", "api_key_ids[]"
            params = [*_anthropic_span(begin, end), ("bucket_width", "1m"), ("group_by[]", "model")]
        params += [(ids, key_id)] if key_id else []
        read = _openai_usage if kind == "openai" else _anthropic_usage
        for row in await self._rows(path, [*params, ("limit", _MINUTES)]):
            one = self._read(lambda row=row[1]: read(row))
            old = by_model.get(one.model)
            by_model[one.model] = one if old is None else _added(old, one)
        return list(by_model.values())

    async def bills(self, begin: float, end: float) -> list[Billed]:
        """What the provider bills for the days from one wall time up to another, both at midnight (UTC)."""
        amounts: dict[tuple[str, str], int] = {}
        if self._source.kind == "openai":
            path, params = "/v1/organization/costs", _openai_span(begin, end)
        else:
            path, params = "/v1/organizations/cost_report", _anthropic_span(begin, end)
        for at, row in await self._rows(path, [*params, ("bucket_width", "1d"), ("limit", _DAYS)]):
            amount, currency = self._read(lambda row=row: _amount(self._source.kind, row))
            amounts[at, currency] = amounts.get((at, currency), 0) + amount
        return [
            Billed(day=day, amount=amount, currency=currency) for (day, currency), amount in sorted(amounts.items())
        ]

    async def _rows(self, path: str, params: _Params) -> list[tuple[str, Any]]:
        """(the bucket's day, a result of it), of all pages."""
        rows: list[tuple[str, Any]] = []
        seen: set[str] = set()
        page: list[tuple[str, str | int]] = []
        while True:
            answer = await self._get(path, [*params, *page])
            rows += self._read(lambda answer=answer: [(_day(b), row) for b in answer["data"] for row in b["results"]])
            following = answer.get("next_page")
            if not answer.get("has_more") or not isinstance(following, str):
                return rows
            if following in seen or len(seen) >= _PAGES:
                raise ReportFailed(f"the usage report of {self._source.account} has no last page: {path}")
            seen.add(following)
            page = [("page", following)]

    async def _get(self, path: str, params: _Params, *, missing: bool = False) -> Any:
        source = self._source
        url = source.endpoint.url(path)
        url += ("&" if "?" in url else "?") + urlencode(params)
        where = f"the usage report of {source.account} ({path})"
        try:
            options: Any = {"idle_timeout": _SECONDS, "ca": source.endpoint.ca}
            async with self._client.stream("GET", url, _headers(source), **options) as response:
                status, body = response.status, await response.read_all(_MOST_BYTES)
        except HttpFailed as error:
            raise ReportFailed(f"{where} cannot be fetched: {source.endpoint.hide(error.message)}") from error
        if status == 404 and missing:
            return None
        if status in (401, 403):
            raise ReportFailed(f"{where} refused the key ({status}): {_wanted(source)}{self._reason(body)}")
        if status != 200:
            raise ReportFailed(f"{where} answered {status}{self._reason(body)}")
        return self._read(lambda: _object(body))

    def _reason(self, body: bytes) -> str:
        try:
            text = _object(body)["error"]["message"]
        except (msgspec.DecodeError, KeyError, TypeError):
            return ""
        return f"; it says: {self._source.endpoint.hide(' '.join(str(text).split()))[:300]}"

    def _read(self, read: Any) -> Any:
        try:
            return read()
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            account = self._source.account
            raise ReportFailed(f"the usage report of {account} has another shape than expected: {error!r}") from error


def _object(body: bytes) -> dict[str, Any]:
    return msgspec.json.decode(body, type=dict[str, Any])


def _headers(source: ReportSource) -> Mapping[str, str]:
    key = source.endpoint.key or ""
    if source.kind == "anthropic":
        return {**source.endpoint.headers, "x-api-key": key, "anthropic-version": "2023-06-01"}
    return {**source.endpoint.headers, "Authorization": f"Bearer {key}"}


def _wanted(source: ReportSource) -> str:
    variables = next((names for kind, names in REPORTS.values() if kind == source.kind), ())
    if not variables:
        return "it takes the account's own key"
    return f"it takes an admin key: set {variables[0]}, or report_key under [accounts.{source.account}]"


def _added(one: Reported, more: Reported) -> Reported:
    requests = None if one.requests is None or more.requests is None else one.requests + more.requests
    return Reported(model=one.model, usage=one.usage + more.usage, requests=requests)


def _generation(data: dict[str, Any]) -> int:
    """`total_cost` is what OpenRouter charges, in dollars. With a key of your own the provider behind charges too."""
    dollars = float(data["total_cost"])
    if data.get("is_byok"):
        dollars += float(data.get("upstream_inference_cost") or 0)
    return _positive(round(dollars * _NANO))


def _openai_usage(row: dict[str, Any]) -> Reported:
    cached, written = int(row.get("input_cached_tokens") or 0), int(row.get("input_cache_write_tokens") or 0)
    usage = Usage(int(row["input_tokens"]), int(row["output_tokens"]), cached, written=written)
    return Reported(model=str(row["model"]), usage=usage, requests=int(row["num_model_requests"]))


def _anthropic_usage(row: dict[str, Any]) -> Reported:
    created: dict[str, int] = row.get("cache_creation") or {}
    written, cached = sum(map(int, created.values())), int(row["cache_read_input_tokens"])
    whole = int(row["uncached_input_tokens"]) + written + cached
    usage = Usage(whole, int(row["output_tokens"]), cached, written=written)
    return Reported(model=str(row["model"]), usage=usage)


def _amount(kind: ReportKind, row: dict[str, Any]) -> tuple[int, str]:
    """OpenAI has dollars as a number; Anthropic the lowest unit of the currency as a text ("123.45" are $1.23)."""
    if kind == "openai":
        amount = row["amount"]
        return round(float(amount["value"]) * _NANO), str(amount["currency"]).upper()
    return round(float(row["amount"]) * _CENT), str(row["currency"]).upper()


def _positive(amount: int) -> int:
    if amount < 0:
        raise ValueError(f"a cost of {amount}")
    return amount


def _openai_span(begin: float, end: float) -> _Params:
    return [("start_time", int(begin)), ("end_time", int(end))]


def _anthropic_span(begin: float, end: float) -> _Params:
    return [("starting_at", _moment(begin)), ("ending_at", _moment(end))]


def _moment(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(bucket: dict[str, Any]) -> str:
    if "starting_at" in bucket:
        return str(bucket["starting_at"])[:10]
    return _moment(float(bucket["start_time"]))[:10]
