"""Secrets of the store are sealed: with which key, and what opens them again."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from roost.errors import ConfigError, Conflict
from roost.policy.sealing import FILE, VARIABLE, Sealing, SealingKeyMissing


class Settings:
    """The settings of a store, which all of its nodes see."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def setting(self, name: str, value: str | None = None, *, replace: bool = False) -> str | None:
        if value is not None:
            self.values.setdefault(name, value)
        return self.values.get(name)


def sealing(settings: Settings, home: Path, *, own: bool = True, key: str = "") -> Sealing:
    home.mkdir(exist_ok=True)
    return Sealing(settings, home, own_store=lambda: own, environ={VARIABLE: key})  # pyright: ignore[reportArgumentType]


async def test_the_key_of_a_home_is_a_file_that_only_its_user_reads(tmp_path: Path) -> None:
    settings, home = Settings(), tmp_path / "home"
    sealed = await sealing(settings, home).seal(b"a secret", "one")
    assert "secret" not in sealed
    assert not settings.values, "the database has no key"
    assert stat.S_IMODE((home / FILE).stat().st_mode) == 0o600
    assert await sealing(settings, home).open(sealed, "one") == b"a secret"
    assert await sealing(settings, home).seal(b"a secret", "one") != sealed
    with pytest.raises(SealingKeyMissing, match=VARIABLE):
        await sealing(settings, tmp_path / "other").open(sealed, "one")


async def test_nodes_of_a_shared_store_have_one_key(tmp_path: Path) -> None:
    settings = Settings()
    one, two = (sealing(settings, tmp_path / name, own=False) for name in ("one", "two"))
    first, second = await one.seal(b"a", "x"), await two.seal(b"b", "x")
    assert (await two.open(first, "x"), await one.open(second, "x")) == (b"a", b"b")
    assert not (tmp_path / "one" / FILE).exists()


async def test_a_key_from_outside_and_its_rotation(tmp_path: Path) -> None:
    settings, old, new = Settings(), "o" * 32, "n" * 32
    file = tmp_path / "key"
    file.write_text(old)
    file.chmod(0o600)
    sealed = await sealing(settings, tmp_path / "home", key=f"file:{file}").seal(b"a", "x")
    assert not settings.values
    both = sealing(settings, tmp_path / "home", key=f"{new} file:{file}")
    assert await both.open(sealed, "x") == b"a"
    renewed = await both.seal(b"a", "x")
    only = sealing(settings, tmp_path / "home", key=new)
    assert await only.open(renewed, "x") == b"a"
    with pytest.raises(SealingKeyMissing):
        await only.open(sealed, "x")
    with pytest.raises(ConfigError, match="32 characters"):
        await sealing(settings, tmp_path / "home", key="short").seal(b"a", "x")


async def test_what_was_sealed_before_the_store_moved_still_opens(tmp_path: Path) -> None:
    settings, home = Settings(), tmp_path / "home"
    sealed = await sealing(settings, home).seal(b"a", "x")
    moved = sealing(settings, home, own=False)
    assert await moved.open(sealed, "x") == b"a"
    again = await moved.seal(b"b", "x")
    assert await sealing(settings, tmp_path / "other", own=False).open(again, "x") == b"b"


async def test_a_secret_opens_under_its_own_name_alone(tmp_path: Path) -> None:
    box = sealing(Settings(), tmp_path / "home")
    sealed = await box.seal(b"a", "alice")
    form, id, data = sealed.split(".")
    middle = len(data) // 2
    other = "A" if data[middle] != "A" else "B"
    damaged = f"{form}.{id}.{data[:middle]}{other}{data[middle + 1 :]}"
    for text, name in ((sealed, "bob"), (damaged, "alice"), (f"{form}.{id}.", "alice"), (f"2.{id}.{data}", "alice")):
        with pytest.raises(Conflict) as error:
            await box.open(text, name)
        assert error.value.code == "sealed_damaged"
    for text in ("", "x", "1.2.3"):
        with pytest.raises(SealingKeyMissing):
            await box.open(text, "alice")


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"\xff" * 40])
async def test_a_file_that_holds_no_key_seals_nothing(content: bytes, tmp_path: Path) -> None:
    """A full disk or a copy that failed leaves such files. What the key of an empty file seals, everybody opens."""
    home = tmp_path / "home"
    sealed = await sealing(Settings(), home).seal(b"a secret", "one")
    (home / FILE).write_bytes(content)
    for attempt in (sealing(Settings(), home).seal(b"b", "two"), sealing(Settings(), home).open(sealed, "one")):
        with pytest.raises(ConfigError, match=FILE):
            await attempt
    assert (home / FILE).read_bytes() == content
