"""Lists of the Agents API over pages of documents, which end early where the documents are large."""

from __future__ import annotations

from pathlib import Path

from roost.doors.openai_agents.paging import Page, documents
from roost.log.documents import DOCUMENT_BYTES, DocumentQuery, Put
from roost.stores.open import open_store

COUNT = 7


async def test_a_short_page_of_documents_is_not_the_last(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path / "roost.db"))
    try:
        for number in range(COUNT):
            await store.documents.write([Put(kind="large", id=f"d{number}", body=bytes(DOCUMENT_BYTES - 64))])
        first = await store.documents.find(DocumentQuery(kind="large", limit=COUNT + 1))
        assert len(first) < COUNT
        page = Page(after="", limit=COUNT, newest=True, query={})
        found = [one.id async for one in documents(store.documents, "large", page, owner=None)]
        assert found == [f"d{number}" for number in reversed(range(COUNT))]
    finally:
        await store.close()
