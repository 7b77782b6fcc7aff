"""The catalog's data and its reader."""

from __future__ import annotations

import datetime
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from tests.yardstick import reference_seconds

from roost.log.content import Text, Usage, UserMessage
from roost.models.catalog.facts import Account, Facts, ModelFacts, PriceTable, Trait
from roost.models.catalog.making import OVERLAY, Maker
from roost.models.catalog.reader import Catalog, Data, Rates, catalog, read
from roost.models.catalog.sources import Litellm
from roost.models.compile import FAMILIES
from roost.models.compile import compiler as find_compiler
from roost.models.knobs import knobs_of
from roost.models.profile import Knob, Profile
from roost.models.request import Request
from roost.models.wire import Endpoint
from roost.models.wires import WIRES, wire

ACCOUNTS = (
    "anthropic openai openai-responses google cohere openrouter deepseek glm glm-cn minimax minimax-cn groq novita "
    "huggingface mistral together fireworks xai ollama vllm llamacpp lmstudio"
).split()


def small(**accounts: Account) -> Catalog:
    traits = {"t": Trait(facts=Facts(thinks="always"), wires={"anthropic": Facts(images=True)})}
    rates = Rates(dated="2026-01-01", source="a bank", usd={"CNY": 0.14})
    return Catalog(Data(dated="2026-01-02", sources=("s",), rates=rates, traits=traits, accounts=accounts))


def test_every_account_is_there_and_every_name_in_it_leads_somewhere() -> None:
    known = catalog()
    assert set(ACCOUNTS) <= set(known.accounts)
    assert known.sources
    assert datetime.date.fromisoformat(known.dated)
    for name, account in known.accounts.items():
        wire(account.wire, account.options)
        assert account.free or account.keys, name
        assert account.free or account.site, name
        if account.default and not account.free:
            card = known.card(name, account.default)
            assert card is not None, f"{name}: its default is unknown"
            assert (card.retired, card.kind) == (None, "chat")


@pytest.mark.parametrize("name", ACCOUNTS)
def test_every_card_makes_sense_and_can_be_sent(name: str) -> None:
    known = catalog()
    for card in known.cards(name):
        profile = card.profile
        assert (card.account, card.source, card.dated) == (name, "catalog", known.dated)
        assert profile.family in FAMILIES
        assert profile.wire in WIRES
        assert 0 <= profile.max_output < profile.window, card.name
        assert card.retired is None or card.retired > known.dated
        if profile.price is not None:
            steps = [profile.price, *profile.price.tiers]
            assert all(step.input >= 0 and step.output >= 0 for step in steps), card.name
            assert [tier.above for tier in profile.price.tiers] == sorted({tier.above for tier in profile.price.tiers})
            assert profile.price.cost(Usage(input=1000, output=1000)) is not None, "its currency has no rate"
        if card.kind == "embedding":
            assert not profile.tools
            continue
        account = known.accounts[name]
        spoken = wire(profile.wire or "", account.options if profile.wire == account.wire else {})
        knobs = knobs_of(profile, spoken.knobs)
        where = Endpoint(base_url=account.base_url)
        for effort in ("off", "low", "medium", "high", "max"):
            request = Request(
                instruction="Be brief.", messages=(UserMessage((Text("hi"),)),), effort=effort, temperature=0.5
            )
            prompt = find_compiler(profile.family).compile(request, profile)
            call = spoken.call(prompt, card.model, profile, where, stream=True)
            body: dict[str, Any] = msgspec.json.decode(call.body or b"")
            assert ("temperature" in body or "temperature" in body.get("generationConfig", {})) <= (
                "temperature" in knobs
            )


def test_a_name_is_exact_known_or_dated_and_never_guessed() -> None:
    at = Account(
        title="A",
        base_url="https://a",
        models={"Big-1": ModelFacts(window=9_000, aliases=("big",)), "big-1-mini": ModelFacts(window=5_000)},
    )
    known = small(a=at)
    for name in ("Big-1", "big-1", "BIG", "big-1-20260120", "big-1-2026-01-20", "big@20260120"):
        card = known.card("a", name)
        assert card is not None, name
        assert card.profile.window == 9_000
        assert card.model == name
    for name in ("big-2", "big-1-mini-plus", "big-1:free", "big-1-0120", "", "big-1-preview", "vendor/big-1"):
        assert known.card("a", name) is None, name
    assert known.card("b", "big-1") is None
    assert [card.model for card in known.cards()] == ["Big-1", "big-1-mini"]


def test_facts_are_laid_over_the_account_and_its_traits_by_wire() -> None:
    ground = Facts(window=10_000, max_output=4_000, knobs={"a": Knob(field="a"), "b": Knob(field="b")})
    models = {
        "m": ModelFacts(traits=("t",), knobs={"a": False}, price=PriceTable(input=1, output=2, currency="CNY")),
        "n": ModelFacts(traits=("t",), wire="anthropic", thinks="never", window=1_000),
        "e": ModelFacts(kind="embedding", window=512, price=PriceTable(input=1, output=0)),
    }
    known = small(
        a=Account(title="A", base_url="https://a", facts=ground, models=models),
        shares=Account(title="B", base_url="https://b", wire="anthropic", shared="a"),
        own=Account(title="C", base_url="http://c", free=True),
    )
    cards = {card.model: card.profile for card in known.cards("a")}
    assert (cards["m"].thinks, cards["m"].images, cards["m"].wire) == ("always", False, "openai_chat")
    assert cards["m"].knobs == {"a": None, "b": Knob(field="b")}
    assert cards["m"].price is not None
    assert (cards["m"].price.input, cards["m"].price.rate) == (1000, 0.14)
    assert cards["m"].price.cost(Usage(input=1_000_000)) == 140_000_000
    assert (cards["n"].thinks, cards["n"].images, cards["n"].wire) == ("never", True, "anthropic")
    assert cards["n"].max_output == 500, "an answer never takes the whole window"
    assert (cards["e"].tools, cards["e"].max_output, cards["e"].knobs) == (False, 0, {})
    elsewhere = known.card("shares", "m")
    assert elsewhere is not None
    assert elsewhere.profile.wire == "anthropic"
    assert elsewhere.profile.images
    assert known.ground("own").price is not None
    assert known.ground("a").price is None


def test_a_price_that_is_announced_counts_from_its_day() -> None:
    later = {"2026-03-01": PriceTable(input=2, output=2), "2026-06-01": PriceTable(input=3, output=3)}
    facts = ModelFacts(price=PriceTable(input=1, output=1), later=later)
    for day, price in (("2026-02-28", 1), ("2026-03-01", 2), ("2026-05-31", 2), ("2027-01-01", 3)):
        now = facts.on(day).price
        assert now is not None
        assert now.input == price, day
    past = Account(title="A", base_url="https://a", models={"m": facts})
    card = small(a=past).card("a", "m")
    assert card is not None
    assert card.profile.price is not None
    assert card.profile.price.input == 3000
    argon = catalog().accounts["google"].models["gemini-4-argon"]
    assert argon.on("2026-11-21").price != argon.on("2026-12-02").price


def test_facts_that_a_user_relies_on() -> None:
    def profile(account: str, model: str) -> Profile:
        card = catalog().card(account, model)
        assert card is not None
        return card.profile

    newest, older = profile("anthropic", "claude-opus-5"), profile("anthropic", "claude-haiku-4-5-20251001")
    assert "temperature" not in newest.knobs
    assert older.knobs["temperature"] is not None
    assert profile("openai", "gpt-6-sol").wire == "openai_responses"
    assert profile("openai", "gpt-5-mini").knobs["temperature"] is None
    assert profile("openai", "gpt-4.1").thinks == "never"
    glm, yuan = profile("glm", "glm-5.3"), profile("glm-cn", "glm-5.3")
    assert glm.price is not None
    assert yuan.price is not None
    assert (glm.price.currency, yuan.price.currency, glm.family) == ("USD", "CNY", "glm_52")
    flash = profile("deepseek", "deepseek-v4-flash")
    assert flash.family == "deepseek_v4_flash"
    effort = flash.knobs["effort"]
    assert effort is not None
    assert list(effort.values or ()) == ["off", "low", "high", "max"]
    budget = profile("google", "gemini-2.5-flash").knobs["effort"]
    assert budget is not None
    assert budget.values is not None
    assert budget.values["off"] == {"thinkingBudget": 0}


def test_rates_are_dated_and_say_whose_they_are() -> None:
    known = catalog()
    assert known.rate("USD") == 1.0
    assert known.rate("XYZ") is None
    assert 0.05 < (known.rate("CNY") or 0) < 0.5
    assert 0.5 < (known.rate("EUR") or 0) < 2
    assert datetime.date.fromisoformat(known.rates.dated)
    assert known.rates.source


_AT_ONCE = """
import sys, threading
from roost.models.catalog.reader import catalog
sys.setswitchinterval(1e-6)
together = threading.Barrier(4)
threads = [threading.Thread(target=lambda: (together.wait(), catalog())) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_may_ask_for_it_at_the_same_time() -> None:
    for _ in range(8):
        assert subprocess.run([sys.executable, "-c", _AT_ONCE], check=False, timeout=60).returncode == 0


def test_reading_is_late_and_quick() -> None:
    code = (
        "import sys, roost.models, roost.providers.accounts\n"
        "assert 'aiohttp' not in sys.modules and 'keyring' not in sys.modules\n"
        "from roost.models.catalog.reader import read\n"
        "assert read.cache_info().currsize == 0"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def again() -> None:
        read.cache_clear()
        catalog()

    assert reference_seconds(again) < 0.010


class Sources:
    """Stands for the second source, which is a package of its own."""

    def __init__(self, prices: dict[str, dict[str, Any]]) -> None:
        self.given = prices

    def prices(self, provider: str, name: str) -> dict[str, Any]:
        return {"": dict(self.given[name])} if name in self.given else {}

    def window(self, provider: str, name: str) -> int | None:
        return 32_000 if name in self.given else None


def test_where_the_sources_differ_a_price_is_unknown_unless_the_overlay_says_it() -> None:
    million = 1e-6
    entries = {
        name: {
            "litellm_provider": "p",
            "mode": "chat",
            "max_input_tokens": 1000,
            "max_output_tokens": 1000,
            "supports_vision": True,
            "input_cost_per_token": 1 * million,
            "output_cost_per_token": 2 * million,
            "input_cost_per_token_above_128k_tokens": 9 * million,
        }
        for name in ("same", "differ", "said", "alone")
    } | {"old": {"litellm_provider": "p", "max_input_tokens": 5, "deprecation_date": "2026-01-01"}}
    agreed, other = {"input": 1.0, "output": 2.0, "cached": 0.5}, {"input": 1.0, "output": 3.0}
    overlay = {
        "dated": "2026-06-01",
        "rates": {"dated": "2026-05-01", "source": "a bank", "euro": {"USD": 1.2, "CNY": 8.0}},
        "traits": {},
        "accounts": {
            "p": {
                "title": "P",
                "base_url": "https://p",
                "litellm": "p",
                "genai": "p",
                "pick": ["same", "differ", "said", "alone", "old", "nowhere"],
                "own": {"said": {"price": {"input": 7.0, "output": 8.0}}},
            }
        },
    }
    maker = Maker(
        overlay, Litellm(msgspec.json.encode(entries)), Sources({"same": agreed, "differ": other, "said": other})
    )  # type: ignore[arg-type]
    data = maker.data()
    models = data.accounts["p"].models
    assert models["same"].price == PriceTable(input=1, output=2, cached=0.5), "a tier beyond the window says nothing"
    assert models["differ"].price is None
    assert models["said"].price == PriceTable(input=7, output=8)
    assert models["alone"].price == PriceTable(input=1, output=2)
    assert models["same"].images
    assert models["same"].max_output is None, "an answer as long as the window is no fact"
    assert "old" not in models
    assert {line.partition(":")[0] for line in maker.remarks} == {"p/differ", "p/old", "p/nowhere"}
    assert data.rates.usd == {"EUR": 1.2, "CNY": 0.15}
    assert OVERLAY.is_file()
