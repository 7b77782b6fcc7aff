"""Files of sessions and of shared folders: find, read, write, put back, and links to them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

from msgspec import Meta

from roost.api.shapes import Answer
from roost.operation import DELETE, GET, POST, PUT, Download

if TYPE_CHECKING:
    from roost.features.files.protocols import FoundFiles, How, IndexStatus

LATER = {
    "FoundFiles": "roost.features.files.protocols",
    "How": "roost.features.files.protocols",
    "IndexStatus": "roost.features.files.protocols",
}
BYTES = "application/octet-stream"
MOST_WRITTEN = 16 * 1024 * 1024
Target: TypeAlias = int | str
_Where = Annotated[str, Meta(min_length=1, max_length=200)]
_Path = Annotated[str, Meta(min_length=1, max_length=4000)]
_Folder = Annotated[str, Meta(max_length=4000)]
_Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,63}$")]
_Limit = Annotated[int, Meta(ge=1, le=1000)]
_Label = Annotated[str, Meta(min_length=1, max_length=200)]


class FileEntry(Answer):
    """`path`: relative to the folder. `size`: bytes of a file. `modified`: seconds since 1970."""

    path: str
    folder: bool
    size: int
    modified: float


class FileEntries(Answer):
    """`next`: the `after` of the next page."""

    files: list[FileEntry]
    next: str | None


class FileChanged(Answer):
    """`input`: the session's order. `done`: it is carried out; else it will be before the session's next turn. `size`:
    bytes of the file; None where it was removed."""

    path: str
    done: bool
    size: int | None = None
    input: int | None = None


class FileDigest(Answer):
    """`digest`: of the content. `size`: bytes."""

    path: str
    size: int
    digest: str


class FileShare(Answer):
    """A link to a copy of a file. `link`: its path on the daemon's address. `source`: the session or the space that the
    file is from. `created`, `expires`: seconds since 1970."""

    id: str
    link: str
    name: str
    path: str
    source: str
    size: int
    digest: str
    created: float
    expires: float


class FileShares(Answer):
    """`next`: the `after` of the next page."""

    shares: list[FileShare]
    next: str | None


class FileSpace(Answer):
    """A folder that is shared under a name. `account`: who may use it besides the home. `here`: this node has the
    folder."""

    name: str
    folder: str
    account: str
    writable: bool
    here: bool


class FileSpaces(Answer):
    spaces: list[FileSpace]


def _done(result: FileChanged, given: Any) -> int:
    return 200 if result.done else 202


class FilesApi(Protocol):
    @GET("/files/search", errors=(403, 404, 409), right="read")
    async def search(
        self,
        where: _Where,
        query: Annotated[str, Meta(min_length=1, max_length=2000)],
        *,
        path: _Folder = "",
        how: How = "hybrid",
        limit: Annotated[int, Meta(ge=1, le=100)] = 10,
    ) -> FoundFiles:
        """Find files by words and by meaning, the best first.

        `where`: a session, or `space:NAME` for a shared folder. `path`: only in this folder. `how`: `words` leaves out
        what only means something like the query.
        """
        ...

    @GET("/files", errors=(403, 404, 409), right="read")
    async def list(self, where: _Where, *, path: _Folder = "", after: _Folder = "", limit: _Limit = 500) -> FileEntries:
        """The entries of one folder, by name."""
        ...

    @GET("/files/content", errors=(403, 404, 409, 413), texts=(BYTES,), shown="str", right="read")
    async def read(self, where: _Where, path: _Path) -> Download[AsyncIterator[bytes]]:
        """One file."""
        ...

    @PUT(
        "/files/content",
        (200, 202),
        status=_done,
        query=("where", "path", "digest"),
        content=BYTES,
        most=MOST_WRITTEN,
        errors=(403, 404, 409, 413),
        right="use",
    )
    async def write(
        self,
        where: _Where,
        path: _Path,
        content: AsyncIterable[bytes],
        *,
        digest: Annotated[str, Meta(max_length=64)] | None = None,
    ) -> FileChanged:
        """Write one file, durably. In a session it is an order, which the session carries out between two turns.

        `digest`: of the content that it replaces (`GET /files/digest`), empty if the file must be new. 202: accepted,
        and still to be done.
        """
        ...

    @GET("/files/digest", errors=(403, 404, 409, 413), right="read")
    async def digest(self, where: _Where, path: _Path) -> FileDigest:
        """The digest of one file, by which a later write notices a change."""
        ...

    @POST(
        "/files/restore",
        (200, 202),
        status=_done,
        body="RestoreBody",
        errors=(403, 404, 409),
        keyed=True,
        adopts="always",
        right="use",
    )
    async def restore(self, session: _Where, path: _Path, to: int | _Label, *, key: str | None = None) -> FileChanged:
        """Put one private file of a session back to what it was; everything else stays as it is.

        `to`: a position of the log or a checkpoint's label (`GET /sessions/{session}/file-history` lists the versions).
        202: accepted, and still to be done.
        """
        ...

    @GET("/files/index", errors=(403, 404, 409), right="read")
    async def index(self, where: _Where) -> IndexStatus:
        """The index of a folder. It is made when it is first asked for."""
        ...

    @POST("/files/index/rebuild", body="RebuildBody", errors=(403, 404, 409), repeatable=True, right="use")
    async def rebuild(self, where: _Where) -> IndexStatus:
        """Remove the index of a folder and make it anew."""
        ...

    @POST("/file-shares", 201, body="ShareBody", errors=(403, 404, 409, 413), keyed=True, right="use")
    async def share(
        self,
        where: _Where,
        path: _Path,
        *,
        seconds: Annotated[float, Meta(ge=1, le=7776000)] = 86400.0,
        key: str | None = None,
    ) -> FileShare:
        """Make a link to a copy of a file.

        Everybody who has the link may download the copy until it expires or is revoked.
        """
        ...

    @GET("/file-shares", right="read")
    async def shares(self, *, after: Annotated[str, Meta(max_length=64)] = "", limit: _Limit = 100) -> FileShares:
        """The links that hold."""
        ...

    @DELETE("/file-shares/{share}", errors=(404,), right="use")
    async def unshare(self, share: str) -> FileShare:
        """Revoke a link. Its copy is deleted."""
        ...

    @PUT("/file-spaces/{name}", body="SpaceBody", errors=(409,), right="administer")
    async def add_space(
        self,
        name: _Name,
        folder: _Path,
        *,
        account: Annotated[str, Meta(max_length=64)] = "",
        writable: bool = False,
    ) -> FileSpace:
        """Share a folder of this machine under a name.

        `account`: may use it besides the home. `writable`: that account may write its files, too.
        """
        ...

    @GET("/file-spaces", right="read")
    async def spaces(self) -> FileSpaces:
        """The shared folders."""
        ...

    @DELETE("/file-spaces/{name}", errors=(404,), right="administer")
    async def remove_space(self, name: str) -> FileSpace:
        """Share a folder no more. Its files stay."""
        ...
