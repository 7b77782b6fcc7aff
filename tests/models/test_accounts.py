from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from roost.errors import ConfigError
from roost.models.catalog.reader import catalog
from roost.models.http_model import HttpModel
from roost.models.wire import Endpoint
from roost.providers.accounts import Models
from roost.providers.config import AccountEntry, ModelsConfig
from roost.stub.provider import ProviderServer
from roost.testing.models import completed
from roost.testing.scripted import ScriptedModel


def models(**environ: str) -> Models:
    return Models(environ=environ, dotenv=None)


def test_names_of_accounts() -> None:
    found = models(OPENAI_API_KEY="k", OPENROUTER_API_KEY="k")
    assert found.resolve("openai").name == f"openai/{catalog().accounts['openai'].default}"
    assert found.resolve("openai/gpt-x").name == "openai/gpt-x"
    assert found.resolve("openrouter/vendor/model:free").name == "openrouter/vendor/model:free"
    assert found.resolve("ollama/llama3.2").name == "ollama/llama3.2"


def test_a_model_is_made_once_even_by_many_threads() -> None:
    found, made, barrier = models(), [], threading.Barrier(8)

    def factory(rest: str | None) -> ScriptedModel:
        made.append(rest)
        return ScriptedModel([])

    found.register("mine", factory)

    def resolve(_: int) -> object:
        barrier.wait()
        return found.resolve("mine/a")

    with ThreadPoolExecutor(8) as pool:
        assert len({id(model) for model in pool.map(resolve, range(8))}) == 1
    assert made == ["a"]
    found.resolve("mine")
    assert made == ["a", None]


def test_a_factory_may_shadow_an_account_and_be_replaced() -> None:
    found = models(OPENAI_API_KEY="k")
    real = found.resolve("openai")
    first, mine = ScriptedModel([]), ScriptedModel([])
    for one in (first, mine):
        found.register("openai", lambda _, one=one: one)
        assert found.resolve("openai") is one
    assert real is not mine
    for prefix in ("", "a/b", "http:"):
        with pytest.raises(ConfigError, match="prefix"):
            found.register(prefix, lambda _: mine)


def test_the_default_follows_the_environment() -> None:
    assert models(ROOST_MODEL="ollama/x", OPENAI_API_KEY="k").resolve(None).name == "ollama/x"
    assert models(GROQ_API_KEY="k").resolve(None).name.startswith("groq/")
    assert models(GROQ_API_KEY="k", OPENAI_API_KEY="k").resolve(None).name.startswith("openai/")
    found = models(OPENAI_API_KEY="  ")
    local = ScriptedModel([], name="local")
    found.register("local", lambda _: local)
    assert found.resolve(None) is local
    assert found.resolve("local") is local


def test_the_local_model_is_made_by_its_own_package() -> None:
    pytest.importorskip("roost.local.model")
    assert models().resolve("local").profile.local


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("openai/gpt-5-mini", "set OPENAI_API_KEY"),
        ("gemini", "set GEMINI_API_KEY"),
        ("vllm", "vllm/MODEL"),
        ("gpt-5-mini", "openai/gpt-5-mini"),
        ("nobody/model", "'nobody'"),
        ("http://host/v1", "#model"),
        ("http://#model", "http://host:port/v1"),
        ("http://host:99999/v1#m", "http://host:port/v1"),
        ("https://user:hunter2@host/v1#m", "ROOST_API_KEY"),
    ],
)
def test_errors_name_the_fix(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        models().resolve(name)
    assert said in str(error.value)
    assert "hunter2" not in str(error.value)
    if "://" in name:
        with pytest.raises(ConfigError, match=re.escape(str(error.value))):
            models().card(name)


async def test_a_url_is_a_model_and_gets_the_keys_meant_for_it() -> None:
    with ProviderServer(key="k1") as server:
        for environ in ({"ROOST_API_KEY": "k1", "OPENAI_API_KEY": "x"}, {"OPENAI_API_KEY": "k1"}):
            found = models(**environ)
            model = found.resolve(f"{server.url}#scripted")
            assert model.name == f"{server.url}#scripted"
            await completed(model)
            await found.close()


async def test_the_base_url_of_openai_is_respected(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    with ProviderServer(key="from-file") as server:
        file.write_text(f'OPENAI_API_KEY="from-file"\nOPENAI_BASE_URL={server.url}/\n')
        found = Models(environ={}, dotenv=file)
        await completed(found.resolve(None))
        await found.close()
        found = Models(environ={"OPENAI_API_KEY": "from-env"}, dotenv=file)
        with pytest.raises(ConfigError, match="export OPENAI_BASE_URL"):
            found.resolve(None)


async def test_the_key_of_openai_goes_to_no_stranger(raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = await raw({"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]})
    monkeypatch.setenv("http_proxy", proxy.removesuffix("/v1"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for environ, sent in (
        ({"OPENAI_API_KEY": "secret"}, None),
        ({"OPENAI_API_KEY": "secret", "OPENAI_BASE_URL": "http://stranger.invalid/v2"}, "secret"),
        ({"ROOST_API_KEY": "mine"}, "mine"),
    ):
        found = models(**environ)
        await completed(found.resolve("http://stranger.invalid/v1#m"))
        head = raw.heads[-1]
        assert f"Authorization: Bearer {sent}" in head if sent else "Authorization" not in head
        await found.close()


@pytest.mark.parametrize(
    ("environ", "file", "name", "refused"),
    [
        ({"OPENAI_API_KEY": "k"}, "OPENAI_BASE_URL=https://evil.example/v1", "openai/m", True),
        ({"ANTHROPIC_API_KEY": "k"}, "ANTHROPIC_BASE_URL=http://api.anthropic.com", "anthropic/m", True),
        ({}, "OPENAI_BASE_URL=https://evil.example/v1\nOPENAI_API_KEY=k", "openai/m", False),
        ({"OPENAI_API_KEY": "k"}, "OPENAI_BASE_URL=https://eu.api.openai.com/v1", "openai/m", False),
        ({"OPENAI_API_KEY": "k"}, "OPENAI_BASE_URL=http://127.0.0.1:9/v1", "openai/m", True),
        ({}, "OPENAI_BASE_URL=http://127.0.0.1:9/v1\nOPENAI_API_KEY=k", "openai/m", False),
        ({}, "OLLAMA_BASE_URL=http://127.0.0.1:9/v1", "vllm/m", False),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://mine.example/v1"}, "", "openai/m", False),
        ({}, "OPENAI_BASE_URL=https://evil.example/v1", "office/m", False),
        ({}, "OLLAMA_BASE_URL=https://evil.example/v1", "ollama/m", True),
        ({"ROOST_API_KEY": "k"}, "ROOST_MODEL=https://evil.example/v1#m", None, True),
        ({}, "ROOST_API_KEY=k\nROOST_MODEL=https://evil.example/v1#m", None, False),
        ({"ROOST_API_KEY": "k", "ROOST_MODEL": "https://mine.example/v1#m"}, "", None, False),
    ],
)
def test_a_file_that_may_be_anybodys_leads_no_key_of_the_users_away(
    environ: dict[str, str], file: str, name: str | None, refused: bool, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(file)
    config = ModelsConfig(
        accounts={
            "office": AccountEntry(base_url="https://office.example/v1", key="env:OFFICE"),
            "ollama": AccountEntry(headers={"X-Key": "secret"}),
        }
    )
    found = Models(environ={"OFFICE": "k", **environ}, dotenv=tmp_path / ".env", config=config)
    if not refused:
        assert found.resolve(name)
        return
    with pytest.raises(ConfigError, match=r"\.env, and the key is not.*export \w+"):
        found.resolve(name)


def test_the_key_of_openai_goes_not_where_such_a_file_says(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=https://evil.example/v1")
    found = Models(environ={"OPENAI_API_KEY": "k"}, dotenv=tmp_path / ".env")
    assert found.endpoint("https://evil.example/v1#m").key is None
    assert "export OPENAI_BASE_URL" in (found.trouble("openai/m") or "")
    with pytest.raises(ConfigError, match="export"):
        found.endpoint("openai")


@pytest.mark.parametrize("environ", [{"OPENAI_API_KEY": "k"}, {"ROOST_API_KEY": "k"}, {}])
def test_a_server_of_this_machine_that_such_a_file_names_gets_no_key(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ROOST_MODEL=http://127.0.0.1:9/v1#m")
    found = Models(environ=environ, dotenv=tmp_path / ".env")
    assert found.endpoint("http://127.0.0.1:9/v1#m").key is None
    named = Models(environ={"ROOST_MODEL": "http://127.0.0.1:9/v1#m", "ROOST_API_KEY": "k"}, dotenv=tmp_path / ".env")
    assert named.endpoint("http://127.0.0.1:9/v1#m").key == "k"


@pytest.mark.parametrize(
    ("file", "name", "told"),
    [
        ("OPENAI_BASE_URL=https://evil.example/v1?x=y\nOPENAI_API_KEY=k", "openai/m", "https://evil.example/v1"),
        ("ROOST_MODEL=http://127.0.0.1:9/v1#m", None, "http://127.0.0.1:9/v1"),
        ("OPENAI_API_KEY=k", "openai/m", None),
    ],
)
def test_that_such_a_file_leads_conversations_elsewhere_is_told(
    file: str, name: str | None, told: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".env").write_text(file)
    found = Models(environ={}, dotenv=tmp_path / ".env")
    found.resolve(name)
    found.resolve(name)
    said = [record.getMessage() for record in caplog.records if record.name == "roost.models"]
    assert said == ([] if told is None else [line for line in said if line.endswith(f"sends conversations to {told}")])
    assert len(said) == (told is not None)


def test_keys_are_hidden_also_where_a_message_was_cut() -> None:
    endpoint = Endpoint(base_url="http://h/v1", key="sk-0123456789", headers={"X-Key": "abcdefghijklm", "A": "plain"})
    assert endpoint.hide("no sk-0123456789, abcdefghijklm") == "no [key], [key]"
    assert endpoint.hide("a plain end: sk-012345678") == "a plain end: [key]"
    assert endpoint.hide("a plain end: abcdefgh") == "a plain end: [key]"
    assert endpoint.hide("it ends with sk-") == "it ends with sk-"


def test_keys_are_in_no_repr() -> None:
    model = models(OPENAI_API_KEY="sk-secret").resolve("openai")
    assert isinstance(model, HttpModel)
    assert "sk-secret" not in repr(model)
    assert "openai" in repr(model)


async def test_close_closes_what_was_made() -> None:
    class Closing(ScriptedModel):
        closed = 0

        async def close(self) -> None:
            self.closed += 1

    found, model = models(ROOST_MODEL="mine"), Closing([])
    found.register("mine", lambda _: model)
    found.resolve(None)
    found.resolve("mine")
    await found.close()
    assert model.closed == 1


def test_names_that_clients_choose_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.providers.accounts._KEPT", 20)
    found = models(OPENAI_API_KEY="k")
    first = found.resolve("openai/m0")
    for number in range(100):
        found.resolve(f"openai/m{number}")
    assert len(found._cache) <= 20
    assert found.resolve("openai/m0") is not first
