"""Amazon Bedrock's endpoint for the OpenAI and Anthropic protocols, with an API key or with AWS keys.

Source: AWS, "APIs supported by Amazon Bedrock" (read in November 2026). An API key is a bearer token. AWS keys sign
each request (service `bedrock`): AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or what a key helper
prints, such as `command:aws configure export-credentials --format process`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from roost.errors import ConfigError
from roost.models.hooks import AccountHooks, HttpCall, with_headers
from roost.models.hooks.sigv4 import AwsKeys, sign
from roost.models.key_helpers import Helper
from roost.models.wire import Endpoint

_ACCESS_KEY = re.compile(r"A[KS]IA[A-Z0-9]{12,}")
_REGION = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-\d)\.")
_SERVED_BELOW_OPENAI = ("openai.gpt-5", "openai.gpt-6")
"""Prefixes of the names of models that the endpoint serves below `/openai/v1` instead of `/v1`."""


class Bedrock(AccountHooks):
    """Signs each request with AWS keys, or sends an API key as it is."""

    def __init__(self, *, env: Mapping[str, str] | None = None, helper: Helper | None = None) -> None:
        super().__init__(env=env, helper=helper)
        self._keys: dict[str, AwsKeys] = {}
        """The newest two, by id: a call in flight may still use the previous keys."""

    async def endpoint(self, endpoint: Endpoint) -> Endpoint:
        key, fields = endpoint.key, {}
        if self.helper is not None:
            credential = await self.helper.current()
            key, fields = credential.value, dict(credential.fields)
        if key and _ACCESS_KEY.fullmatch(key):
            secret = fields.get("SecretAccessKey") or self.env.get("AWS_SECRET_ACCESS_KEY")
            token = fields.get("SessionToken") if fields else self.env.get("AWS_SESSION_TOKEN")
            if not secret:
                raise ConfigError("Bedrock needs AWS_SECRET_ACCESS_KEY beside AWS_ACCESS_KEY_ID: set it")
            self._keys = {**dict(list(self._keys.items())[-1:]), key: AwsKeys(key, str(secret), token and str(token))}
        return msgspec.structs.replace(endpoint, key=key)

    def request(self, call: HttpCall, *, model: str, stream: bool) -> HttpCall:
        url = call.url
        if model.startswith(_SERVED_BELOW_OPENAI) and ".api.aws/v1/" in url:
            url = url.replace(".api.aws/v1/", ".api.aws/openai/v1/", 1)
        call = HttpCall(call.method, url, call.headers, call.body)
        sent = call.headers.get("Authorization", call.headers.get("x-api-key", "")).removeprefix("Bearer ")
        keys = self._keys.get(sent)
        if keys is None:
            return call
        region = _REGION.search(urlsplit(url).netloc) or _REGION.search(f".{self.env.get('AWS_REGION', '')}.")
        if region is None:
            raise ConfigError("Bedrock needs AWS_REGION to sign a request: set it, as in us-east-1")
        bare = with_headers(call, {"Content-Type": "application/json"}, without=("Authorization", "x-api-key"))
        signed = sign(call.method, url, bare.headers, call.body or b"", keys=keys, region=region[1], service="bedrock")
        return with_headers(bare, signed)
