"""What the pages about models show is what their readers read."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.request import Completed
from roost.providers.accounts import Models
from roost.providers.config import ModelsConfig
from roost.providers.config_file import load_config
from roost.stub.provider import ProviderServer
from roost.stub.script import load
from roost.testing.matrix.base import tried
from roost.testing.matrix.every import behaviours
from roost.testing.matrix.ground import Subject, subjects

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall((DOCS / page).read_text()) if kind == language]


@pytest.mark.parametrize(
    "page",
    ["guides/models.md", "reference/accounts.md", "guides/routing.md", "guides/costs.md", "guides/embeddings.md"],
)
def test_models_toml(page: str, tmp_path: Path) -> None:
    shown = blocks(page, "toml")
    assert shown
    for text in shown:
        (tmp_path / "models.toml").write_text(text)
        config = load_config(tmp_path, {})
        assert config != ModelsConfig()
        models = Models(environ={"OFFICE_KEY": "k"}, dotenv=None, config=config)
        for name in config.models:
            assert models.card(name).source == "config"


def test_scripts_and_the_stub() -> None:
    for text in blocks("extend/testing-models.md", "json"):
        assert load(text.encode()).rules
    for text in blocks("extend/testing-models.md", "python"):
        exec(compile(text, "testing-models.md", "exec"), {})


async def test_embeddings(tmp_path: Path) -> None:
    (text,) = blocks("guides/embeddings.md", "python")
    text = text.replace("Embedders(Models())", "Embedders(models, cache=cache)")
    text = text.replace('"local"', '"openai/text-embedding-3-small"')
    with ProviderServer() as server:
        environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": server.url}
        space: dict[str, Any] = {
            "models": Models(environ=environ, dotenv=None),
            "cache": tmp_path / "cache.sqlite",
        }
        exec(f"async def shown():\n{textwrap.indent(text, '    ')}    return vectors, query", space)
        vectors, query = await space["shown"]()
        assert len(vectors) == 1
        assert len(query) == len(vectors[0])
        await space["models"].close()


def test_the_trace_of_a_route_is_json() -> None:
    (text,) = blocks("guides/routing.md", "json")
    assert set(msgspec.json.decode(text)) >= {"profile", "intent", "tokens", "chain", "steps"}


async def test_the_first_wire_passes_the_matrix() -> None:
    """The tutorial's blocks, one after another, are a wire that shows every behaviour that it does not lack."""
    space: dict[str, Any] = {"__name__": "first_wire"}
    for text in blocks("extend/first-wire.md", "python"):
        exec(compile(text, "first-wire.md", "exec", dont_inherit=True), space)
    body, steps = (msgspec.json.decode(text) for text in blocks("extend/first-wire.md", "json"))
    subject: Subject = space["TestAcme"]().subject()
    subject.dialect.check(body, {})
    answer = space["AcmeAnswer"](Prompt(system=(), messages=()), Profile(), where="acme")
    assert answer.whole(msgspec.json.encode({"steps": steps}))
    assert isinstance(answer.end(), Completed)
    assert space["models"].resolve("acme").wire.name == "acme"
    cells = [await tried(behaviour, subject, subjects()) for behaviour in behaviours()]
    assert {cell.behaviour: cell.why for cell in cells if cell.verdict == "fail"} == {}
    assert {cell.behaviour for cell in cells if cell.verdict == "skip"} == set(subject.lacks)
