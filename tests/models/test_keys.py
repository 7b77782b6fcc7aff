"""References to keys, and that no key is shown."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from roost.errors import ConfigError
from roost.models.lazy_model import LazyModel
from roost.providers import secret_refs
from roost.providers.accounts import Models
from roost.providers.config import AccountEntry, ModelsConfig
from roost.stub.provider import ProviderServer
from roost.testing.models import completed, failed

SECRET = "sk-hunter2-hunter2"


def read(reference: str, **env: str) -> str:
    return secret_refs.read(reference, env, where="the key of 'a'")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("env:NAME", True),
        ("file:~/key", True),
        ("keyring:roost/openai", True),
        ("keyring:my/service/name", True),
        ("keyring:roost", False),
        ("keyring:/x", False),
        ("env:", False),
        ("file: ", False),
        ("", False),
        (SECRET, False),
        ("ENV:NAME", False),
    ],
)
def test_what_is_a_reference(text: str, is_one: bool) -> None:
    assert secret_refs.is_reference(text) is is_one
    if not is_one:
        with pytest.raises(ConfigError) as error:
            read(text)
        assert "hunter2" not in error.value.message


def test_variables_and_files(tmp_path: Path) -> None:
    assert read("env:K", K=f" {SECRET}\n") == SECRET
    for env in ({}, {"K": "  "}):
        with pytest.raises(ConfigError, match="variable K is not set"):
            read("env:K", **env)
    path = tmp_path / "key"
    path.write_text(f"\ufeff{SECRET}\n")
    path.chmod(0o600)
    assert read(f"file:{path}") == SECRET
    for mode in (0o640, 0o604, 0o666):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
            read(f"file:{path}")
    path.chmod(0o600)
    for data in (b"", b"  \n", b"\xff\xfe\x00", b"x" * 100_000):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match="holds no key"):
            read(f"file:{path}")
    for place in (tmp_path / "gone", tmp_path):
        with pytest.raises(ConfigError, match="cannot read"):
            read(f"file:{place}")


@pytest.mark.parametrize("bad", [f"{SECRET}\r\nX-Evil: 1", f"{SECRET}ü", f"{SECRET}\x00"])
def test_a_key_fits_into_a_header(bad: str) -> None:
    with pytest.raises(ConfigError, match="copy it again") as error:
        read("env:K", K=bad)
    assert "hunter2" not in error.value.message


def test_the_keyrings_package_is_asked_for_where_it_is_missing() -> None:
    code = (
        "import sys; sys.modules['keyring'] = None\n"
        "from roost.providers import secret_refs\n"
        "try: secret_refs.read('keyring:a/b', {}, where='here')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ConfigError here:")
    assert "[keyring]'" in done.stdout


@pytest.fixture
def ring() -> Any:
    """The real package with a store of our own behind it; the threads that asked it."""
    keyring = pytest.importorskip("keyring", reason="needs the extra 'keyring'")
    backend = pytest.importorskip("keyring.backend")

    class Store(backend.KeyringBackend):
        priority = 1

        def __init__(self) -> None:
            super().__init__()
            self.kept: dict[tuple[str, str], str] = {}
            self.asked: list[threading.Thread] = []
            self.answers = threading.Event()
            self.answers.set()
            self.locked = False

        def get_password(self, service: str, username: str) -> str | None:
            self.asked.append(threading.current_thread())
            self.answers.wait(60)
            if self.locked:
                raise RuntimeError(f"locked, and {SECRET} is inside")
            return self.kept.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            self.kept[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del self.kept[service, username]

    store, before = Store(), keyring.get_keyring()
    keyring.set_keyring(store)
    yield store
    keyring.set_keyring(before)


def test_the_keyring(ring: Any) -> None:
    ring.set_password("roost/team", "openai", SECRET)
    assert read("keyring:roost/team/openai") == SECRET
    with pytest.raises(ConfigError, match="keyring set roost other"):
        read("keyring:roost/other")
    ring.locked = True
    with pytest.raises(ConfigError, match="unlock it") as error:
        read("keyring:roost/team/openai")
    assert "hunter2" not in error.value.message


async def test_a_slow_keyring_does_not_stop_the_loop(ring: Any) -> None:
    ring.set_password("roost", "stub", SECRET)
    ring.answers.clear()
    with ProviderServer(key=SECRET) as server:
        entry = AccountEntry(base_url=server.url, key="keyring:roost/stub", default="scripted")
        found = Models(environ={}, dotenv=None, config=ModelsConfig(accounts={"a": entry}))
        model = found.resolve("a")
        assert isinstance(model, LazyModel)
        assert (model.name, ring.asked) == ("a/scripted", []), "resolving asks nobody"
        asking = asyncio.gather(completed(model), completed(model))
        while not ring.asked:
            await asyncio.sleep(0.01)
        for _ in range(3):  # the loop goes on while the keyring does not answer
            await asyncio.sleep(0.01)
        assert not asking.done()
        ring.answers.set()
        await asking
        assert len(ring.asked) == 1
        assert ring.asked[0] is not threading.main_thread()
        await found.close()


async def test_a_keyring_that_refuses_fails_the_call_and_is_asked_again(ring: Any) -> None:
    with ProviderServer(key=SECRET) as server:
        entry = AccountEntry(base_url=server.url, key="keyring:roost/stub", default="scripted")
        found = Models(environ={}, dotenv=None, config=ModelsConfig(accounts={"a": entry}))
        model = found.resolve("a")
        error = (await failed(model)).error
        assert error.code == "auth"
        assert "keyring set roost stub" in error.message
        ring.set_password("roost", "stub", SECRET)
        await completed(model)
        await found.close()


async def test_keys_are_shown_nowhere(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "key"
    path.write_text(SECRET)
    path.chmod(0o600)
    with ProviderServer(key="another") as server:
        for reference, env in (("env:K", {"K": SECRET}), (f"file:{path}", {})):
            entry = AccountEntry(base_url=server.url, key=reference, default="scripted")
            found = Models(environ=env, dotenv=None, config=ModelsConfig(accounts={"a": entry}))
            found.register_account("b", AccountEntry(base_url=server.url, default="scripted"), key=SECRET)
            for name in ("a", "b"):
                refused = await failed(found.resolve(name))
                assert refused.error.code == "auth"
                shown = (found, found.resolve(name), found.endpoint(name), found.card(name), found.config, refused)
                assert "hunter2" not in repr(shown)
            await found.close()
    assert "hunter2" not in caplog.text
