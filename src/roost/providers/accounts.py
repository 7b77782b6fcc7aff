"""Resolve the name of a model to its endpoint."""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from roost.errors import ConfigError
from roost.models.catalog.card import Card
from roost.models.catalog.facts import Account
from roost.models.catalog.reader import Catalog, catalog
from roost.models.hooks import AccountHooks
from roost.models.http import HttpClient, is_loopback
from roost.models.http_model import HttpModel
from roost.models.lazy_model import LazyModel
from roost.models.request import Model
from roost.models.wire import Endpoint
from roost.models.wires import DEFAULT_WIRE
from roost.models.wires import wire as make_wire
from roost.providers import secret_refs
from roost.providers.config import AccountEntry, ModelEntry, ModelsConfig
from roost.providers.config_file import load_config
from roost.providers.dotenv import Environment, merged
from roost.providers.model_directory import OWN_IDLE, Directory, Place, checked_url, origin

if TYPE_CHECKING:
    from roost.providers.usage_reports import ReportSource

log = logging.getLogger("roost.models")
Factory: TypeAlias = Callable[[str | None], Model]
"""Makes the model of `prefix/rest`; takes the rest, or None where the name is the prefix alone."""
Wrap: TypeAlias = Callable[[Model, Card], Model]
_KEPT = 1000
"""Most models that are kept for their names."""


class Models:
    """Resolve names to models, once each. Thread-safe; the models belong to one event loop.

    Names: `account/model`, `account` (its default model), `http://host:port/v1#model`, `local`, `local/name`, or a
    prefix given to `register`. Accounts and models are the catalog's, overlaid by `config`. The process's environment
    overrides the `.env` file at `dotenv`; a key or URL of `config` overrides both. The file may name another server for
    the keys that it holds itself, and for no others. Methods raise `ConfigError`, which names what to set; keys appear
    in no error, log line or repr.
    wrap: called once with each model and its card; returns the model to use.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        dotenv: Path | None = Path(".env"),
        config: ModelsConfig | None = None,
        wrap: Wrap | None = None,
    ) -> None:
        self.config = config or ModelsConfig()
        self.wrap = wrap
        self._environ = os.environ if environ is None else environ
        self._dotenv = dotenv
        # A factory may resolve other models.
        self._lock = threading.RLock()
        self._cache: dict[str, Model] = {}
        self._factories: dict[str, Factory] = {"local": _local}
        self._directory = Directory(self.config)
        self._own = Directory(ModelsConfig())
        """Registered accounts and models, which no configuration replaces."""
        self._client = HttpClient()
        self._hooked: dict[str, tuple[tuple[str | None, str], AccountHooks]] = {}
        self._warned: set[str] = set()
        """Servers named by a `.env` file that the operator was warned of."""

    @classmethod
    def at_home(cls, home: Path | None) -> Models:
        """Read the environment, and the `models.toml` of this home and of `ROOST_MODELS`. Raises `ConfigError`."""
        return cls(config=load_config(home, os.environ))

    @property
    def catalog(self) -> Catalog:
        """The catalog in force: the home's refreshed one, or the packaged one."""
        return self.config.known

    def register(self, prefix: str, factory: Factory) -> None:
        """Have `factory` make the models `prefix` and `prefix/...` from now on; it may shadow a known account."""
        _check_prefix(prefix)
        with self._lock:
            self._factories[prefix] = factory
            self._forget(prefix)

    def register_account(self, name: str, entry: AccountEntry, *, key: str | None = None) -> None:
        """Register an account like `[accounts.NAME]` in models.toml, and override that; `key` is the key itself."""
        _check_prefix(name)
        if name not in catalog().accounts and not entry.base_url:
            raise ConfigError(f"the account {name!r} needs a base_url: no known account has this name")
        if entry.key is not None and not secret_refs.is_reference(entry.key):
            raise ConfigError(f"the key of the account {name!r} is no reference: give the key itself as key=")
        with self._lock:
            self._own.accounts[name] = entry
            self._own.keys.pop(name, None)
            self._directory.keys.pop(name, None)
            if key is not None:
                self._own.keys[name] = secret_refs.checked(key, where=f"the account {name!r}")
            self._directory.lay(self._own)
            self._forget(name)

    def register_model(self, name: str, entry: ModelEntry) -> None:
        """Register a model like `[models."ACCOUNT/MODEL"]` in models.toml, and override that."""
        if not all(name.partition("#" if "://" in name else "/")):
            raise ConfigError(f"{name!r} cannot name a model: it looks like 'account/model'")
        with self._lock:
            self._own.models[name] = entry
            self._directory.lay(self._own)
            self._forget(name.partition("/")[0])

    def change(self, config: ModelsConfig) -> None:
        """Apply a configuration to later calls of `resolve`. Resolved models and registrations stay unchanged."""
        with self._lock:
            self.config, self._directory = config, Directory(config)
            self._directory.lay(self._own)
            made = self._factories
            self._cache = {name: model for name, model in self._cache.items() if name.partition("/")[0] in made}

    def resolve(self, name: str | None = None) -> Model:
        """Return the model of this name or alias; None is the default."""
        with self._lock:
            name = name and self.full(name)
            if (model := self._cache.get(name or "")) is None:
                env = self._env()
                full = name or self._default(env)
                model = self._cache.get(full) or self._make(full, env)
                self._cache[full] = self._cache[name or ""] = model
                self._trim()
            return model

    def full(self, name: str | None) -> str:
        """Return the name ACCOUNT/MODEL (or URL) of a model: what an alias stands for, and the default for None. Ask
        this before taking the account from a name."""
        return self.default() if name is None else self.alias(name) or name

    def alias(self, name: str) -> str | None:
        """Return what a name stands for by `[aliases]`; None if it is no alias. A name that begins with an account is
        none."""
        if not self.config.aliases or "://" in name:
            return None
        prefix = name.partition("/")[0]
        with self._lock:
            own = prefix in self._factories or self._directory.account(prefix) is not None
        return None if own else self.config.alias(name)

    def _trim(self) -> None:
        """Keep the newest models of accounts: clients choose their names. Registered ones stay, which may be loaded."""
        if len(self._cache) > _KEPT:
            names = [name for name in self._cache if name and name.partition("/")[0] not in self._factories]
            for name in names[: max(0, len(names) - _KEPT // 2)]:
                del self._cache[name]

    def default(self) -> str:
        """Return the default name: `ROOST_MODEL`, else the configured one, else the first account that has a key, else
        `local`. It may be unusable here."""
        return self._default(self._env())

    def card(self, name: str) -> Card:
        """Return what is known of a model, without needing its key. Raises `ConfigError` for an unknown account."""
        with self._lock:
            name = self.full(name)
            prefix, _, rest = name.partition("/")
            if "://" not in name and prefix in self._factories:
                return _registered(prefix, rest, self.resolve(name))
            return self._card(name, self._env())

    def cards(self, account: str | None = None) -> Iterator[Card]:
        """List the known models of one account or of all: the catalog's, the user's own, the embedded ones."""
        with self._lock:
            env = self._env()
            names = self._directory.names() if account is None else [account]
            known = [name for name in names if name not in self._factories]
            cards = [card for name in known for card in self._directory.cards(name, env)]
            if account in (None, "local") and self._factories.get("local") is _local:
                cards += [self.card(name) for name in _local_names()]
        yield from cards

    def accounts(self) -> dict[str, bool]:
        """Return every prefix of names, and whether this machine can use it: it has the account's key, the own server's
        address, or the local model's library. Blocks for a moment."""
        env = self._env()
        with self._lock:
            known = {name: self._usable(name, env) for name in self._directory.names()}
            own = {name: factory is not _local or _has_local() for name, factory in self._factories.items()}
        return {**known, **own}

    def account(self, name: str) -> Account | None:
        """Return the account of this name after overlays; None for an unknown name or a factory's."""
        with self._lock:
            return None if name in self._factories else self._directory.account(name)

    def address(self, account: str) -> str | None:
        """Return the account's URL after overlays; None for an unknown account or an invalid URL."""
        with self._lock:
            place = None if account in self._factories else self._directory.place(account, self._env())
        try:
            return place and checked_url(place.url, place.where)
        except ConfigError:
            return None

    def endpoint(self, name: str) -> Endpoint:
        """Return the endpoint, with its key, of an account or of a URL. May block on a keyring. Raises
        `ConfigError`."""
        env = self._env()
        if "://" in name:
            return _url_endpoint(name.partition("#")[0], env)
        with self._lock:
            place = self._place(name, env)
        _check_key(place, name)
        endpoint, helper = self._directory.endpoint(place, env), self._hooks(place, env).helper
        return endpoint if helper is None else msgspec.structs.replace(endpoint, key=helper.read().value)

    def report_source(self, account: str) -> ReportSource | None:
        """Return the source of an account's usage report, with its key; None where no report is known. May block on a
        keyring. Raises `ConfigError`."""
        from roost.providers.usage_reports import REPORTS, ReportSource

        env = self._env()
        with self._lock:
            entry = self._directory.accounts.get(account) or AccountEntry()
            kind, variables = REPORTS.get(entry.report or account, (None, ()))
            if kind is None or account in self._factories:
                return None
            place = self._place(account, env)
        endpoint, where = self.endpoint(account), f"[accounts.{account}] report_key"
        variable = next((name for name in variables if name in env), None)
        reference = entry.report_key or (f"env:{variable}" if variable else None)
        if reference is None and variables:
            raise ConfigError(
                f"the usage report of {account!r} needs an admin key of the organization: set {variables[0]}, or "
                f"report_key under [accounts.{account}] in models.toml"
            )
        if reference is not None:
            if place.where in env.filed and not place.at_home and reference.removeprefix("env:") not in env.filed:
                raise _stray(place.where)
            endpoint = msgspec.structs.replace(endpoint, key=secret_refs.read(reference, env, where=where))
        return ReportSource(account, kind, endpoint, entry.report_key_id)

    def lacks(self, account: str) -> str | None:
        """Return the variable that should hold an account's key and does not; None when nothing is missing. Raises
        `ConfigError` for an unknown account."""
        with self._lock:
            return None if account in self._factories else self._place(account, self._env()).lacks

    def trouble(self, name: str) -> str | None:
        """Return why this model or account cannot be used from here, with the fix: its key is missing, or the name is
        unknown. None: nothing is known against it. Sends no request."""
        name = self.full(name)
        prefix = name.partition("/")[0]
        if "://" not in name and prefix in self._factories:
            return None
        try:
            if "://" in name:
                _url_endpoint(name.partition("#")[0], self._env())
                return None
            with self._lock:
                place = self._place(prefix, self._env())
            _check_key(place, name)
            checked_url(place.url, place.where)
        except ConfigError as error:
            return error.message
        return None

    async def close(self) -> None:
        with self._lock:
            models = {id(model): model for model in self._cache.values()}
            self._cache.clear()
        for model in models.values():
            await model.close()
        await self._client.close()

    def _forget(self, prefix: str) -> None:
        # The default may change, too.
        for name in [name for name in self._cache if name.partition("/")[0] in (prefix, "")]:
            del self._cache[name]

    def _env(self) -> Environment:
        return merged(self._environ, self._dotenv)

    def _default(self, env: Environment) -> str:
        if name := env.get("ROOST_MODEL") or self.config.default:
            return self.full(name)
        for name in self._directory.names():
            account = self._directory.account(name)
            if account and account.implied and account.default and self._place(name, env).key is not None:
                return name
        return "local"

    def _usable(self, name: str, env: Environment) -> bool:
        place = self._place(name, env)
        if place.lacks is not None or place.stray or place.unset is not None:
            return False
        return (
            bool(place.account.keys)
            or name in self._directory.accounts
            or any(variable in env for variable in place.account.urls)
        )

    def _place(self, name: str, env: Environment) -> Place:
        place = self._directory.place(name, env)
        if place is None:
            raise ConfigError(f"no account {name!r}. Use one of {', '.join(self._directory.names())}")
        return place

    def _card(self, name: str, env: Environment) -> Card:
        card = self._directory.card(name, env)
        if card is None:
            known = ", ".join(dict.fromkeys([*self._factories, *self._directory.names()]))
            raise ConfigError(
                f"no account {name.partition('/')[0]!r} for the model {name!r}. Use one of {known} as in "
                "'openai/gpt-5-mini', or a URL as in 'http://host:port/v1#model'"
            )
        return card

    def _make(self, name: str, env: Environment) -> Model:
        prefix, _, rest = name.partition("/")
        if "://" not in name and (factory := self._factories.get(prefix)):
            model = factory(rest or None)
            card = _registered(prefix, rest, model)
        else:
            card = self._card(name, env)
            model = self._at_url(name, card, env) if "://" in name else self._at_account(card, env)
        return model if self.wrap is None else self.wrap(model, card)

    def _at_account(self, card: Card, env: Environment) -> Model:
        place = self._place(card.account, env)
        _check_key(place, card.name)
        if place.where in env.filed and not place.at_home:
            self._tell(place.where, place.url)
        kind = card.profile.wire or place.account.wire
        wire = make_wire(kind, self._directory.options(place, kind, card.profile))

        def made() -> HttpModel:
            return HttpModel(
                name=card.name,
                model=card.model,
                endpoint=self._directory.endpoint(place, env),
                wire=wire,
                profile=card.profile,
                client=self._client,
                hooks=self._hooks(place, env),
            )

        return LazyModel(card.name, msgspec.structs.replace(card.profile, wire=kind), made) if place.slow else made()

    def _hooks(self, place: Place, env: Environment) -> AccountHooks:
        """Return an account's hooks, shared by its models: they have one key helper."""
        with self._lock:
            known = self._hooked.get(place.name)
            if known is None or known[0] != (place.key, place.account.hooks):
                known = ((place.key, place.account.hooks), self._directory.hooks(place, env))
                self._hooked[place.name] = known
            return known[1]

    def _at_url(self, name: str, card: Card, env: Environment) -> Model:
        url, _, model = name.partition("#")
        where = _url_endpoint(url, env)
        if "ROOST_MODEL" in env.filed and url == env["ROOST_MODEL"].partition("#")[0]:
            self._tell("ROOST_MODEL", where.base_url)
        wire = make_wire(card.profile.wire or DEFAULT_WIRE, card.profile.options)
        return HttpModel(name=name, model=model, endpoint=where, wire=wire, profile=card.profile, client=self._client)

    def _tell(self, variable: str, url: str) -> None:
        """Warn once that conversations go to a server that a `.env` file names: the file may come from a stranger."""
        if url not in self._warned:
            self._warned.add(url)
            log.warning("%s in %s sends conversations to %s", variable, self._dotenv, url.partition("?")[0])


def _url_endpoint(url: str, env: Environment) -> Endpoint:
    url = checked_url(url, "the model's URL")
    own = is_loopback(url)
    variable = "ROOST_API_KEY"
    if variable not in env and (own or _is_openai(url, env)):
        # An agent's definition may name any URL: the key of OpenAI goes only to OpenAI.
        variable = "OPENAI_API_KEY"
    key = env.get(variable)
    chosen = env.get("ROOST_MODEL", "").partition("#")[0]
    if key and url == chosen and "ROOST_MODEL" in env.filed and variable not in env.filed:
        if not own:
            raise _stray("ROOST_MODEL")
        key = None  # a server on this machine mostly needs no key, and may be a stranger's
    return Endpoint(base_url=url, key=key, idle_timeout=OWN_IDLE if own else None)


def _is_openai(url: str, env: Environment) -> bool:
    if origin(url) == origin(catalog().accounts["openai"].base_url):
        return True
    named = "OPENAI_BASE_URL" not in env.filed or "OPENAI_API_KEY" in env.filed
    return named and origin(url) == origin(env.get("OPENAI_BASE_URL", ""))


def _stray(variable: str) -> ConfigError:
    return ConfigError(
        f"{variable} is from the file .env, and the key is not: whoever wrote that file may not say where your keys go."
        f" If the server is the right one, export {variable}, or put its key into .env too"
    )


def _registered(prefix: str, rest: str, model: Model) -> Card:
    name = rest or model.name.removeprefix(f"{prefix}/")
    return Card(account=prefix, model=name, profile=model.profile, source="registered")


def _check_prefix(prefix: str) -> None:
    if not prefix or "/" in prefix or ":" in prefix:
        raise ConfigError(f"{prefix!r} cannot be a prefix of model names: leave out '/' and ':'")


def _check_key(place: Place, name: str) -> None:
    if place.stray:
        raise _stray(place.where)
    if place.unset is not None:
        raise ConfigError(f"the address of the account {place.name!r} needs {place.unset}: set it, as a plain name")
    if place.lacks is not None:
        raise ConfigError(f"the model {name!r} needs a key: set {place.lacks} (or put it into .env)")


def _local(name: str | None) -> Model:
    from roost.local.model import LocalModel

    return LocalModel(name)


def _local_names() -> list[str]:
    from roost.local.catalog import CATALOG

    return [f"local/{weights.name}" for weights in CATALOG.values() if weights.kind == "chat"]


def _has_local() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None
