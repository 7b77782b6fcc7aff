"""Values are masked in every form in which they usually leave; what audits finds, and what it leaves alone."""

from __future__ import annotations

import base64
import json
import random
import secrets
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.yardstick import reference_seconds

from roost.errors import ConfigError, NotFound
from roost.policy.audit import audit
from roost.policy.vault import SecretSource, Vault

VALUE = 'k9/Zt+7"q=Lm\\2xW8vRt5yUi0'


def forms(value: str) -> dict[str, str]:
    encoded = json.dumps(value)
    found = {
        "plain": value,
        "in text": f"a{value}b",
        "JSON": encoded,
        "JSON in JSON": json.dumps({"x": encoded}),
        "URL": f"https://x.y/?k={quote(value, safe='')}&b",
        "hexadecimal": value.encode().hex(),
    }
    for before in ("", "a", "ab", "user:"):
        whole = (before + value + "\n").encode()
        found[f"base64 after {before!r}"] = base64.b64encode(whole).decode()
        found[f"base64 for URLs after {before!r}"] = base64.urlsafe_b64encode(whole).decode()
    return found


@pytest.mark.parametrize("form", list(forms(VALUE)))
def test_masked_in_every_form(form: str) -> None:
    vault = Vault({"THE_KEY": VALUE, "OTHER": "x" * 12})
    clean = vault.scrub("before " + forms(VALUE)[form] + " after")
    assert "[secret:THE_KEY]" in clean
    assert VALUE not in clean
    assert clean.startswith("before ")
    assert clean.endswith(" after")


def test_masked_wherever_it_stands() -> None:
    values = {f"S{n}": secrets.token_urlsafe(random.Random(n).randint(8, 60)) for n in range(20)}
    vault = Vault(values)
    for name, value in values.items():
        for place in range(0, 90, 7):
            text = "." * place + value + "-" * (100 - place)
            assert value not in vault.scrub(text), (name, place)


def test_nothing_to_mask_is_the_same_text() -> None:
    text = "nothing here " * 10
    assert Vault({}).scrub(text) is text
    assert Vault({"A": VALUE}).scrub(text) is text
    assert Vault({"A": VALUE}).scrub("") == ""


def test_a_large_text_takes_less_than_a_millisecond() -> None:
    vault = Vault({f"S{n}": secrets.token_urlsafe(30) for n in range(20)})
    for text in ("some words of a log, as they come; " * 2000, secrets.token_hex(32 * 1024)):
        text = text[: 64 * 1024]
        assert reference_seconds(lambda text=text: vault.scrub(text), tries=20) < 1e-3


def test_where_values_come_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "key").write_text("from-the-file-1234\n")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / ".env").write_text("FROM_DOTENV=dotenv-value-1234\nSOME_API_KEY=only-masked-abcdef-123456\n")
    sources = {
        "A": SecretSource(source="env:FROM_ENV", hosts=("a.example",)),
        "B": SecretSource(source="env:FROM_DOTENV"),
        "C": SecretSource(source=f"file:{tmp_path / 'key'}"),
        "D": SecretSource(source="env:NOT_SET"),
        "E": SecretSource(source="env:SHORT"),
    }
    vault = Vault.read(sources, {"FROM_ENV": "environment-value", "SHORT": "abc"}, tmp_path / ".env")
    assert vault.names == ("A", "B", "C")
    for place in ("/run/secrets/key-123456789", "postgres://db1.example.org/x1"):
        assert Vault.read({}, {"THE_SECRET": place}, None).scrub(place) == place
    assert vault.value("A") == vault.value("{{secret:A}}") == "environment-value"
    assert vault.value("C") == "from-the-file-1234"
    assert list(vault.for_egress()) == ["A"]
    with pytest.raises(NotFound, match=r"policy\.toml"):
        vault.value("D")
    with pytest.raises(NotFound):
        vault.value("SOME_API_KEY")
    assert vault.scrub("only-masked-abcdef-123456") == "[secret:SOME_API_KEY]"
    assert "NOT_SET" in caplog.text
    assert "at least 8" in caplog.text
    assert "environment-value" not in repr(vault) + repr(vault.for_egress())
    with pytest.raises(ConfigError) as wrong:
        SecretSource(source="the-key-itself")
    assert "the-key-itself" not in wrong.value.message


KEYS = {
    "config.toml": 'key = "sk-ant-' + "api03-" + "aB3" * 12 + '"',
    ".npmrc": "//x/:_authToken=npm_" + "aB3dE6" * 6,
    "settings.json": '{"api_token": "q8Zk2Lm9Xv4Rt7Wp1Nc5"}',
    ".bashrc": "export DB=postgres://app:hunter2hunter2@db/x",
    "agents/a.md": "Use ghp_" + "aB3dE6fG" * 5,
    ".roost/notes.txt": "-----BEGIN OPENSSH PRIVATE KEY-----",
}
FINE = {
    "models.toml": 'key = "env:OPENAI_API_KEY"\nmax_tokens = 16000000000000000000',
    ".editorconfig": "token_path = /usr/share/some/long/path/to/file",
    "other.toml": 'api_key = "your-key-goes-here-12345"\nsecret = "${THE_SECRET_OF_1234567}"\n'
    'key = "sk-xxxxxxxxxxxxxxxxxxxxxxx"',
    "data.json": '{"token_count": "1234567890123456789"}',
}


def test_audit_finds_keys_and_shows_none(tmp_path: Path) -> None:
    for name, text in {**KEYS, **FINE}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"# first line\n{text}\n")
    found = audit(tmp_path / "home", [tmp_path])
    assert sorted(Path(leak.path).relative_to(tmp_path).as_posix() for leak in found) == sorted(KEYS)
    assert {leak.line for leak in found} == {2}
    for leak in found:
        secret = KEYS[Path(leak.path).relative_to(tmp_path).as_posix()][-12:].strip('"}')
        assert secret not in leak.shown + leak.fix + leak.kind


def test_audit_takes_its_time_from_no_file(tmp_path: Path) -> None:
    for number, text in enumerate(
        ("a" * 2_000_000, "key" * 600_000, "eyJ" * 600_000, "key=" * 500_000, "x://" * 400_000)
    ):
        (tmp_path / f".f{number}").write_text(text)
    assert reference_seconds(lambda: audit(tmp_path / "home", [tmp_path]), tries=1) < 5


def test_an_environment_file_may_hold_keys_that_nobody_else_reads(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("OPENAI_API_KEY=sk-proj-" + "aB3dE6fG" * 5 + "\n")
    path.chmod(0o600)
    assert audit(tmp_path / "home", [tmp_path]) == []
    path.chmod(0o644)
    (leak,) = audit(tmp_path / "home", [tmp_path])
    assert leak.fix.startswith("others can read this file: chmod 600")
    path.chmod(0o600)
    for order in (["init", "-q"], ["add", "-f", ".env"]):
        subprocess.run(["git", *order], cwd=tmp_path, check=True)
    (leak,) = audit(tmp_path / "home", [tmp_path])
    assert "git rm --cached" in leak.fix
