"""Azure OpenAI, in both forms of its API, with a key or a token of Microsoft Entra ID.

The v1 form is OpenAI's own below `/openai/v1`, the model being the name of a deployment. The dated form is chosen by
`?api-version=YYYY-MM-DD` in the base URL, or by OPENAI_API_VERSION, and names the deployment in the path.
Source: learn.microsoft.com, "Azure OpenAI in Microsoft Foundry Models v1 API" (read in November 2026).
"""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from roost.models.hooks import AccountHooks, HttpCall, with_headers

_OPERATIONS = ("chat/completions", "responses", "embeddings")


class Azure(AccountHooks):
    """A key goes into `api-key`. The output of a key helper is an Entra token and goes into `Authorization`."""

    def request(self, call: HttpCall, *, model: str, stream: bool) -> HttpCall:
        call = HttpCall(call.method, self._url(call.url, model), call.headers, call.body)
        key = call.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.helper is not None or not key:
            return call
        return with_headers(call, {"api-key": key}, without=("Authorization",))

    def _url(self, url: str, model: str) -> str:
        parts = urlsplit(url)
        operation = next((each for each in _OPERATIONS if parts.path.endswith(f"/{each}")), None)
        query = dict(parse_qsl(parts.query))
        version = query.get("api-version") or self.env.get("OPENAI_API_VERSION")
        if operation is None or parts.path.startswith("/openai/deployments/"):
            return url
        if version is None or version in ("v1", "preview"):
            path = f"/openai/v1/{operation}"
        else:
            query["api-version"] = version
            where = "" if operation == "responses" else f"deployments/{quote(model, safe='')}/"
            path = f"/openai/{where}{operation}"
        return urlunsplit(parts._replace(path=path, query=urlencode(query)))
