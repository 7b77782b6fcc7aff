"""Names of embedders, where their keys and prices come from, and what the ledger learns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from roost.errors import ConfigError
from roost.local.embed.base import Embedding, EmbedFailed
from roost.models.request import Bill, Budget
from roost.money.budgets import BudgetEntry
from roost.money.ledger import Ledger
from roost.providers.accounts import Models
from roost.providers.config import AccountEntry, EmbedEntry, ModelEntry, ModelsConfig, PriceTable
from roost.providers.embedders import Embedders
from roost.routing.retry import Retry
from roost.stores.sqlite.store import open_sqlite
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply

KEYS = {"OPENAI_API_KEY": "k", "GEMINI_API_KEY": "k", "COHERE_API_KEY": "k"}
SMALL = ModelEntry(price=PriceTable(input=0.02, output=0.0))


def models(server: ProviderServer | None = None, **config: object) -> Models:
    environ = dict(KEYS)
    accounts: dict[str, AccountEntry] = {}
    if server is not None:
        environ |= {"OPENAI_BASE_URL": server.url, "GOOGLE_GEMINI_BASE_URL": server.url.removesuffix("/v1")}
        accounts = {"cohere": AccountEntry(base_url=server.url)}
    return Models(environ=environ, dotenv=None, config=ModelsConfig(accounts=accounts, **config))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("openai/text-embedding-3-small", 1536),
        ("openai/text-embedding-3-large@256", 256),
        ("google/gemini-embedding-001", 3072),
        ("google/gemini-embedding-2@768", 768),
        ("cohere/embed-v4.0", 1536),
        ("cohere/embed-v5.0-fast@512", 512),
    ],
)
async def test_an_account_and_its_model(name: str, size: int, tmp_path: Path) -> None:
    with ProviderServer(key="k") as server:
        embedders = Embedders(models(server), cache=tmp_path / "cache")
        made = embedders.resolve(name)
        assert embedders.resolve(name) is made
        assert (made.name, made.size) == (name, size)
        (vector,) = await made.embed(Embedding(["hello"]))
        await embedders.close()
    assert len(vector) == size * 4
    assert server.stats.violations == 0


async def test_a_url(tmp_path: Path) -> None:
    with ProviderServer(key="k") as server:
        own = Models(environ={"ROOST_API_KEY": "k"}, dotenv=None)
        embedders = Embedders(own, cache=tmp_path / "cache")
        made = embedders.resolve(f"{server.url}#nomic-embed@48")
        bill = Bill()
        (vector,) = await made.embed(Embedding(["hello"], bill=bill))
        await embedders.close()
    assert made.name == f"{server.url}#nomic-embed@48"
    assert len(vector) == 48 * 4
    assert bill.usage.cost == 0, "on the user's own machine"


async def test_local_is_the_default(tmp_path: Path) -> None:
    embedders = Embedders(models(), cache=tmp_path / "cache")
    assert embedders.resolve().name == "local/minilm"
    assert embedders.resolve("local").name == embedders.resolve("local/minilm").name == "local/minilm"
    assert embedders.resolve().size == 384
    config = models(embeddings=EmbedEntry(default="openai/text-embedding-3-small"))
    other = Embedders(config, cache=tmp_path / "cache")
    assert other.resolve().name == "openai/text-embedding-3-small"
    await embedders.close()
    await other.close()


def test_a_model_for_embeddings_does_not_chat() -> None:
    with pytest.raises(ConfigError, match="cannot answer"):
        models().resolve("local/minilm")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("openai", "names no model"),
        ("openai/", "names no model"),
        ("nobody/model", "no account 'nobody'"),
        ("anthropic/claude-sonnet-5-5", "makes no embeddings"),
        ("http://127.0.0.1:1/v1", "names no model"),
        ("openai/text-embedding-3-small@0", "names no model"),
        ("mistral/mistral-embed", "MISTRAL_API_KEY"),
    ],
)
def test_names_that_mean_nothing_say_what_to_do(name: str, fix: str, tmp_path: Path) -> None:
    own = Models(environ={**KEYS, "ANTHROPIC_API_KEY": "k"}, dotenv=None)
    with pytest.raises(ConfigError, match=fix):
        Embedders(own, cache=tmp_path / "cache").resolve(name)


async def test_what_was_embedded_is_not_asked_for_again(tmp_path: Path) -> None:
    with ProviderServer(key="k") as server:
        for _ in range(2):
            embedders = Embedders(models(server), cache=tmp_path / "cache")
            bill = Bill()
            await embedders.resolve("openai/text-embedding-3-small").embed(Embedding(["a", "b"], bill=bill))
            await embedders.close()
        assert server.stats.requests == 1
        assert (bill.calls, bill.usage.cost) == (0, 0)
        off = Embedders(models(server, embeddings=EmbedEntry(cache_mb=0)), cache=tmp_path / "none")
        for _ in range(2):
            await off.resolve("openai/text-embedding-3-small").embed(Embedding(["a", "b"]))
        await off.close()
    assert server.stats.requests == 3
    assert not (tmp_path / "none").exists()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    journal = await open_sqlite(tmp_path / "ledger.db")
    made = Ledger(journal, owner="node", budget=BudgetEntry(month=1.0))
    yield made
    await made.close()
    await journal.close()


async def test_the_ledger_holds_what_the_provider_counted(ledger: Ledger, tmp_path: Path) -> None:
    fault = Fault(kind="status", status=503)
    with ProviderServer(lambda _: Reply(fault=fault), key="k") as server:
        own = models(server, models={"openai/text-embedding-3-small": SMALL})
        embedders = Embedders(own, cache=tmp_path / "cache", metering=ledger.meter, retry=Retry(base=0.01))
        made = embedders.resolve("openai/text-embedding-3-small")
        job = Embedding([f"text {number}" for number in range(600)], bill=Bill(), meta={"session": "s"})
        await asyncio.gather(*(made.embed(job) for _ in range(2)))
        await embedders.close()
        served = server.stats.served["text-embedding-3-small"]
    month = await ledger.month()
    assert job.bill is not None
    assert month.spent == job.bill.usage.cost == served.input * 20
    assert month.reserved == 0
    assert server.stats.faults > 0


async def test_no_call_is_made_that_a_budget_has_no_room_for(ledger: Ledger, tmp_path: Path) -> None:
    with ProviderServer(key="k") as server:
        own = models(server, models={"openai/text-embedding-3-small": SMALL})
        embedders = Embedders(own, cache=tmp_path / "cache", metering=ledger.meter)
        made = embedders.resolve("openai/text-embedding-3-small")
        job = Embedding(["word " * 100], budgets=(Budget("session:s", 1_000),))
        with pytest.raises(EmbedFailed) as failed:
            await made.embed(job)
        assert failed.value.code == "budget"
        assert server.stats.requests == 0
        unknown = embedders.resolve("openai/unknown-embedding")
        with pytest.raises(EmbedFailed) as failed:
            await unknown.embed(job)
        assert failed.value.code == "price_unknown"
        await made.embed(msgspec.structs.replace(job, budgets=(Budget("session:s", 1_000_000),)))
        await embedders.close()
        assert server.stats.requests == 1


async def test_calls_side_by_side_wait_for_one_another_under_a_tight_budget(ledger: Ledger, tmp_path: Path) -> None:
    with ProviderServer(lambda _: Reply(delay=0.05), key="k") as server:
        own = models(server, models={"openai/text-embedding-3-small": SMALL})
        made = Embedders(own, cache=tmp_path / "cache", metering=ledger.meter, retry=Retry(base=0.05, tries=50))
        texts = [f"{number:06d}" for number in range(1_000)]
        # Each of the four calls may cost a third more than it does: two of them fit, three do not.
        job = Embedding(texts, budgets=(Budget("session:s", 35_000),), bill=Bill())
        assert len(await made.resolve("openai/text-embedding-3-small").embed(job)) == 1_000
        await made.close()
    assert job.bill is not None
    assert job.bill.usage.cost == server.stats.served["text-embedding-3-small"].input * 20 == 20_000
