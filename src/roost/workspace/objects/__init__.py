"""Object stores by address: a shared folder, or anything that speaks S3."""

from __future__ import annotations

from roost.errors import ConfigError
from roost.workspace.object_store import Objects


def open_objects(url: str) -> Objects:
    """Open the object store at an address, without connecting: `file:///folder`, a folder that all nodes share, or
    `s3://bucket/prefix`, anything that speaks S3. The usual `AWS_*` variables hold credentials, region and endpoint;
    `?endpoint=http://host:port&region=name` has precedence. Raises `ConfigError`."""
    scheme, _, rest = url.partition("://")
    if scheme == "file" and rest.startswith("/"):
        from roost.workspace.objects.folder import FolderObjects

        return FolderObjects.open(rest)
    if scheme == "s3" and rest:
        from roost.workspace.objects.s3 import S3Objects

        return S3Objects.open(url)
    raise ConfigError(f"{url!r} is no snapshot store: give file:///shared/folder or s3://bucket/prefix")
