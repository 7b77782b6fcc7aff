"""What the pages about models show is what their readers read."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.request import Completed
from roost.models.wire import Listing
from roost.providers.accounts import Models
from roost.providers.config import ModelsConfig
from roost.providers.config_file import load_config
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply, load
from roost.testing.matrix.base import tried
from roost.testing.matrix.every import behaviours
from roost.testing.matrix.ground import Ground, Subject, subjects
from roost.testing.models import ask

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


@pytest.fixture
def first_wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder with the tutorial's files, each as the page shows it."""
    for text in blocks("extend/first-wire.md", "python"):
        name, _, _ = text.partition("\n")
        file = tmp_path / name.removeprefix("# ")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("acme", "test_acme", "program")]:
        del sys.modules[name]


def test_the_files_of_the_first_wire_have_all_their_names(first_wire: Path) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F", str(first_wire)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stdout + found.stderr
    assert {file.relative_to(first_wire).as_posix() for file in first_wire.rglob("*.py")} == {
        *(f"acme/{name}.py" for name in ("__init__", "request", "errors", "answer", "dialect")),
        "test_acme.py",
        "program.py",
    }


async def test_the_first_wire_passes_the_matrix(first_wire: Path) -> None:
    """The tutorial's files are a wire that shows every behaviour that it does not lack."""
    acme, answers, program = (importlib.import_module(name) for name in ("acme", "acme.answer", "program"))
    body, steps = (msgspec.json.decode(text) for text in blocks("extend/first-wire.md", "json"))
    subject: Subject = importlib.import_module("test_acme").TestAcme().subject()
    subject.dialect.check(body, {})
    answer = answers.AcmeAnswer(Prompt(system=(), messages=()), Profile(), where="acme")
    assert answer.whole(msgspec.json.encode({"steps": steps}))
    assert isinstance(answer.end(), Completed)
    listed = acme.WIRE().listed(importlib.import_module("acme.dialect").DIALECT.models())
    assert listed == Listing(("scripted",))
    assert program.models.resolve("acme").wire.name == "acme"
    unfinished = Reply(text="half of it", fault=Fault(kind="no_finish", times=0))
    ground = Ground(subject, [])
    async with ground.place(unfinished) as place:
        for stream in (True, False):
            assert (await place.failed(ask(stream=stream))).error.code == "malformed"
    await ground.close()
    cells = [await tried(behaviour, subject, subjects()) for behaviour in behaviours()]
    assert {cell.behaviour: cell.why for cell in cells if cell.verdict == "fail"} == {}
    assert {cell.behaviour for cell in cells if cell.verdict == "skip"} == set(subject.lacks)


async def test_the_first_wire_reads_errors_and_stop_reasons(first_wire: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acme, answers = importlib.import_module("acme"), importlib.import_module("acme.answer")
    error = acme.WIRE().refused(429, {}, b'{"oops": {"code": "busy", "text": "Try later."}}', where="acme")
    assert (error.code, error.retryable, error.message) == ("rate_limited", True, "acme answered 429: Try later.")
    page = acme.WIRE().refused(502, {}, b"<html>Bad gateway</html>", where="acme")
    assert (page.code, page.message) == ("overloaded", "acme answered 502: Bad gateway")
    # A misspelled stop reason of the wire shows, since its counterpart spells the words out itself.
    monkeypatch.delitem(answers.STOP_REASONS, "limit")
    monkeypatch.setitem(answers.STOP_REASONS, "limti", "length")
    subject: Subject = importlib.import_module("test_acme").TestAcme().subject()
    (length,) = (one for one in behaviours() if one.name == "length")
    cell = await tried(length, subject, [])
    assert cell.verdict == "fail"
    assert "unknown stop reason 'limit'" in cell.why
