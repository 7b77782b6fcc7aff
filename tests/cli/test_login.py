"""Signing in to an account, with a provider on loopback that checks the proof (PKCE) as the real one does."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from roost.cli.login import named_in

from .conftest import Machine

BROWSER = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=60) as page:
    open("seen", "w").write(page.read().decode().partition("<p>")[2].partition("</p>")[0])
"""


class Provider(ThreadingHTTPServer):
    """Gives a key for a code whose verifier fits the challenge, once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.challenges: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        digest = base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        fits = self.server.challenges.pop(sent["code"], None) == digest and sent["code_challenge_method"] == "S256"
        body = json.dumps({"key": "sk-or-signed-in-1234"} if fits else {"error": "wrong"}).encode()
        self.send_response(200 if fits else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """A person says yes at once."""
        asked = parse_qs(urlsplit(self.path).query)
        self.server.challenges["given"] = asked["code_challenge"][0]
        self.send_response(302)
        self.send_header("location", f"{asked['callback_url'][0]}&code=given")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def provider_of_keys() -> Iterator[Provider]:
    with Provider() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def configure(roost: Machine, provider: Provider) -> None:
    url = f"http://127.0.0.1:{provider.server_port}"
    roost.home.mkdir(exist_ok=True)
    (roost.home / "models.toml").write_text(f'[accounts.mine]\nbase_url = "{url}"\nkey = "env:MINE"\n')
    with (roost.home / "models.toml").open("a") as file:
        file.write(f'sign_in = {{ authorize = "{url}/auth", token = "{url}/keys" }}\n')


def begin(roost: Machine):
    """The process, and what its address asks for."""
    process = roost.start("models", "login", "mine", "--no-browser")
    assert process.stderr is not None
    process.stderr.readline()
    return process, parse_qs(urlsplit(process.stderr.readline().strip()).query)


def visit(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_sign_in_and_the_key_is_there(roost: Machine, provider_of_keys: Provider) -> None:
    configure(roost, provider_of_keys)
    process, asked = begin(roost)
    (back,) = asked["callback_url"]
    assert visit(back.replace("state=", "state=not")) == 404
    assert visit(back.partition("?")[0]) == 404
    provider_of_keys.challenges["code-1"] = asked["code_challenge"][0]
    assert visit(f"{back}&code=code-1") == 200
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    kept = roost.home / "keys" / "mine"
    assert kept.read_text() == "sk-or-signed-in-1234\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert f"key = 'file:{kept}'" in out, "an entry of the user's own is left alone"
    assert "signed-in" not in out + err


def test_a_browser_in_the_terminal_reaches_the_callback(roost: Machine, provider_of_keys: Provider) -> None:
    """It stands in the terminal until it is closed, and follows the provider's page back to us meanwhile."""
    configure(roost, provider_of_keys)
    browser = roost.work / "browser"
    browser.write_text(f"#!{sys.executable}\n{BROWSER}")
    browser.chmod(0o755)
    done = roost("models", "login", "mine", env={"BROWSER": f"{browser} %s"}).ok()
    assert (roost.work / "seen").read_text().endswith("Roost is signed in.")
    assert "mine is signed in" in done.out


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("[accounts.mine]\n", True),
        ("[accounts . 'mine']\n", True),
        ("accounts.mine.note = 1\n", True),
        ("accounts = { mine = { note = 1 } }\n", True),
        ("accounts = { other = { note = 1 } }\n", None),
        ("# [accounts.mine]\n", False),
        ('text = "[accounts.mine]"\n', False),
        ("[accounts.mine2]\nnote = 1", False),
        ("", False),
    ],
)
def test_an_own_entry_is_found_however_it_is_written(tmp_path: Path, before: str, told: bool | None) -> None:
    file = tmp_path / "models.toml"
    file.write_text(before)
    key = f"file:{tmp_path / 'keys' / 'mine'}"
    assert named_in(tmp_path, "mine", key) is (told is False)
    if told is False:
        assert tomllib.loads(file.read_text())["accounts"]["mine"] == {"key": key}
        text = file.read_text()
        assert named_in(tmp_path, "mine", key)
        assert file.read_text() == text
    else:
        assert file.read_text() == before


def test_a_code_of_somebody_else_is_refused(roost: Machine, provider_of_keys: Provider) -> None:
    configure(roost, provider_of_keys)
    process, asked = begin(roost)
    provider_of_keys.challenges["code-2"] = "of another verifier"
    assert visit(f"{asked['callback_url'][0]}&code=code-2") == 200
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "gave no key" in err) == (1, True)
    assert not (roost.home / "keys").exists()


def test_a_person_who_says_no(roost: Machine, provider_of_keys: Provider) -> None:
    configure(roost, provider_of_keys)
    process, asked = begin(roost)
    assert visit(f"{asked['callback_url'][0]}&error=access_denied") == 400
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "access_denied" in err) == (1, True)


def test_accounts_without_it_say_where_keys_are_made(roost: Machine) -> None:
    refused = roost("models", "login", "anthropic")
    assert (refused.code, "platform.claude.com" in refused.err) == (1, True)
    assert roost("models", "login", "nobody").code == 1
