"""Refreshing prices from the two published sources: served on loopback, in the shapes that they have."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.published import MODEL, Published, Server

from roost.models.catalog.facts import PriceTable
from roost.models.catalog.reader import catalog
from roost.models.catalog.refreshed import FILE, read_home
from roost.models.catalog.sources import GenaiPrices
from roost.providers.accounts import Models
from roost.providers.catalog_refresh import Refreshed, RefreshFailed, refresh, undo


def today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def refreshed(home: Path, server: Server, published: Published, **options: Any) -> Refreshed:
    server.documents = published.documents()
    return asyncio.run(refresh(home, server.places, **options))


def price(home: Path, name: str = MODEL) -> tuple[int | float, int | float] | None:
    """Dollars for a million tokens, in and out."""
    found = Models.at_home(home).card(name).profile.price
    return None if found is None else (found.input / 1000, found.output / 1000)


def test_newer_prices_count_for_their_home_until_they_are_undone(tmp_path: Path, server: Server) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    before = price(home)
    assert before == (5, 30)
    published = Published()
    published.price(litellm=PriceTable(input=4, output=20), genai=PriceTable(input=4, output=20, cached=0.4))
    began = today()
    done = refreshed(home, server, published)
    days = {began.isoformat(), today().isoformat()}
    assert [change.model for change in done.changes] == [MODEL]
    assert price(home) == (4, 20)
    assert price(other) == before, "only the home that was refreshed"
    known = Models.at_home(home)
    assert known.catalog.dated in days, "the day that this refresh ran on, also when it ran over midnight"
    assert known.card(MODEL).dated == known.catalog.dated
    for source, place, document in zip(done.sources, server.places, server.documents.values(), strict=True):
        assert (source.place, source.sha256) == (place, hashlib.sha256(document).hexdigest())
        assert any(place in line and source.sha256 in line for line in known.catalog.sources)
    assert dict(known.catalog.accounts).keys() == catalog().accounts.keys()
    others = [(card.name, card.profile.price) for card in known.cards("anthropic")]
    assert others == [(card.name, card.profile.price) for card in Models.at_home(other).cards("anthropic")]
    assert read_home(home).catalog is read_home(home).catalog, "read once"
    assert undo(home)
    assert not undo(home)
    assert price(home) == before


def test_models_toml_comes_before_refreshed_prices_and_cannot_name_a_catalog(tmp_path: Path, server: Server) -> None:
    published = Published()
    published.price(litellm=PriceTable(input=4, output=20), genai=PriceTable(input=4, output=20))
    refreshed(tmp_path, server, published)
    file = tmp_path / "models.toml"
    file.write_text(f'[models."{MODEL}"]\nprice = {{ input = 1, output = 2 }}\n')
    assert price(tmp_path) == (1, 2)
    file.write_text(f'[models."{MODEL}"]\nimages = false\n')
    assert price(tmp_path) == (4, 20)
    file.write_text("catalog = 1\n")
    with pytest.raises(Exception, match="unknown field"):
        price(tmp_path)


def test_a_price_stays_where_the_sources_disagree_and_one_confirms_it(tmp_path: Path, server: Server) -> None:
    published = Published()
    published.price(genai=PriceTable(input=6, output=31))
    done = refreshed(tmp_path, server, published)
    assert price(tmp_path) == (5, 30)
    assert any(MODEL in note and "stays" in note for note in done.notes)
    published.price(litellm=PriceTable(input=7, output=32))
    refreshed(tmp_path, server, published)
    assert price(tmp_path) is None, "each source says another price"
    published.price(litellm=PriceTable(input=6, output=31))
    refreshed(tmp_path, server, published)
    assert price(tmp_path) == (6, 31)
    del published.litellm["gpt-5.5"], published.genai["openai"]["gpt-5.5"]
    refreshed(tmp_path, server, published)
    assert price(tmp_path) == (6, 31), "the sources say nothing of it any more"


@pytest.mark.parametrize(
    "wrong", [PriceTable(input=0.3, output=30), PriceTable(input=5, output=0), PriceTable(input=51, output=30)]
)
def test_an_implausible_price_is_not_taken(tmp_path: Path, server: Server, wrong: PriceTable) -> None:
    published = Published()
    published.price(litellm=wrong, genai=wrong)
    done = refreshed(tmp_path, server, published)
    assert [(change.model, change.kept) for change in done.changes] == [(MODEL, True)]
    assert price(tmp_path) == (5, 30)


def test_older_data_is_refused_and_what_counted_stays(tmp_path: Path, server: Server) -> None:
    published = Published()
    published.price(litellm=PriceTable(input=4, output=20), genai=PriceTable(input=4, output=20))
    refreshed(tmp_path, server, published)
    there = (tmp_path / FILE).read_bytes()
    server.dated = today() - datetime.timedelta(days=1)
    with pytest.raises(RefreshFailed, match="--dated"):
        refreshed(tmp_path, server, published)
    server.dated = None
    with pytest.raises(RefreshFailed, match="of 2025-01-01"):
        refreshed(tmp_path, server, published, dated="2025-01-01")
    assert (tmp_path / FILE).read_bytes() == there


def test_files_are_as_old_as_their_time_says(tmp_path: Path) -> None:
    files: list[str] = []
    for name, body in Published().documents().items():
        file = tmp_path / name.strip("/")
        file.write_bytes(body)
        os.utime(file, (0, 0))  # as a wheel's are
        files.append(str(file))
    with pytest.raises(RefreshFailed, match="1970-01-01"):
        asyncio.run(refresh(tmp_path, files))
    assert not (tmp_path / FILE).exists()
    day = today().isoformat()
    done = asyncio.run(refresh(tmp_path, files, dated=day))
    assert (done.dated, done.changes) == (day, ())


def _negative(published: Published) -> None:
    published.price(litellm=PriceTable(input=-1, output=1), genai=PriceTable(input=-1, output=1))


def _few(published: Published) -> None:
    published.litellm = {"gpt-5.5": published.litellm["gpt-5.5"]}
    published.genai = {"openai": published.genai["openai"]}


def _odd(published: Published) -> None:
    published.litellm["gpt-5.5"]["max_input_tokens"] = "many"


def _shape(published: Published) -> None:
    published.genai["openai"]["gpt-5.5"]["prices"] = ["?"]


def _pattern(published: Published) -> None:
    published.genai["openai"]["gpt-5.5"] |= {"id": "other", "match": {"regex": "("}}


@pytest.mark.parametrize("spoil", [_negative, _few, _odd, _shape, _pattern])
def test_bad_data_is_refused_and_what_counted_stays(tmp_path: Path, server: Server, spoil: Any) -> None:
    published = Published()
    published.price(litellm=PriceTable(input=4, output=20), genai=PriceTable(input=4, output=20))
    refreshed(tmp_path, server, published)
    there = (tmp_path / FILE).read_bytes()
    spoil(published)
    with pytest.raises(RefreshFailed):
        refreshed(tmp_path, server, published)
    assert (tmp_path / FILE).read_bytes() == there
    assert price(tmp_path) == (4, 20)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"<html>Sign in</html>", "neither"), (b"", "neither"), (b"[{]", "not the data"), (None, "answered 404")],
)
def test_an_answer_that_is_no_source_is_refused(tmp_path: Path, server: Server, body: bytes | None, said: str) -> None:
    server.documents = Published().documents()
    if body is None:
        del server.documents["/genai.json"]
    else:
        server.documents["/genai.json"] = body
    with pytest.raises(RefreshFailed, match=said):
        asyncio.run(refresh(tmp_path, server.places))
    with pytest.raises(RefreshFailed, match="one of each source"):
        asyncio.run(refresh(tmp_path, (server.places[1], server.places[1])))
    with pytest.raises(RefreshFailed, match="cannot read"):
        asyncio.run(refresh(tmp_path, (str(tmp_path / "missing.json"),)))
    assert not (tmp_path / FILE).exists()


def test_a_damaged_file_and_one_of_another_version_leave_the_packaged_prices(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    published = Published()
    published.price(litellm=PriceTable(input=4, output=20), genai=PriceTable(input=4, output=20))
    refreshed(tmp_path, server, published)
    file = tmp_path / FILE
    whole = file.read_bytes()
    changed = whole.replace(b'"input":4.0', b'"input":1.0')
    assert changed != whole
    other = whole.replace(catalog().digest.encode(), b"0" * 64)
    for body, why in ((whole[:-100], "not used"), (b"", "not used"), (changed, "hash"), (other, "another version")):
        file.write_bytes(body)
        caplog.clear()
        assert price(tmp_path) == (5, 30)
        assert price(tmp_path) == (5, 30)
        assert why in caplog.text
        assert caplog.text.count("roost models refresh --undo") == 1, "told once"
    refreshed(tmp_path, server, published)
    assert price(tmp_path) == (4, 20)


def test_without_a_network_nothing_is_fetched_that_was_not_named(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOST_OFFLINE", "1")
    server.documents = Published().documents()
    with pytest.raises(RefreshFailed, match=r"model_prices_and_context_window\.json.*--from FILE"):
        asyncio.run(refresh(tmp_path, server.places[:1]))
    assert asyncio.run(refresh(tmp_path, server.places)).models


def test_the_published_shape_of_genai_prices() -> None:
    """As in its prices/new_data/v2/data.json: rules on names, tiers, prices from a day on and by the hour."""
    models: list[dict[str, Any]] = [
        {
            "id": "a",
            "name": "A",
            "match": {
                "or": [{"starts_with": "a-"}, {"and": [{"contains": "b"}, {"ends_with": "c"}]}, {"regex": "^x+$"}]
            },
            "context_window": 1000,
            "prices": [
                {"prices": {"input_mtok": 1, "output_mtok": 2}},
                {"constraint": {"start_date": "2026-01-01"}, "prices": {"input_mtok": 3, "output_mtok": 4}},
                {"constraint": {"start_date": "2027-01-01"}, "prices": {"input_mtok": 5, "output_mtok": 6}},
            ],
        },
        {
            "id": "hours",
            "match": {"equals": "Hours"},
            "prices": [
                {"prices": {"input_mtok": 1, "output_mtok": 2}},
                {
                    "constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"},
                    "prices": {"input_mtok": 2, "output_mtok": 4, "web_searches_kcount": 10},
                },
            ],
        },
        {
            "id": "tiers",
            "match": {"equals": "tiers"},
            "prices": {
                "input_mtok": {"base": 1, "tiers": [{"start": 200000, "price": 2}]},
                "output_mtok": 3.5,
                "cache_write_mtok": 0.1,
            },
        },
    ]
    document = msgspec.json.encode([{"id": "p", "name": "P", "extractors": [], "models": models}])
    known = GenaiPrices(document, datetime.date(2026, 6, 1))
    assert known.prices("p", "A-1") == {"": {"input": 3, "output": 4}, "2027-01-01": {"input": 5, "output": 6}}
    assert known.window("p", "bbc") == known.window("p", "xx") == 1000
    assert known.prices("p", "b") == known.prices("q", "a") == {}
    assert known.prices("p", "hours") == {"": {"input": 2, "output": 4}}, "the dearest hour"
    tier = {"above": 200000, "input": 2, "output": 3.5}
    assert known.prices("p", "tiers") == {"": {"input": 1, "output": 3.5, "tiers": [tier]}}
