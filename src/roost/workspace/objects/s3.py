"""Objects in a bucket of anything that speaks S3, by obstore."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from roost.errors import ConfigError
from roost.install import install_extra
from roost.workspace.object_store import ObjectInfo, ObjectMissing, ObjectsFailed

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Store

_DELETED_AT_ONCE = 1000
"""Most keys of one DeleteObjects request of S3."""


class S3Objects:
    def __init__(self, store: S3Store) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str) -> S3Objects:
        """Open `s3://bucket/prefix?endpoint=…&region=…`. The options are obstore's for S3. Raises `ConfigError`."""
        try:
            from obstore.exceptions import BaseError
            from obstore.store import S3Store
        except ImportError as error:
            raise ConfigError(f"a snapshot store on S3 needs obstore: {install_extra('objects')}") from error
        parts = urlsplit(url)
        config: dict[str, Any] = dict(parse_qsl(parts.query))
        if not parts.netloc:
            raise ConfigError(f"{url!r} names no bucket: give s3://bucket/prefix")
        try:
            store = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                client_options=_client(),
                retry_config=_retry(),
                **config,
            )
        except BaseError as error:
            raise ConfigError(f"the snapshot store {url!r}: {_first_line(error)}") from error
        return cls(store)

    def put(self, key: str, data: bytes) -> None:
        import obstore

        with _explained(key):
            obstore.put(self._store, key, data, use_multipart=False)

    def get(self, key: str) -> bytes:
        import obstore

        with _explained(key):
            return obstore.get(self._store, key).bytes().to_bytes()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        import obstore

        with _explained(prefix):
            pages = obstore.list(self._store, prefix or None, chunk_size=1000)  # pyright: ignore[reportUnknownMemberType]
            for page in pages:
                for found in page:
                    yield ObjectInfo(found["path"], found["size"], found["last_modified"].timestamp())

    def delete(self, keys: Iterable[str]) -> None:
        import obstore

        left = iter(keys)
        while batch := list(islice(left, _DELETED_AT_ONCE)):
            with contextlib.suppress(ObjectMissing), _explained(batch[0]):
                obstore.delete(self._store, batch)

    def close(self) -> None:
        return None


def _client() -> ClientConfig:
    """Return client options. Plain HTTP is allowed, as an operator may name such an endpoint of their own."""
    return {"allow_http": True, "timeout": timedelta(seconds=30), "connect_timeout": timedelta(seconds=2)}


def _retry() -> RetryConfig:
    """Return a short retry: the caller of a save has its own patience, and handles the failure."""
    backoff = {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2}
    return {"max_retries": 2, "retry_timeout": timedelta(seconds=5), "backoff": backoff}  # type: ignore[typeddict-item]


@contextlib.contextmanager
def _explained(key: str) -> Generator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        if "NoSuchBucket" in str(error):
            raise ObjectsFailed("the snapshot store's bucket does not exist: make it") from error
        if isinstance(error, FileNotFoundError):
            raise ObjectMissing(f"the snapshot store has no object {key!r}") from error
        raise ObjectsFailed(f"the snapshot store failed at {key!r}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].strip()
