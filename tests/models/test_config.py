"""models.toml: read, merged, checked; and what it changes about accounts and models."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from roost.errors import ConfigError
from roost.log.content import Usage
from roost.models.catalog.reader import catalog
from roost.models.model_wrapper import ModelWrapper
from roost.models.request import Model, ModelEvent, Request
from roost.money.budgets import price_unknown
from roost.providers.accounts import Models
from roost.providers.config import AccountEntry, ModelEntry, ModelsConfig, PriceTable
from roost.providers.config_file import load_config
from roost.stub.provider import ProviderServer
from roost.testing.models import completed, failed
from roost.testing.scripted import ScriptedModel

FULL = """
default = "office/llama"
profile = "mine"

[accounts.office]
wire = "openai_chat"
base_url = "http://10.0.0.5:8000/v1"
key = "env:OFFICE_KEY"
limits = [{ amount = 60, seconds = 60 }]

[models."office/llama"]
window = 131072
price = { input = 0.2, output = 0.6, currency = "CNY", tiers = [{ above = 1000, input = 1.0, output = 2.0 }] }
knobs = { temperature = false, effort = { field = "effort", values = { off = "no", high = "yes" } } }

[profiles.mine]
chat = ["office/llama", "local"]

[budget]
month = 500
currency = "CNY"

[rates]
CNY = 0.2
"""


def load(tmp_path: Path, text: str | None, *, named: str | None = None) -> ModelsConfig:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    if text is not None:
        (home / "models.toml").write_text(text)
    environ = {}
    if named is not None:
        (tmp_path / "more.toml").write_text(named)
        environ = {"ROOST_MODELS": str(tmp_path / "more.toml")}
    return load_config(home, environ)


def known(tmp_path: Path, text: str, **environ: str) -> Models:
    return Models(environ=environ, dotenv=None, config=load(tmp_path, text))


def test_everything_in_it_is_read(tmp_path: Path) -> None:
    config = load(tmp_path, FULL)
    assert (config.default, config.profile, config.budget.month) == ("office/llama", "mine", 500)
    assert config.accounts["office"].limits[0].amount == 60
    assert config.profiles["mine"].of("design") == ("office/llama", "local")
    found = known(tmp_path, FULL, OFFICE_KEY="k")
    card = found.card("office/llama")
    assert (card.source, card.profile.window) == ("config", 131072)
    assert card.profile.price is not None
    assert card.profile.price.cost(Usage(input=1000, output=0)) == 200 * 1000 * 0.2
    assert card.profile.price.cost(Usage(input=1001, output=0)) == round(1000 * 1001 * 0.2)
    assert card.profile.knobs["temperature"] is None
    assert found.resolve(None).name == "office/llama"
    assert found.default() == "office/llama"


def test_nothing_is_read_from_the_folder_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models.toml").write_text('default = "evil/model"\n')
    (tmp_path / ".env").write_text(f"ROOST_MODELS={tmp_path / 'models.toml'}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROOST_MODELS", raising=False)
    assert load_config(tmp_path / "none", os.environ) == ModelsConfig() == load_config(None, {})
    assert Models.at_home(tmp_path / "none").config == ModelsConfig()


def test_the_named_file_is_laid_over_the_homes_field_by_field(tmp_path: Path) -> None:
    over = """
    [accounts.office]
    key = "file:/nowhere"
    limits = []
    [models."office/llama"]
    max_output = 77
    price = { input = 9.0, output = 9.0 }
    [budget]
    warn = 0.5
    """
    config = load(tmp_path, FULL, named=over)
    office = config.accounts["office"]
    assert (office.base_url, office.key, office.limits) == ("http://10.0.0.5:8000/v1", "file:/nowhere", ())
    entry = config.models["office/llama"]
    assert (entry.window, entry.max_output) == (131072, 77)
    assert entry.price is not None
    assert (entry.price.input, entry.price.currency) == (9.0, "CNY")
    assert (config.budget.month, config.budget.warn) == (500, 0.5)
    assert load(tmp_path, "", named="[accounts.openai]\nfree = true\n").accounts["openai"].free
    with pytest.raises(ConfigError, match="ROOST_MODELS names"):
        load_config(None, {"ROOST_MODELS": str(tmp_path / "gone.toml")})


WRONG = {
    "a = [": (1, "not valid TOML"),
    "defualt = 'x'": (1, "did you mean 'default'"),
    "default = 3": (1, "expected str"),
    "[accounts.office]\nkey = 'env:K'": (1, "needs a base_url"),
    "[accounts.opnai]\nfree = true": (1, "did you mean 'openai'"),
    "[accounts.openai]\n\napi_key = 'sk-hunter2hunter2'": (3, "did you mean 'key'"),
    "[accounts.openai]\nkey = 'sk-hunter2hunter2'": (2, "env:OPENAI_API_KEY"),
    "[accounts.openai]\nkey = 'env:'": (2, "keyring:SERVICE/NAME"),
    "[accounts.openai]\nkey = 'keyring:hunter2'": (2, "keyring:SERVICE/NAME"),
    "[accounts.a]\nbase_url = 'http://me:hunter2@host/v1'": (2, "user or password"),
    "[accounts.a]\nbase_url = 'ftp://host/v1'": (2, "must be a URL"),
    "[accounts.a]\nbase_url = 'http://h/v1'\nwire = 'opnai'": (3, "openai_chat"),
    "[accounts.'a/b']\nbase_url = 'http://h/v1'": (1, "no '/'"),
    "[accounts.auto]\nbase_url = 'http://h/v1'": (1, "the router"),
    "[accounts]\noffice = 3": (2, "must be a table"),
    "accounts = 3": (1, "must be a table"),
    "[accounts.openai]\nlimits = [{ amount = 0 }]": (1, "above 0"),
    "[accounts.openai]\nheaders = { a = 3 }": (2, "expected str"),
    "[models.gpt]\nwindow = 5": (1, "named with its account"),
    "[models.'opnai/gpt']\nwindow = 5": (1, "did you mean 'openai'"),
    "[models.'openai/gpt']\nwindow = 'x'": (2, "expected int"),
    "[models.'openai/gpt']\nwindow = 0": (2, "at least 1"),
    "[models.'openai/gpt']\nprice = { input = 1 }": (2, "missing required field output"),
    "[models.'openai/gpt']\nprice = { input = -1, output = 1 }": (2, "0 or more"),
    "[models.'openai/gpt']\nprice = { input = 1, output = 1, currency = 'XYZ' }": (2, r"\[rates\]"),
    "[models.'openai/gpt']\nfamily = 'gpt'": (2, "deepseek"),
    "[models.'openai/gpt'.knobs]\nseed = true": (1, "knobs"),
    "[profiles.p]\nchat = 'x'": (2, "expected array"),
    "[profiles.p]\neffort = 'hard'": (2, "medium"),
    "[budget]\nmnth = 3": (2, "did you mean 'month'"),
    "[budget]\nwarn = 3.0": (2, "share"),
    "[budget]\ncurrency = 'XYZ'": (2, r"\[rates\]"),
    "[rates]\nCNY = 0.0": (2, "above 0"),
    "[budget]\nmonth = -5": (2, "0 or more"),
    "[budget]\nmonth = nan": (2, "0 or more"),
    "[budget]\nmonth = 1e300": (2, "0 or more"),
    "[budget]\nmonth = 5\nusers = { ann = -1 }": (3, "0 or more"),
    "[embeddings]\ncache_mb = -1": (2, "0 or more"),
    "\nprofile = 'budgt'": (2, "deep_thinking"),
    "[models.'openai/gpt']\nwindow = 99999999999999": (2, "at least 1"),
    "[models.'openai/gpt']\nprice = { input = 1, output = 1e300 }": (2, "0 or more"),
    "[models.'openai/gpt']\nprice = { input = 1, output = 1, tiers = [{ above = 5, input = -1, output = 1 }] }": (
        2,
        "0 or more",
    ),
    "[accounts.openai]\nidle_timeout = nan": (2, "above 0"),
    "[accounts.openai]\npatience = -1": (2, "above 0"),
    '[accounts.openai]\nheaders = { a = "hunter2\\n1" }': (2, "line break"),
    "[accounts.openai]\noptions = { nope = 1 }": (2, "nope"),
    "[models.'google/gemini-x']\noptions = { short_ids = true }": (2, "short_ids"),
    "[models.'openai/x']\nwire = 'openai_chat'\noptions = { short_ids = 3 }": (3, "short_ids"),
    "[accounts.a]\nbase_url = 'HTTP://me:hunter2@host/v1'": (2, "user or password"),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_named_with_its_line_and_fix_and_shows_no_key(tmp_path: Path, text: str) -> None:
    line, said = WRONG[text]
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    message = error.value.message
    assert f"models.toml:{line}:" in message
    assert re.search(said, message), message
    assert "hunter2" not in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    file = home / "models.toml"
    for data, said in (
        (b"\xff\xfe", "UTF-8"),
        (b"#" * 2_000_000, "larger"),
        (b"a=" + b"[" * 100_000, "not valid TOML"),
    ):
        file.write_bytes(data)
        with pytest.raises(ConfigError, match=said):
            load_config(home, {})
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(home, {})


def test_headers_are_in_no_repr(tmp_path: Path) -> None:
    text = '[accounts.a]\nbase_url = "http://h/v1"\nheaders = { Authorization = "Bearer hunter2" }\n'
    found = known(tmp_path, text)
    for thing in (load(tmp_path, text), found, found.resolve("a/m"), found.endpoint("a")):
        assert "hunter2" not in repr(thing)
    assert found.endpoint("a").headers == {"Authorization": "Bearer hunter2"}


async def test_an_account_of_ones_own_really_answers(tmp_path: Path) -> None:
    with ProviderServer(key="secret") as server:
        text = f'[accounts.office]\nbase_url = "{server.url}"\nkey = "env:OFFICE_KEY"\ndefault = "scripted"\n'
        text += 'headers = { X-Team = "env:TEAM" }\n'
        found = known(tmp_path, text, OFFICE_KEY="secret", TEAM="blue")
        assert found.card("office").profile.price is not None, "a server on this machine costs nothing"
        await completed(found.resolve("office"))
        assert server.provider.headers["x-team"] == "blue"
        await found.close()
        missing = known(tmp_path, text, TEAM="blue")
        with pytest.raises(ConfigError, match="set OFFICE_KEY"):
            missing.resolve("office")
        assert (missing.accounts()["office"], found.accounts()["office"]) == (False, True)
        assert missing.lacks("office") == "OFFICE_KEY"
        assert "OFFICE_KEY" in (missing.trouble("office/scripted") or "")
        assert found.trouble("office/scripted") is None
        wrong = known(tmp_path, text, OFFICE_KEY="other-key", TEAM="blue")
        error = (await failed(wrong.resolve("office"))).error
        assert error.code == "auth"
        assert "other-key" not in error.message
        await wrong.close()


def test_a_known_account_with_an_entry_is_still_that_account(tmp_path: Path) -> None:
    found = known(
        tmp_path, '[accounts.openai]\nkey = "env:WORK_KEY"\ndefault = "gpt-5.4"\n', WORK_KEY="k", OPENAI_API_KEY="p"
    )
    assert found.endpoint("openai").key == "k"
    card = found.card("openai")
    assert (card.model, card.source) == ("gpt-5.4", "catalog")
    assert card.profile.price is not None
    assert found.default() == "openai"


@pytest.mark.parametrize(
    ("environ", "name", "priced", "knobs"),
    [
        ({}, "openai/gpt-5.4", True, True),
        ({"OPENAI_BASE_URL": "https://eu.api.openai.com/v1"}, "openai/gpt-5.4", False, True),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "openai/gpt-5.4", False, False),
        ({"OPENAI_BASE_URL": "https://notapi.openai.com.evil/v1"}, "openai/gpt-5.4", False, False),
        ({}, "openai/gpt-nobody-knows", False, True),
        ({"ANTHROPIC_BASE_URL": "https://gateway.office"}, "anthropic/claude-opus-4-6", False, True),
        ({}, "anthropic/claude-opus-4-6", True, True),
    ],
)
def test_prices_hold_for_the_provider_alone(environ: dict[str, str], name: str, priced: bool, knobs: bool) -> None:
    profile = Models(environ=environ, dotenv=None).card(name).profile
    assert (profile.price is not None, bool(profile.knobs)) == (priced, knobs)


@pytest.mark.parametrize("url", ["nonsense", "http://[", "http://me:hunter2@host/v1", "http://host:99999/v1"])
def test_a_bad_address_spoils_only_its_own_account(url: str) -> None:
    found = Models(environ={"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "k", "GROQ_API_KEY": "k"}, dotenv=None)
    assert found.accounts()["groq"]
    assert any(card.account == "openai" for card in found.cards())
    assert found.resolve("groq").name.startswith("groq/")
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL") as error:
        found.resolve("openai/gpt-5.4")
    assert "hunter2" not in error.value.message


@pytest.mark.parametrize("name", ["ollama/x", "vllm/x", "llamacpp", "lmstudio/x", "http://127.0.0.1:9/v1#x", "local"])
def test_ones_own_servers_cost_nothing(name: str) -> None:
    price = Models(environ={}, dotenv=None).card(name).profile.price
    assert price is not None
    assert price.cost(Usage(input=10**6, output=10**6)) == 0
    strange = Models(environ={}, dotenv=None).card("https://host/v1#deepseek-v4-pro").profile
    assert strange.price is None
    assert strange.family == "deepseek_v4_pro"


def test_a_model_like_another(tmp_path: Path) -> None:
    text = """
    [accounts.gate]
    base_url = "https://gate.office/v1"
    [models."gate/opus"]
    like = "anthropic/claude-opus-5-5"
    window = 500000
    [models."gate/again"]
    like = "gate/opus"
    [models."gate/a"]
    like = "gate/b"
    [models."gate/b"]
    like = "gate/a"
    [models."gate/c"]
    like = "nobody/x"
    """
    found = known(tmp_path, text)
    opus, theirs = found.card("gate/again").profile, found.card("anthropic/claude-opus-5-5").profile
    assert (opus.window, opus.images, opus.family, opus.price) == (500_000, True, "anthropic", theirs.price)
    assert (opus.wire, opus.knobs) == ("openai_chat", {}), "knobs are fields of another protocol"
    assert found.card("gate/again").profile.options == {}
    for name in ("gate/a", "gate/c"):
        with pytest.raises(ConfigError, match="like"):
            found.card(name)


async def test_accounts_and_models_of_a_program() -> None:
    found = Models(environ={}, dotenv=None)
    with ProviderServer(key="k") as server:
        found.register_account("mine", AccountEntry(base_url=server.url, default="scripted", free=False), key="k")
        found.register_model("mine/scripted", ModelEntry(price=PriceTable(input=1, output=1), window=5000))
        await completed(found.resolve("mine"))
        assert found.card("mine").profile.window == 5000
        assert "mine/scripted" in [card.name for card in found.cards("mine")]
        assert found.accounts()["mine"]
        before = found.resolve("mine")
        found.register_model("mine/scripted", ModelEntry(window=6000))
        assert found.resolve("mine") is not before
        assert found.resolve("mine").profile.price is None
        await found.close()
    for act in (
        lambda: found.register_account("a/b", AccountEntry(base_url="http://x")),
        lambda: found.register_account("b", AccountEntry()),
        lambda: found.register_account("b", AccountEntry(base_url="http://x", key="sk-hunter2")),
        lambda: found.register_account("b", AccountEntry(base_url="http://x"), key="bad\nkey"),
        lambda: found.register_model("model", ModelEntry()),
    ):
        with pytest.raises(ConfigError) as error:
            act()
        assert "hunter2" not in error.value.message


def test_each_model_is_wrapped_once_with_its_card() -> None:
    class Wrapping(ModelWrapper):
        def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
            return self.inner.stream(request)

    seen: list[str] = []

    def wrap(model: Model, card: Any) -> Model:
        seen.append(card.name)
        return Wrapping(model)

    found = Models(environ={"OPENAI_API_KEY": "k"}, dotenv=None, wrap=wrap)
    found.register("mine", lambda _: ScriptedModel([]))
    assert found.resolve("openai/gpt-5.4") is found.resolve("openai/gpt-5.4")
    assert isinstance(found.resolve("mine/a"), Wrapping)
    found.resolve("http://127.0.0.1:1/v1#m")
    assert seen == ["openai/gpt-5.4", "mine/a", "http://127.0.0.1:1/v1#m"]


async def test_an_alias_names_a_model_and_never_an_account(tmp_path: Path) -> None:
    text = """
[accounts.office]
base_url = "http://127.0.0.1:1"
[aliases]
"claude-*" = "office/all"
"claude-opus-*" = "office/opus"
claude-opus-9 = "office/nine"
"anthr*" = "office/never"
"aut*" = "office/never"
"""
    models = Models(environ={}, dotenv=None, config=load(tmp_path, text))
    models.register("auto", lambda rest: ScriptedModel("yes", name="auto"))
    meant = {"claude-x": "all", "claude-opus-4-8": "opus", "claude-opus-9": "nine"}
    assert {name: models.resolve(name).name for name in meant} == {one: f"office/{to}" for one, to in meant.items()}
    assert models.resolve("auto").name == "auto"
    assert models.alias("anthropic/claude-opus-9") is None
    with pytest.raises(ConfigError):
        models.resolve("gpt-5")
    models.change(ModelsConfig(aliases={"gpt-*": "auto"}))
    assert models.resolve("gpt-5").name == "auto"
    with pytest.raises(ConfigError):
        models.resolve("claude-x")
    await models.close()


async def test_an_alias_may_be_the_default_and_is_known_to_cards_and_troubles(tmp_path: Path) -> None:
    text = """
default = "slow"
[accounts.office]
base_url = "http://127.0.0.1:1"
[aliases]
fast = "office/llama"
slow = "openai/gpt-5-mini"
"""
    environ = {"ROOST_MODEL": "fast"}
    models = Models(environ=environ, dotenv=None, config=load(tmp_path, text))
    assert (models.default(), models.full(None), models.full("slow")) == (*["office/llama"] * 2, "openai/gpt-5-mini")
    assert models.resolve().name == "office/llama"
    assert (models.card("fast").name, models.card("fast").account) == ("office/llama", "office")
    assert models.trouble("fast") is None
    assert "OPENAI_API_KEY" in str(models.trouble("slow"))
    del environ["ROOST_MODEL"]
    assert models.default() == "openai/gpt-5-mini"
    await models.close()


@pytest.mark.parametrize("line", ['"*" = "auto"', '"a/b" = "auto"', '"a*b" = "auto"', '"a" = " "', '"a" = 5'])
def test_an_alias_of_no_sense_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match="aliases"):
        load(tmp_path, f"[aliases]\n{line}\n")


def test_the_documentation_is_right(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "accounts.md").read_text()
    block = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    found = known(tmp_path, block[1], OFFICE_KEY="k")
    price = found.card("office/opus").profile.price
    assert price is not None
    assert price.output == 0, "its account is free"
    for name, account in catalog().accounts.items():
        assert f"`{name}`" in text, name
        if account.wire != "openai_chat":
            assert all(f"`{key}`" in text for key in account.keys)


def test_an_account_behind_a_gateway_may_take_the_provider_s_prices() -> None:
    for priced in (None, False, True):
        entry = AccountEntry(base_url="https://gateway.office", priced=priced)
        models = Models(environ={}, dotenv=None, config=ModelsConfig(accounts={"anthropic": entry}))
        price = models.card("anthropic/claude-opus-4-6").profile.price
        own = Models(environ={}, dotenv=None).card("anthropic/claude-opus-4-6").profile.price
        assert price == (own if priced else None)
    told = price_unknown("anthropic/claude-opus-4-6", "month:2026-11").message
    assert "[accounts.anthropic] names a gateway to the provider, priced = true" in told
