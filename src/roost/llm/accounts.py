"""Which endpoint a model's name means: the known accounts as data, and the resolver."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from roost.errors import ConfigError
from roost.llm.dotenv import merged
from roost.llm.http import HttpClient, is_loopback
from roost.llm.http_model import HttpModel
from roost.llm.ir import Model, Profile
from roost.llm.profile import Knob
from roost.llm.wire import Endpoint, Options
from roost.llm.wires import wire as make_wire

Factory: TypeAlias = Callable[[str | None], Model]
"""Makes the model of `prefix/rest`; gets the rest, or None where the name is the prefix alone."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint. `keys` and `urls` name environment variables, the first one set counts; without `keys` no key is
    needed. `default` is the model when the name gives none. `options` are those of its `wire`; they and the knobs of
    `profile` say what this very server takes, and do not count for another one that speaks the same protocol."""

    base_url: str
    keys: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    default: str | None = None
    profile: Profile = Profile()
    wire: str = "openai_chat"
    options: Options = {}
    idle_timeout: float | None = None


_BIG = Profile(window=128_000, max_output=8_192)
_OWN = 900.0
"""Seconds: a server on the user's own machine may load the model first."""

_GPT_LEVELS = {"off": "minimal", "low": "low", "medium": "medium", "high": "high"}
_GPT_EFFORT = Knob(field="reasoning_effort", values=_GPT_LEVELS)

ACCOUNTS: dict[str, Account] = {
    "openai": Account(
        base_url="https://api.openai.com/v1",
        keys=("OPENAI_API_KEY",),
        urls=("OPENAI_BASE_URL",),
        default="gpt-5-mini",
        profile=Profile(
            window=272_000, max_output=32_768, images=True, knobs={"temperature": None, "effort": _GPT_EFFORT}
        ),
        options={"max_field": "max_completion_tokens"},
    ),
    "anthropic": Account(
        base_url="https://api.anthropic.com",
        keys=("ANTHROPIC_API_KEY",),
        urls=("ANTHROPIC_BASE_URL",),
        default="claude-sonnet-5-5",
        profile=Profile(window=200_000, max_output=32_768, images=True, files=True, thinks="optional"),
        wire="anthropic",
    ),
    "openai-responses": Account(
        base_url="https://api.openai.com/v1",
        keys=("OPENAI_API_KEY",),
        urls=("OPENAI_BASE_URL",),
        default="gpt-5-mini",
        profile=Profile(
            window=272_000,
            max_output=32_768,
            images=True,
            files=True,
            thinks="always",
            knobs={"temperature": None, "top_p": None, "effort": Knob(field="reasoning.effort", values=_GPT_LEVELS)},
        ),
        wire="openai_responses",
    ),
    "openrouter": Account(
        base_url="https://openrouter.ai/api/v1",
        keys=("OPENROUTER_API_KEY",),
        default="openai/gpt-5-mini",
        profile=_BIG,
    ),
    "deepseek": Account(
        base_url="https://api.deepseek.com/v1",
        keys=("DEEPSEEK_API_KEY",),
        default="deepseek-chat",
        profile=_BIG,
        options={"send_reasoning": True},
    ),
    "groq": Account(
        base_url="https://api.groq.com/openai/v1",
        keys=("GROQ_API_KEY",),
        default="openai/gpt-oss-120b",
        profile=_BIG,
    ),
    "mistral": Account(
        base_url="https://api.mistral.ai/v1",
        keys=("MISTRAL_API_KEY",),
        default="mistral-medium-latest",
        profile=_BIG,
        options={"stream_usage": False, "short_ids": True},
    ),
    "together": Account(
        base_url="https://api.together.xyz/v1",
        keys=("TOGETHER_API_KEY",),
        default="openai/gpt-oss-120b",
        profile=_BIG,
    ),
    "novita": Account(
        base_url="https://api.novita.ai/openai/v1",
        keys=("NOVITA_API_KEY",),
        default="deepseek/deepseek-v3.1",
        profile=_BIG,
    ),
    "fireworks": Account(
        base_url="https://api.fireworks.ai/inference/v1",
        keys=("FIREWORKS_API_KEY",),
        default="accounts/fireworks/models/gpt-oss-120b",
        profile=_BIG,
    ),
    "xai": Account(base_url="https://api.x.ai/v1", keys=("XAI_API_KEY",), default="grok-4", profile=_BIG),
    "gemini": Account(
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        default="gemini-2.5-flash",
        profile=_BIG,
    ),
    "google": Account(
        base_url="https://generativelanguage.googleapis.com",
        keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        urls=("GOOGLE_GEMINI_BASE_URL",),
        default="gemini-flash-latest",
        profile=Profile(
            window=1_048_576,
            max_output=65_536,
            images=True,
            audio=True,
            video=True,
            files=True,
            thinks="always",
            thinking_back="turn",
        ),
        wire="gemini",
    ),
    "ollama": Account(
        base_url="http://127.0.0.1:11434/v1",
        urls=("OLLAMA_BASE_URL",),
        # Its default context; a longer prompt is cut without a word.
        profile=Profile(window=4_096, max_output=1_024),
        idle_timeout=_OWN,
    ),
    "vllm": Account(base_url="http://127.0.0.1:8000/v1", urls=("VLLM_BASE_URL",), idle_timeout=_OWN),
    "llamacpp": Account(
        base_url="http://127.0.0.1:8080/v1", urls=("LLAMACPP_BASE_URL",), default="default", idle_timeout=_OWN
    ),
    "lmstudio": Account(base_url="http://127.0.0.1:1234/v1", urls=("LMSTUDIO_BASE_URL",), idle_timeout=_OWN),
}


class Models:
    """Resolves names to models, once each. Safe to call from several threads; the models belong to one event loop.

    Names: `account/model`, `account` (its default model), `http://host:port/v1#model`, `local`, `local/name`, or a
    prefix given to `register`. The process's environment counts before the `.env` file at `dotenv`. Raises
    `ConfigError`, which names what to set; keys appear in no error, log line or repr.
    """

    def __init__(self, *, environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")) -> None:
        self._environ = os.environ if environ is None else environ
        self._dotenv = dotenv
        self._lock = threading.Lock()
        self._cache: dict[str, Model] = {}
        self._factories: dict[str, Factory] = {"local": _local}
        self._client = HttpClient()

    def register(self, prefix: str, factory: Factory) -> None:
        """`prefix` and `prefix/...` are made by `factory` from now on; it may shadow a known account."""
        if not prefix or "/" in prefix or ":" in prefix:
            raise ConfigError(f"{prefix!r} cannot be a prefix of model names: leave out '/' and ':'")
        with self._lock:
            self._factories[prefix] = factory
            for name in [name for name in self._cache if name.partition("/")[0] == prefix]:
                del self._cache[name]

    def resolve(self, name: str | None = None) -> Model:
        """The model of this name. None: `ROOST_MODEL`, else the first account that has a key, else `local`."""
        with self._lock:
            if (model := self._cache.get(name or "")) is None:
                env = self._env()
                full = name or self._default(env)
                model = self._cache.get(full) or self._make(full, env)
                self._cache[full] = self._cache[name or ""] = model
            return model

    def accounts(self) -> dict[str, bool]:
        """Every prefix that names may have, and whether this machine has what it takes: the key of an account, the
        address of a server of one's own, the library of the local model. Blocks for a moment."""
        env = self._env()
        known = {name: bool(_first((*account.keys, *account.urls), env)) for name, account in ACCOUNTS.items()}
        with self._lock:
            own = {name: factory is not _local or _has_local() for name, factory in self._factories.items()}
        return {**known, **own}

    async def close(self) -> None:
        with self._lock:
            models = {id(model): model for model in self._cache.values()}
            self._cache.clear()
        for model in models.values():
            await model.close()
        await self._client.close()

    def _env(self) -> dict[str, str]:
        env = merged(self._environ, self._dotenv) if self._dotenv else dict(self._environ)
        return {key: value.strip() for key, value in env.items() if value.strip()}

    def _default(self, env: Mapping[str, str]) -> str:
        if name := env.get("ROOST_MODEL"):
            return name
        return next((name for name, account in ACCOUNTS.items() if _first(account.keys, env)), "local")

    def _make(self, name: str, env: Mapping[str, str]) -> Model:
        if name.startswith(("http://", "https://")):
            return self._at_url(name, env)
        prefix, _, rest = name.partition("/")
        if factory := self._factories.get(prefix):
            return factory(rest or None)
        if account := ACCOUNTS.get(prefix):
            return self._at_account(prefix, account, rest, env)
        known = ", ".join([*self._factories, *ACCOUNTS])
        raise ConfigError(
            f"no account {prefix!r} for the model {name!r}. Use one of {known} as in 'openai/gpt-5-mini', "
            "or a URL as in 'http://host:port/v1#model'"
        )

    def _at_account(self, prefix: str, account: Account, rest: str, env: Mapping[str, str]) -> Model:
        url, key, model = _first(account.urls, env), _first(account.keys, env), rest or account.default
        if model is None:
            raise ConfigError(f"{prefix!r} has no default model: name one, as in '{prefix}/MODEL'")
        if account.keys and not key and not url:
            raise ConfigError(f"the model '{prefix}/{model}' needs a key: set {account.keys[0]} (or put it into .env)")
        profile, options = account.profile, account.options
        if url and prefix in ("openai", "openai-responses"):
            profile, options = msgspec.structs.replace(profile, knobs={}), {}
        where = Endpoint(
            base_url=_checked(url or account.base_url, account.urls[0] if url else "the URL"),
            key=key,
            idle_timeout=account.idle_timeout,
        )
        return HttpModel(
            name=f"{prefix}/{model}",
            model=model,
            endpoint=where,
            wire=make_wire(profile.wire or account.wire, options),
            profile=profile,
            client=self._client,
        )

    def _at_url(self, name: str, env: Mapping[str, str]) -> Model:
        url, _, model = name.partition("#")
        url = _checked(url, "the model's URL")
        if not model:
            raise ConfigError(f"{name!r} names no model: put it after '#', as in 'http://host:port/v1#model'")
        own = is_loopback(url)
        trusted = [ACCOUNTS["openai"].base_url, env.get("OPENAI_BASE_URL", "")]
        key = env.get("ROOST_API_KEY")
        if key is None and (own or _origin(url) in map(_origin, trusted)):
            # An agent's definition may name any URL: the key of OpenAI goes to no stranger.
            key = env.get("OPENAI_API_KEY")
        where = Endpoint(base_url=url, key=key, idle_timeout=_OWN if own else None)
        return HttpModel(name=name, model=model, endpoint=where, wire=make_wire("openai_chat"), client=self._client)


def _local(name: str | None) -> Model:
    from roost.llm.local.model import LocalModel

    return LocalModel(name)


def _has_local() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


def _first(names: tuple[str, ...], env: Mapping[str, str]) -> str | None:
    return next((env[name] for name in names if name in env), None)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _checked(url: str, what: str) -> str:
    """Raises `ConfigError` without showing the URL's user part, which may be a secret."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
        parts = urlsplit("")
    if not fine:
        raise ConfigError(f"{what} is not an http or https URL; it looks like 'http://host:port/v1'")
    if parts.username or parts.password:
        raise ConfigError(f"{what} holds a user or a password: put the key into ROOST_API_KEY instead")
    return url
