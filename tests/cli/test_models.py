"""`roost models`: what is known, what it costs, and whether it works."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.stub.provider import ProviderServer

from .conftest import Machine

KEYS = {"GOOD_KEY": "good-key-123", "WRONG_KEY": "sk-hunter2-hunter2"}


class Odd:
    """Answers every connection with the same bytes; none: takes it and says nothing."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._kept: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self._answer:
                self._kept.append(connection)
                continue
            connection.recv(65536)
            connection.sendall(self._answer)
            connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._kept:
            connection.close()


def answer(status: str, body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


@pytest.fixture
def odd() -> Iterator[dict[str, Odd]]:
    servers = {
        "page": Odd(answer("200 OK", b"<html>Sign in</html>", "text/html")),
        "hangs": Odd(b""),
        "poor": Odd(answer("402 Payment Required", b'{"error": {"message": "Insufficient Balance"}}')),
        "broken": Odd(answer("500 Oops", b'{"detail": "no luck"}')),
        "moved": Odd(answer("307 Temporary Redirect\r\nLocation: https://elsewhere.office/", b"")),
        "noise": Odd(b"220 mail.office ESMTP\r\n"),
    }
    yield servers
    for server in servers.values():
        server.close()


@pytest.fixture
def keyed() -> Iterator[ProviderServer]:
    with ProviderServer(key=KEYS["GOOD_KEY"]) as server:
        yield server


def configure(roost: Machine, **accounts: str) -> None:
    roost.home.mkdir(exist_ok=True)
    text = "".join(f"[accounts.{name}]\n{fields}\n" for name, fields in accounts.items())
    (roost.home / "models.toml").write_text(text)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_the_list_shows_what_can_be_used_here_and_filters(roost: Machine) -> None:
    del roost.env["OPENAI_BASE_URL"]
    here = roost("models").ok()
    assert "local/qwen2.5-coder-1.5b" in here.out
    assert "anthropic/" not in here.out
    assert "--all" in here.err
    named = roost("models", "claude-opus-5-5").ok()
    assert "set ANTHROPIC_API_KEY" in named.out
    assert "$20" in named.out
    keyed = roost("models", env={"GROQ_API_KEY": "k"}).ok().out.splitlines()
    assert [line for line in keyed if line.startswith("groq/") and line.endswith("yes")]
    rows = roost("models", "--all", "--can", "video", "--window", "1m", "--max-price", "4", "--json").ok().json
    assert {row["account"] for row in rows} >= {"google", "minimax"}
    assert all("video" in row["can"] and row["window"] >= 1_000_000 for row in rows)
    assert all(row["price"]["output"] * (row["price"]["rate"] or 1) <= 4 for row in rows)
    assert roost("models", "--account", "glm-cn", "--json").ok().json[0]["price"]["currency"] == "CNY"
    assert roost("models", "--json", "nobody-knows-this").ok().json == []
    assert "no known model" in roost("models", "nobody-knows-this").ok().err


@pytest.mark.parametrize(
    "words", [("--account", "nobody"), ("--window", "big"), ("--can", "fly"), ("check", "nobody"), ("check", "local")]
)
def test_a_wrong_word_is_a_usage_error(roost: Machine, words: tuple[str, ...]) -> None:
    assert roost("models", *words).code == 2


def test_show(roost: Machine) -> None:
    del roost.env["OPENAI_BASE_URL"]
    shown = roost("models", "show", "openai/gpt-6.1-sol").ok().out
    assert "from 272,001 tokens on: $4 in" in shown
    assert "effort (low|medium|high|max)" in shown
    assert "set OPENAI_API_KEY" in shown
    unknown = roost("models", "show", "openai/gpt-nobody-knows").ok().out
    assert "price       unknown" in unknown
    assert "does not know it" in unknown
    assert roost("models", "show", "local", "--json").ok().json["price"]["output"] == 0
    roost.env["OPENAI_BASE_URL"] = "https://gate.office/v1"
    assert "https://gate.office/v1" in roost("models", "show", "openai").ok().out
    roost.env |= {"OPENAI_BASE_URL": "https://me:hunter2@gate.office/v1", "OPENAI_API_KEY": "k"}
    secret = roost("models", "show", "openai").ok().out
    assert ("hunter2" in secret, "OPENAI_BASE_URL holds a user" in secret) == (False, True)
    wrong = roost("models", "show", "nobody/x")
    assert (wrong.code, wrong.out) == (1, "")
    assert "no account 'nobody'" in wrong.err


def test_models_toml_counts_and_its_errors_are_told(roost: Machine) -> None:
    configure(roost, office='base_url = "https://llm.office/v1"\nkey = "env:OFFICE_KEY"')
    file = roost.home / "models.toml"
    file.write_text(file.read_text() + '[models."office/big"]\nwindow = 77000\nprice = { input = 1.5, output = 3 }\n')
    shown = roost("models", "show", "office/big", "--json").ok().json
    assert (shown["window"], shown["price"]["input"], shown["source"]) == (77000, 1.5, "config")
    assert "office/big" in roost("models", env={"OFFICE_KEY": "k"}).ok().out
    file.write_text('[accounts.office]\nbase_url = "https://llm.office/v1"\nkey = "sk-hunter2-hunter2"\n')
    for words in (("models",), ("doctor",), ("run", "hello")):
        done = roost(*words)
        assert done.code == 1, words
        assert "models.toml:3: accounts.office.key" in done.err + done.out
        assert "hunter2" not in done.err + done.out


def test_check_asks_them_all_at_once_and_says_why_not(
    roost: Machine, keyed: ProviderServer, odd: dict[str, Odd]
) -> None:
    configure(
        roost,
        good=f'base_url = "{keyed.url}"\nkey = "env:GOOD_KEY"\ndefault = "scripted"',
        wrong=f'base_url = "{keyed.url}"\nkey = "env:WRONG_KEY"',
        unset=f'base_url = "{keyed.url}"\nkey = "env:NOT_SET"',
        other=f'base_url = "{keyed.url}"\nkey = "env:GOOD_KEY"\ndefault = "elsewhere"',
        closed=f'base_url = "http://127.0.0.1:{closed_port()}/v1"',
        unlisted=f'base_url = "{keyed.url}/below"\nkey = "env:GOOD_KEY"',
        **{name: f'base_url = "{server.url}"' for name, server in odd.items()},
    )
    del roost.env["OPENAI_BASE_URL"]
    done = roost("models", "check", "--json", "--timeout", "2", env=KEYS).ok()
    found = {row["account"]: row for row in done.json}
    assert {name: row["state"] for name, row in found.items()} == {
        "good": "ok",
        "wrong": "bad_key",
        "unset": "no_key",
        "other": "no_model",
        "closed": "no_route",
        "unlisted": "ok",
        "page": "not_an_api",
        "hangs": "no_answer",
        "poor": "no_credit",
        "broken": "failed",
        "moved": "not_an_api",
        "noise": "not_an_api",
    }
    assert "set NOT_SET" in found["unset"]["fix"]
    assert "scripted" in found["other"]["fix"]
    assert "Insufficient Balance" in found["poor"]["detail"]
    assert "no luck" in found["broken"]["detail"]
    assert all(row["seconds"] < 20 for row in found.values()), "one that hangs holds nobody up"
    said = roost("models", "check", "wrong", "good", env=KEYS)
    assert said.code == 1
    assert "fail wrong" in said.out
    assert "ok   good" in said.out
    assert "hunter2" not in said.out + said.err + done.out + done.err
    assert roost("models", "check", "good", env=KEYS).code == 0


def test_check_without_a_key_names_the_variable(roost: Machine) -> None:
    del roost.env["OPENAI_BASE_URL"]
    none = roost("models", "check")
    assert (none.code, none.out) == (0, "")
    assert "OPENAI_API_KEY" in none.err
    named = roost("models", "check", "anthropic", "glm")
    assert named.code == 1
    assert "set ANTHROPIC_API_KEY" in named.out
    assert "set ZAI_API_KEY" in named.out


def test_check_speaks_each_providers_own_way(roost: Machine, keyed: ProviderServer, tmp_path: Path) -> None:
    key, bare = KEYS["GOOD_KEY"], keyed.url.removesuffix("/v1")
    roost.env |= {
        "OPENAI_API_KEY": key,
        "OPENAI_BASE_URL": keyed.url,
        "ANTHROPIC_API_KEY": key,
        "ANTHROPIC_BASE_URL": bare,
        "GEMINI_API_KEY": key,
        "GOOGLE_GEMINI_BASE_URL": bare,
        "ROOST_MODEL": "",
    }
    names = ("openai", "openai-responses", "anthropic", "google")
    found = {row["account"]: row for row in roost("models", "check", *names, "--json").ok().json}
    assert {row["state"] for row in found.values()} == {"ok"}
    assert {row["models"] for row in found.values()} == {1}
    roost.env["GEMINI_API_KEY"] = roost.env["ANTHROPIC_API_KEY"] = "sk-hunter2-hunter2"
    refused = roost("models", "check", "anthropic", "google")
    assert refused.out.count("the key is refused") == 2
    assert "hunter2" not in refused.out
