"""AWS Signature Version 4 for a JSON request. Source: AWS IAM user guide, "Create a signed AWS API request"."""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit


class AwsKeys(NamedTuple):
    """AWS keys. token: only of temporary keys."""

    id: str
    secret: str
    token: str | None = None


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    keys: AwsKeys,
    region: str,
    service: str,
    now: datetime.datetime | None = None,
) -> dict[str, str]:
    """Return the headers that authenticate a request, including `Authorization`. All of `headers` are signed, so they
    must be sent unchanged."""
    moment = (now or datetime.datetime.now(datetime.UTC)).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    added = {"X-Amz-Date": moment} | ({"X-Amz-Security-Token": keys.token} if keys.token else {})
    signed = {name.lower(): " ".join(value.split()) for name, value in {**headers, **added}.items()}
    signed["host"] = parts.netloc
    names = ";".join(sorted(signed))
    request = "\n".join(
        [
            method,
            "/".join(quote(quote(each, safe="-_.~%"), safe="-_.~") for each in parts.path.split("/")) or "/",
            "&".join(f"{_escaped(name)}={_escaped(value)}" for name, value in sorted(parse_qsl(parts.query, True))),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"AWS4-HMAC-SHA256 Credential={keys.id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**added, "Authorization": credential}


def _escaped(text: str) -> str:
    return quote(text, safe="-_.~")
