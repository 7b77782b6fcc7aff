"""Pages of lists: `after`, `limit` and `order`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs

from starlette.types import Scope

from roost.errors import Invalid
from roost.log.documents import Document, DocumentQuery, Documents, find_all

T = TypeVar("T")


class Page(NamedTuple):
    """What a client asks for. after: the id of the last resource that it has; empty for none."""

    after: str
    limit: int
    newest: bool
    query: Mapping[str, list[str]]

    @classmethod
    def of(cls, scope: Scope, *, most: int = 100, usual: int = 20) -> Page:
        """Read the query of a request. Raises `Invalid`."""
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        limit, order = query.get("limit", [str(usual)])[0], query.get("order", ["desc"])[0]
        if not (limit.isascii() and limit.isdigit() and len(limit) < 9 and 1 <= int(limit) <= most):
            raise Invalid(f"limit: between 1 and {most}, not {limit[:20]!r}")
        if order not in ("asc", "desc"):
            raise Invalid(f"order: asc or desc, not {order[:20]!r}")
        after = query.get("after", [""])[0]
        if len(after) > 256 or "\0" in after:
            raise Invalid("after: name a resource of this list")
        return cls(after, int(limit), order == "desc", query)

    def one(self, name: str) -> str | None:
        """Return a parameter of the query."""
        return self.query.get(name, [None])[0]

    @property
    def metadata(self) -> dict[str, str]:
        """The pairs `metadata[key]=value`. Raises `Invalid`."""
        found = {
            name[9:-1]: values[0]
            for name, values in self.query.items()
            if name.startswith("metadata[") and name.endswith("]")
        }
        if len(found) > 16:
            raise Invalid("metadata: at most 16 pairs")
        return found


def listed(data: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """Return a page as clients read it."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }


async def documents(
    store: Documents, kind: str, page: Page, *, owner: str | None, key: tuple[str, str] | None = None
) -> AsyncIterator[Document]:
    """Yield documents behind the page's `after`, in its order, without end of a page."""
    limit = page.limit + 1
    query = DocumentQuery(kind=kind, owner=owner, key=key, after=page.after, newest=page.newest, limit=limit)
    async for one in find_all(store, query):
        yield one


async def page_of(
    found: AsyncIterator[T], page: Page, show: Callable[[T], Awaitable[dict[str, Any] | None]]
) -> dict[str, Any]:
    """Return a page of what `show` makes of each; None leaves one out."""
    data: list[dict[str, Any]] = []
    async for one in found:
        shown = await show(one)
        if shown is None:
            continue
        if len(data) == page.limit:
            return listed(data, more=True)
        data.append(shown)
    return listed(data, more=False)
