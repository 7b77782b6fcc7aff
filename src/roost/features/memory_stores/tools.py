"""`list_memories`, `read_memory`, `write_memory`, `delete_memory`: use the memory stores of a session."""

from __future__ import annotations

from typing import Annotated

from roost.features.memory_stores.mounts import CallStores
from roost.tools.base import ToolContext
from roost.tools.function import tool

_LISTED = 500
_Store = Annotated[str, "The name of the memory store."]
_Path = Annotated[str, "The path of the memory, as in /notes/today.md."]


@tool(replay="safe", safety="read_only", inside=True, files=False)
async def list_memories(context: ToolContext, store: _Store) -> str:
    """List the memories of a memory store: their paths and sizes."""
    found = [(one.path, one.size) for one in await _stores(context).entries(store)]
    more = f"\n… and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return "\n".join(f"{path} ({size} bytes)" for path, size in found[:_LISTED]) + more or "it is empty"


@tool(replay="safe", safety="read_only", inside=True, files=False)
async def read_memory(context: ToolContext, store: _Store, path: _Path) -> str:
    """Read a memory of a memory store."""
    return await _stores(context).read(store, path)


@tool(replay="safe", safety="safe_write", inside=True, files=False)
async def write_memory(
    context: ToolContext, store: _Store, path: _Path, content: Annotated[str, "The whole text of the memory."]
) -> str:
    """Write a memory into a memory store, in place of what it said before. Other sessions read it, too."""
    await _stores(context).write(store, path, content)
    return f"written: {path}"


@tool(replay="safe", safety="safe_write", inside=True, files=False)
async def delete_memory(context: ToolContext, store: _Store, path: _Path) -> str:
    """Delete a memory of a memory store."""
    return f"deleted: {path}" if await _stores(context).delete(store, path) else f"there was none at {path}"


def _stores(context: ToolContext) -> CallStores:
    return context.port(CallStores, "this session has mounted no memory store")
