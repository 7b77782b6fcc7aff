"""Usage reports of the stub provider (OpenRouter, OpenAI and Anthropic), as strict as the real ones."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from roost.log.content import Usage

_WIDTHS = {"1m": 60, "1h": 3_600, "1d": 86_400}
_LIMITS = {"1m": (60, 1_440), "1h": (24, 168), "1d": (7, 31)}
"""Buckets of a page: without `limit`, and at most."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A billed call. `dollars`: its price. `at`: wall time at which it is counted."""

    at: float
    model: str
    usage: Usage
    dollars: float = 0.0
    key_id: str = "key_1"
    id: str = ""


class UsageReports:
    """Report endpoints over billed calls. OpenAI's and Anthropic's require `admin_key`, OpenRouter's `key`. `most`:
    most buckets of a page, whatever the request asks for. `currency`: of the cost reports. Calls may be added to
    `calls` at any time."""

    def __init__(
        self, calls: Iterable[Call] = (), *, admin_key: str = "admin", key: str = "key", most: int = 10_000
    ) -> None:
        self.calls = list(calls)
        self.currency = "usd"
        self.asked: list[str] = []
        self._admin_key = admin_key
        self._key = key
        self.most = most

    def routes(self) -> list[Route]:
        reports: dict[str, Callable[[Request], Any]] = {
            "/v1/generation": self._generation,
            "/v1/organization/usage/completions": self._openai_usage,
            "/v1/organization/costs": self._openai_costs,
            "/v1/organizations/usage_report/messages": self._anthropic_usage,
            "/v1/organizations/cost_report": self._anthropic_costs,
        }
        return [Route(path, self._checked(answer), methods=["GET"]) for path, answer in reports.items()]

    def _checked(self, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def serve(request: Request) -> Response:
            self.asked.append(str(request.url.path) + "?" + str(request.url.query))
            try:
                return JSONResponse(answer(request))
            except _Refused as error:
                return JSONResponse(error.body, error.status)

        return serve

    def _generation(self, request: Request) -> dict[str, Any]:
        if request.headers.get("authorization") != f"Bearer {self._key}":
            raise _Refused(401, {"error": {"message": "User not found.", "code": 401}})
        id = request.query_params.get("id")
        if not id:
            raise _Refused(400, {"error": {"message": "id is required", "code": 400}})
        call = next((call for call in reversed(self.calls) if call.id == id), None)
        if call is None:
            raise _Refused(404, {"error": {"message": f"Generation {id} not found", "code": 404}})
        data = {
            "id": id, "model": call.model, "total_cost": call.dollars, "usage": call.dollars, "is_byok": False,
            "upstream_inference_cost": None, "cancelled": True, "streamed": True, "created_at": _moment(call.at),
            "native_tokens_prompt": call.usage.input, "native_tokens_completion": call.usage.output,
        }  # fmt: skip
        return {"data": data}

    def _openai_usage(self, request: Request) -> dict[str, Any]:
        allowed = {"start_time", "end_time", "bucket_width", "limit", "page", "group_by", "api_key_ids", "models"}
        asked = self._openai(request, allowed, {"1m", "1h", "1d"})
        if request.query_params.getlist("group_by") != ["model"]:
            raise _openai_error(400, "this stub groups by model alone")
        ids = request.query_params.getlist("api_key_ids")

        def results(calls: list[Call]) -> list[dict[str, Any]]:
            return [
                {
                    "object": "organization.usage.completions.result", "model": model, "input_tokens": usage.input,
                    "output_tokens": usage.output, "input_cached_tokens": usage.cached, "num_model_requests": count,
                    "project_id": None, "user_id": None, "api_key_id": None, "batch": None,
                }
                for model, usage, count in _by_model(calls, ids)
            ]  # fmt: skip

        return _openai_page(*self._page(asked, results))

    def _openai_costs(self, request: Request) -> dict[str, Any]:
        asked = self._openai(request, {"start_time", "end_time", "bucket_width", "limit", "page"}, {"1d"})

        def results(calls: list[Call]) -> list[dict[str, Any]]:
            amount = {"value": sum(call.dollars for call in calls), "currency": self.currency}
            return [{"object": "organization.costs.result", "amount": amount, "line_item": None, "project_id": None}]

        return _openai_page(*self._page(asked, results))

    def _openai(self, request: Request, allowed: set[str], widths: set[str]) -> _Asked:
        if request.headers.get("authorization") != f"Bearer {self._admin_key}":
            raise _openai_error(401, "Incorrect API key provided: it has no scope api.usage.read")
        params = request.query_params
        if unknown := set(params) - allowed:
            raise _openai_error(400, f"Unknown parameter: {sorted(unknown)}")
        width = params.get("bucket_width", "1d")
        most = 180 if widths == {"1d"} else _LIMITS.get(width, (0, 0))[1]
        try:
            begin, end = int(params["start_time"]), int(params.get("end_time") or time.time())
            limit = int(params.get("limit") or _LIMITS[width][0])
            after = int(params.get("page", "page_0").removeprefix("page_"))
        except (KeyError, ValueError) as error:
            raise _openai_error(400, f"Invalid parameter: {error}") from error
        if width not in widths or not 1 <= limit <= most or begin >= end:
            raise _openai_error(400, f"Invalid value: bucket_width={width}, limit={limit}, {begin}..{end}")
        return _Asked(begin, end, _WIDTHS[width], limit, after)

    def _anthropic_usage(self, request: Request) -> dict[str, Any]:
        allowed = {
            "starting_at",
            "ending_at",
            "bucket_width",
            "limit",
            "page",
            "group_by[]",
            "api_key_ids[]",
            "models[]",
        }
        asked = self._anthropic(request, allowed, {"1m", "1h", "1d"})
        if request.query_params.getlist("group_by[]") != ["model"]:
            raise _anthropic_error(400, "invalid_request_error", "this stub groups by model alone")
        ids = request.query_params.getlist("api_key_ids[]")

        def results(calls: list[Call]) -> list[dict[str, Any]]:
            return [
                {
                    "model": model, "uncached_input_tokens": usage.input - usage.cached - usage.written,
                    "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": usage.written},
                    "cache_read_input_tokens": usage.cached, "output_tokens": usage.output,
                    "server_tool_use": {"web_search_requests": 0}, "api_key_id": None, "workspace_id": None,
                    "service_tier": None, "context_window": None,
                }
                for model, usage, _ in _by_model(calls, ids)
            ]  # fmt: skip

        return _anthropic_page(*self._page(asked, results))

    def _anthropic_costs(self, request: Request) -> dict[str, Any]:
        asked = self._anthropic(request, {"starting_at", "ending_at", "bucket_width", "limit", "page"}, {"1d"})

        def results(calls: list[Call]) -> list[dict[str, Any]]:
            cents = 100 * sum(call.dollars for call in calls)
            return [{"amount": f"{cents:.6f}", "currency": self.currency.upper(), "description": None}]

        return _anthropic_page(*self._page(asked, results))

    def _anthropic(self, request: Request, allowed: set[str], widths: set[str]) -> _Asked:
        if request.headers.get("x-api-key") != self._admin_key:
            raise _anthropic_error(401, "authentication_error", "invalid x-api-key")
        if not request.headers.get("anthropic-version"):
            raise _anthropic_error(400, "invalid_request_error", "anthropic-version: header is required")
        params = request.query_params
        if unknown := set(params) - allowed:
            raise _anthropic_error(400, "invalid_request_error", f"Extra inputs are not permitted: {sorted(unknown)}")
        width = params.get("bucket_width", "1d")
        try:
            begin, end = _seconds(params["starting_at"]), _seconds(params.get("ending_at") or _moment(time.time()))
            limit = int(params.get("limit") or _LIMITS[width][0])
            after = int(params.get("page", "page_0").removeprefix("page_"))
        except (KeyError, ValueError) as error:
            raise _anthropic_error(400, "invalid_request_error", f"Invalid parameter: {error}") from error
        if width not in widths or not 1 <= limit <= _LIMITS[width][1] or begin >= end:
            raise _anthropic_error(400, "invalid_request_error", f"bucket_width={width}, limit={limit}, {begin}..{end}")
        return _Asked(begin, end, _WIDTHS[width], limit, after)

    def _page(
        self, asked: _Asked, results: Callable[[list[Call]], list[dict[str, Any]]]
    ) -> tuple[list[tuple[int, int, list[dict[str, Any]]]], str | None]:
        """Return the buckets with their calls, and the next page. Buckets without a call have no results."""
        first = asked.begin // asked.width * asked.width
        count = math.ceil((asked.end - first) / asked.width)
        until = min(count, asked.after + min(asked.limit, self.most))
        buckets: list[tuple[int, int, list[dict[str, Any]]]] = []
        for number in range(asked.after, until):
            begin = first + number * asked.width
            calls = [call for call in self.calls if begin <= call.at < begin + asked.width]
            buckets.append((begin, begin + asked.width, results(calls) if calls else []))
        return buckets, f"page_{until}" if until < count else None


class _Asked(msgspec.Struct, frozen=True):
    begin: int
    end: int
    width: int
    limit: int
    after: int


class _Refused(Exception):
    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def _by_model(calls: list[Call], ids: list[str]) -> list[tuple[str, Usage, int]]:
    usages_of: dict[str, list[Usage]] = {}
    for call in calls:
        if not ids or call.key_id in ids:
            usages_of.setdefault(call.model, []).append(call.usage)
    return [(model, sum(usages, Usage()), len(usages)) for model, usages in usages_of.items()]


def _openai_page(buckets: list[tuple[int, int, list[dict[str, Any]]]], following: str | None) -> dict[str, Any]:
    data = [{"object": "bucket", "start_time": b, "end_time": e, "results": results} for b, e, results in buckets]
    return {"object": "page", "data": data, "has_more": following is not None, "next_page": following}


def _anthropic_page(buckets: list[tuple[int, int, list[dict[str, Any]]]], following: str | None) -> dict[str, Any]:
    data = [{"starting_at": _moment(b), "ending_at": _moment(e), "results": results} for b, e, results in buckets]
    return {"data": data, "has_more": following is not None, "next_page": following}


def _openai_error(status: int, message: str) -> _Refused:
    return _Refused(
        status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    )


def _anthropic_error(status: int, kind: str, message: str) -> _Refused:
    return _Refused(status, {"type": "error", "error": {"type": kind, "message": message}})


def _moment(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp())
