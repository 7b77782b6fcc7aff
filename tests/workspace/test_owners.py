"""Which user of the host a workspace belongs to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from roost.errors import SandboxError
from roost.sandbox.base import User
from roost.workspace.owners import Owners, find_owners, give_tree, user_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

RANGE = (2100000000, 2100000999)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "registry"


def folder(place: Path) -> Path:
    place.mkdir(mode=0o700, parents=True)
    return place


def test_each_workspace_has_one_of_its_own_that_lasts(tmp_path: Path, registry: Path) -> None:
    places = [folder(tmp_path / f"home{number % 2}" / f"s{number}") for number in range(60)]
    daemons = [Owners(RANGE, registry), Owners(RANGE, registry)]
    given = [daemons[number % 2].claim(place) for number, place in enumerate(places)]
    assert len({user.uid for user in given}) == len(places)
    assert [os.stat(place).st_uid for place in places] == [user.uid for user in given]
    assert [Owners(RANGE, registry).claim(place) for place in places] == given


def test_without_its_registry_the_folder_still_says_it(tmp_path: Path, registry: Path) -> None:
    place = folder(tmp_path / "s")
    first = Owners(RANGE, registry).claim(place)
    shutil.rmtree(registry)
    assert Owners(RANGE, registry).claim(place) == first


def test_a_moved_home_keeps_its_users_and_a_copied_one_gets_others(tmp_path: Path, registry: Path) -> None:
    place = folder(tmp_path / "home" / "s")
    first = Owners(RANGE, registry).claim(place)
    (tmp_path / "home").rename(tmp_path / "moved")
    assert Owners(RANGE, registry).claim(tmp_path / "moved" / "s") == first
    copied = folder(tmp_path / "copied" / "s")
    (copied / "file").touch()
    for each in (copied, copied / "file"):
        os.chown(each, *first)
    second = Owners(RANGE, registry).claim(copied)
    assert second != first
    assert os.stat(copied / "file").st_uid == second.uid


def test_while_files_are_put_back_the_user_stays(tmp_path: Path, registry: Path) -> None:
    place, owners = folder(tmp_path / "s"), Owners(RANGE, registry)
    first = owners.claim(place)
    place.rename(tmp_path / "old")
    for number in range(30):
        assert owners.claim(folder(tmp_path / f"other{number}")) != first
    folder(place)
    (place / "file").touch()
    owners.settle(place)
    assert os.stat(place / "file").st_uid == os.stat(place).st_uid == first.uid


def test_numbers_of_workspaces_that_are_gone_are_given_out_again(tmp_path: Path, registry: Path) -> None:
    owners = Owners((RANGE[0], RANGE[0] + 2), registry)
    one, two, three = (folder(tmp_path / name) for name in ("one", "two", "three"))
    first = owners.claim(one)
    owners.claim(two)
    with pytest.raises(SandboxError, match=r"no user is free for the workspace .*sandbox\.users"):
        owners.claim(three)
    one.rmdir()
    owners.release(one)
    assert owners.claim(three) == first


def test_a_tree_is_given_away_without_what_may_be_anybody_s(tmp_path: Path) -> None:
    place, user = folder(tmp_path / "s"), User(RANGE[0], RANGE[0])
    outside = folder(tmp_path / "outside")
    for name in ("shadow", "target"):
        (outside / name).touch()
    deep = folder(place / "a" / "b")
    (deep / "file").touch()
    (deep / "setuid").touch()
    (deep / "setuid").chmod(0o4755)
    (place / "link").symlink_to(outside / "target")
    (place / "way").symlink_to(outside)
    os.link(outside / "shadow", place / "stolen")
    os.link(deep / "file", place / "again")
    os.mkfifo(place / "pipe")
    give_tree(place, user)
    mine = ("", "a", "a/b", "a/b/file", "a/b/setuid", "link", "way", "again", "pipe")
    assert {os.lstat(place / name).st_uid for name in mine} == {user.uid}
    assert os.stat(deep / "setuid").st_mode & 0o7777 == 0o755
    assert {os.stat(outside / name).st_uid for name in ("", "shadow", "target")} == {0}
    assert os.stat(place / "stolen").st_uid == 0


def test_a_folder_that_was_given_belongs_to_its_owner(tmp_path: Path) -> None:
    place = folder(tmp_path / "project")
    assert user_of(place) is None
    os.chown(place, 1, 2)
    found = user_of(place)
    assert found is not None
    assert found.uid == 1
    assert found.gid != 0
    os.chown(place, 65534, 65534)
    assert user_of(place) is None
    assert user_of(tmp_path / "none") is None


def test_what_stands_in_the_way_is_said(tmp_path: Path, registry: Path) -> None:
    assert find_owners(tmp_path / "home", False, registry).why == "policy.toml says so (sandbox.users)"
    found = find_owners(tmp_path / "home", RANGE, registry)
    assert found.why is None
    assert found.owners is not None
    assert os.listdir(tmp_path / "home") == []
    assert os.listdir(registry) == []
    closed = tmp_path / "file"
    closed.touch()
    assert "Not a directory" in (find_owners(tmp_path / "home", RANGE, closed / "x").why or "")
