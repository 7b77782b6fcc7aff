"""`models.toml`: accounts, models, limits, profiles and budgets of one's own, as data.

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

    [budget]
    month = 500
    currency = "CNY"

It is read from the home (`~/.roost/models.toml`) and from the file that `ROOST_MODELS` names; never from the folder
that one happens to be in, since it says where keys are sent.
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
    """What is to be known of a model; what is left out stays as the catalog or the account has it. `like` takes over
    the facts of another model, by its name, and its prices where none are known here."""

    like: str | None = None
    limits: tuple[Limit, ...] = ()
    breaker: Breaking | None = None


class AccountEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account of one's own, or what is different about a known one of the same name. `key` is a reference
    (`env:NAME`, `keyring:SERVICE/NAME`, `file:PATH`, `command:PROGRAM ARGUMENTS`), never the key itself; a value of
    `headers` may be one. `{NAME}` in `base_url` stands for an environment variable. `hooks`: what the account does to a
    call beyond its wire, `azure`, `bedrock`, `vertex`, or `module:Class` of one's own (`roost.models.hooks`). `free`:
    what is served there costs nothing, for example on one's own machine. `limits` hold for all its models together;
    `adaptive` also keeps to what the provider's headers say is left; `cluster` counts for all nodes; `patience` is the
    longest wait in seconds; `tokens_per_second` the fastest that its models write, by which a call is charged whose
    process died (400 without it); `ca` a file of certificates that are trusted there beside the system's. What headers
    hold is in no repr.
    `priced`: its models cost what the catalog says although `base_url` is not the provider's, as behind a gateway.
    `report`: whose usage report it has, `openai`, `anthropic` or `openrouter`; `report_key` a reference to the key that
    may read it, an admin key; `report_key_id` the provider's id of the API key whose usage counts."""

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
    """`default` names the model of embeddings, as in `openai/text-embedding-3-small` or `local`."""

    default: str | None = None
    cache_mb: int = 256


class ModelsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`rates` are what one unit of a currency is worth in dollars; they come before the dated ones of the catalog.
    `profile` is the router's profile at the start. `catalog` is the home's refreshed catalog, which no file names; None
    for the packaged one."""

    default: str | None = None
    profile: str = "default"
    accounts: dict[str, AccountEntry] = {}
    models: dict[str, ModelEntry] = {}
    profiles: dict[str, ProfileEntry] = {}
    budget: BudgetEntry = BudgetEntry()
    embeddings: EmbedEntry = EmbedEntry()
    rates: dict[str, float] = {}
    catalog: Catalog | None = None

    @property
    def known(self) -> Catalog:
        """The catalog that counts here."""
        return self.catalog or packaged()
