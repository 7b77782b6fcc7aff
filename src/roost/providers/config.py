"""`models.toml`: the user's accounts, models, limits, profiles and budgets, as data.

    default = "auto"                            # what an agent without a model gets

    [accounts.office]
    wire = "openai_chat"
    base_url = "http://10.0.0.5:8000/v1"
    key = "env:OFFICE_KEY"                      # or keyring:SERVICE/NAME, file:PATH
    limits = [{ amount = 60, seconds = 60 }]

    [models."office/llama"]
    window = 131072
    price = { input = 0.2, output = 0.6, currency = "USD" }     # a million tokens

    [profiles.mine]
    chat = ["deepseek/deepseek-v4-flash", "local"]

    [aliases]
    "claude-*" = "office/llama"                 # what clients of other products mean by their models' names

    [budget]
    month = 500
    currency = "CNY"

It is read from the home (`~/.roost/models.toml`) and from the file that `ROOST_MODELS` names; never from the present
folder, since it says where keys are sent.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from roost.models.catalog.facts import Facts, PriceTable, SignIn
from roost.models.catalog.reader import Catalog
from roost.models.catalog.reader import catalog as packaged
from roost.money.budgets import BudgetEntry
from roost.routing.breakers import Breaking
from roost.routing.limits.config import Limit
from roost.routing.retry import Retry
from roost.routing.route import ProfileEntry

__all__ = [
    "AccountEntry",
    "BudgetEntry",
    "EmbedEntry",
    "ModelEntry",
    "ModelsConfig",
    "PriceTable",
    "ProfileEntry",
]


class ModelEntry(Facts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Partial facts of a model; absent fields keep the catalog's or the account's value. `like` copies the facts of
    another model, by its name, and its prices where none are known here."""

    like: str | None = None
    limits: tuple[Limit, ...] = ()
    breaker: Breaking | None = None


class AccountEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account of the user's own, or changes to a known one of the same name.

    base_url: `{NAME}` in it stands for an environment variable.
    key: a reference (`env:NAME`, `keyring:SERVICE/NAME`, `file:PATH`, `command:PROGRAM ARGUMENTS`), never the key
        itself.
    headers: a value may be such a reference. Values are in no repr.
    hooks: changes to a call beyond its wire: `azure`, `bedrock`, `vertex`, or the user's `module:Class`
        (`roost.models.hooks`).
    free: its models cost nothing, for example on the user's own machine.
    priced: its models cost what the catalog says although `base_url` is not the provider's, as behind a gateway.
    limits: for all its models together.
    adaptive: also obey what the provider's headers say is left.
    cluster: count the limits for all nodes together.
    patience: the longest wait in seconds.
    tokens_per_second: the fastest that its models write (default 400); bounds the cost of a call whose process died.
    ca: a file of certificates trusted there beside the system's.
    report: the kind of its usage report: `openai`, `anthropic` or `openrouter`.
    report_key: a reference to the key that may read the report, an admin key.
    report_key_id: the provider's id of the API key whose usage counts.
    """

    base_url: str | None = None
    wire: str | None = None
    key: str | None = None
    default: str | None = None
    headers: dict[str, str] = {}
    hooks: str | None = None
    sign_in: SignIn | None = None
    options: dict[str, Any] = {}
    idle_timeout: float | None = None
    ca: str | None = None
    free: bool | None = None
    priced: bool | None = None
    limits: tuple[Limit, ...] = ()
    adaptive: bool = True
    cluster: bool = False
    patience: float | None = None
    breaker: Breaking | None = None
    retry: Retry | None = None
    tokens_per_second: float | None = None
    report: Literal["openrouter", "openai", "anthropic"] | None = None
    report_key: str | None = None
    report_key_id: str | None = None

    def __repr__(self) -> str:
        return f"AccountEntry(base_url={self.base_url!r}, wire={self.wire!r})"


class EmbedEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`default`: the name of the embedding model, as in `openai/text-embedding-3-small` or `local`."""

    default: str | None = None
    cache_mb: int = 256


class ModelsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`rates`: the worth of one unit of a currency in dollars; they override the catalog's dated ones. `profile`: the
    router's profile at the start. `aliases`: other names of models; one that ends with `*` is the beginning of many.
    `catalog`: the home's refreshed catalog, which no file names; None for the packaged one."""

    default: str | None = None
    profile: str = "default"
    accounts: dict[str, AccountEntry] = {}
    models: dict[str, ModelEntry] = {}
    profiles: dict[str, ProfileEntry] = {}
    budget: BudgetEntry = BudgetEntry()
    embeddings: EmbedEntry = EmbedEntry()
    aliases: dict[str, str] = {}
    rates: dict[str, float] = {}
    catalog: Catalog | None = None

    @property
    def known(self) -> Catalog:
        """The catalog in force."""
        return self.catalog or packaged()

    def alias(self, name: str) -> str | None:
        """Return what a name is an alias of, None for any other name. The longest alias that fits counts."""
        if name in self.aliases:
            return self.aliases[name]
        fitting = [alias for alias in self.aliases if alias.endswith("*") and name.startswith(alias[:-1])]
        return self.aliases[max(fitting, key=len)] if fitting else None
