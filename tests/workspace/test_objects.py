"""Object stores: the contract, in a folder and on a real S3 server, and what goes wrong around them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from roost.errors import ConfigError
from roost.testing.objects import ObjectsContract
from roost.workspace.object_store import Objects, ObjectsFailed
from roost.workspace.objects import open_objects
from tests.harness.s3 import S3Server


@pytest.fixture
def objects(store_url: str) -> Objects:
    return open_objects(store_url)


class TestContract(ObjectsContract):
    pass


@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("file:///no/such/folder", "mount it"),
        ("s3://", "s3://bucket"),
        ("s3:///prefix", "s3://bucket"),
        ("s3://bucket?colour=blue", "colour"),
        ("gs://bucket", "file:///"),
        ("file://relative", "file:///"),
        ("/plain/path", "file:///"),
        ("", "file:///"),
    ],
)
def test_an_address_that_is_none_says_what_to_give(url: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_objects(url)
    assert fix in str(caught.value)


def test_prefixes_do_not_see_each_other(s3: S3Server) -> None:
    one, other = open_objects(s3.url("left/a")), open_objects(s3.url("left/ab"))
    one.put("blobs/1/x", b"1")
    assert list(other.list("")) == []
    assert [found.key for found in one.list("")] == ["blobs/1/x"]


def test_credentials_and_endpoint_come_from_the_environment(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    address, _, options = s3.url("environment").partition("?")
    for pair in options.split("&"):
        name, _, value = pair.partition("=")
        monkeypatch.setenv(f"AWS_{'ENDPOINT_URL' if name == 'endpoint' else name.upper()}", value)
    objects = open_objects(address)
    objects.put("blobs/1/x", b"1")
    assert objects.get("blobs/1/x") == b"1"


def test_a_refused_key_is_said_soon(s3: S3Server) -> None:
    objects = open_objects(s3.url("x").replace("secret_access_key=", "secret_access_key=wrong"))
    began = time.monotonic()
    with pytest.raises(ObjectsFailed) as caught:
        objects.put("blobs/1/x", b"1")
    assert "blobs/1/x" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 60


def test_a_server_that_is_down_is_said_soon() -> None:
    objects = open_objects("s3://b/p?endpoint=http://127.0.0.1:9&region=x&access_key_id=k&secret_access_key=s")
    began = time.monotonic()
    for attempt in (lambda: objects.put("a", b""), lambda: objects.get("a"), lambda: list(objects.list(""))):
        with pytest.raises(ObjectsFailed):
            attempt()
    assert time.monotonic() - began < 60


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    objects = open_objects(f"file://{tmp_path}")
    (tmp_path / "blobs").write_text("in the way")
    with pytest.raises(ObjectsFailed):
        objects.put("blobs/1/x", b"1")
    assert [found.key for found in objects.list("tmp/")] == []


def test_a_share_that_is_not_mounted_is_no_empty_store(tmp_path: Path) -> None:
    share, away = tmp_path / "share", tmp_path / "away"
    share.mkdir()
    objects = open_objects(f"file://{share}")
    objects.put("blobs/1/x", b"1")
    share.rename(away)
    share.mkdir()
    for attempt in (lambda: objects.put("a", b""), lambda: objects.get("blobs/1/x"), lambda: list(objects.list(""))):
        with pytest.raises(ObjectsFailed):
            attempt()
    assert list(share.iterdir()) == []
    share.rmdir()
    away.rename(share)
    assert objects.get("blobs/1/x") == b"1"


def test_a_bucket_that_does_not_exist_is_no_empty_store(s3: S3Server) -> None:
    objects = open_objects(s3.url("x").replace(f"s3://{s3.bucket}/", "s3://nobody-made-this/"))
    with pytest.raises(ObjectsFailed) as caught:
        objects.get("blobs/1/x")
    assert "bucket" in str(caught.value)


def test_what_a_crash_cut_off_is_no_object(tmp_path: Path) -> None:
    script = """
import os, sys
from roost.workspace.objects import open_objects
os.rename = lambda *_: os._exit(9)
open_objects(sys.argv[1]).put("blobs/1/x", b"half")
"""
    assert subprocess.run([sys.executable, "-c", script, f"file://{tmp_path}"], check=False).returncode == 9
    objects = open_objects(f"file://{tmp_path}")
    assert list(objects.list("blobs/")) == []
    objects.put("blobs/1/x", b"whole")
    assert objects.get("blobs/1/x") == b"whole"


def test_nothing_is_imported_before_it_is_used() -> None:
    script = "import sys, roost, roost.runtime; sys.exit('obstore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
