"""Google Vertex AI: Gemini and Claude below a project, with an OAuth token.

The token comes from a key helper, such as `command:gcloud auth print-access-token`. The location `global` has a host
of its own. Sources: cloud.google.com, "Gemini API in Vertex AI"; docs.anthropic.com, "Claude on
Vertex AI" (read in November 2026).
"""

from __future__ import annotations

import re

from roost.models.hooks import AccountHooks, HttpCall, with_body, with_headers

_GLOBAL = re.compile(r"^https://global-aiplatform\.googleapis\.com")
_GEMINI = re.compile(r"/v1beta/models/([^/:]+):(\w+)")


class Vertex(AccountHooks):
    """Rewrites the URL to the project's form, and sends the key in `Authorization`."""

    def request(self, call: HttpCall, *, model: str, stream: bool) -> HttpCall:
        key = next((call.headers[name] for name in ("x-goog-api-key", "x-api-key") if name in call.headers), None)
        if key is not None:
            call = with_headers(call, {"Authorization": f"Bearer {key}"}, without=("x-goog-api-key", "x-api-key"))
        url = _GLOBAL.sub("https://aiplatform.googleapis.com", call.url)
        if url.endswith("/v1/messages"):
            method = "streamRawPredict" if stream else "rawPredict"
            url = f"{url.removesuffix('/v1/messages')}/publishers/anthropic/models/{model}:{method}"
            call = with_body(call, {"anthropic_version": "vertex-2023-10-16"}, without=("model",))
            call = with_headers(call, {}, without=("anthropic-version",))
        else:
            url = _GEMINI.sub(r"/publishers/google/models/\1:\2", url)
        return HttpCall(call.method, url, call.headers, call.body)
