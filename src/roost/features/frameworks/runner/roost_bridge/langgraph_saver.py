"""A checkpoint saver of LangGraph whose content is kept in the session's log.

The log gets it when a run has ended, and gives it to the next run. A run that begins once more after a crash has the
content of its beginning, and gets the recorded answers of the model and of tools until it is where it was. So a
rollback takes back the graph's state, a fork has it, and no checkpoint is ahead of the log."""

from __future__ import annotations

import base64
import importlib
from typing import Any

THREAD = "session"
"""The thread of the graph: a session has one."""


def session_saver(kept: list[Any]) -> Any:
    """Return a saver with the content that `kept()` of an earlier one returned."""
    base: Any = importlib.import_module("langgraph.checkpoint.memory").InMemorySaver

    class SessionSaver(base):
        """The newest checkpoint of each thread and namespace outlives the run, with its pending writes."""

        def kept(self, *, newest: bool = True) -> list[Any]:
            """Return the content as JSON. newest: only the newest checkpoint of each thread and namespace."""
            found: list[Any] = []
            for thread, spaces in sorted(self.storage.items()):
                for space, checkpoints in sorted(spaces.items()):
                    for id in sorted(checkpoints)[-1 if newest else 0 :]:
                        found += self._items(thread, space, id, newest)
            return found

        def _items(self, thread: str, space: str, id: str, newest: bool) -> list[Any]:
            checkpoint, metadata, parent = self.storage[thread][space][id]
            versions = self.serde.loads_typed(checkpoint)["channel_versions"]
            blobs = [
                [channel, version, *_text(self.blobs[thread, space, channel, version])]
                for channel, version in sorted(versions.items())
                if (thread, space, channel, version) in self.blobs
            ]
            writes = [
                [task, at, channel, *_text(value), path]
                for (task, at), (_, channel, value, path) in self.writes.get((thread, space, id), {}).items()
            ]
            about = {"thread": thread, "space": space, "id": id, "parent": None if newest else parent}
            made = {"checkpoint": _text(checkpoint), "metadata": _text(metadata)}
            return [{**about, **made, "writes": writes, "blobs": blobs}]

        def load(self, items: list[Any]) -> None:
            """Take in what `kept` returned."""
            one: Any
            for one in items:
                if "checkpoint" not in one:
                    continue  # of a graph that had no checkpointer then
                thread, space, id = one["thread"], one["space"], one["id"]
                self.storage[thread][space][id] = (_typed(one["checkpoint"]), _typed(one["metadata"]), one["parent"])
                for channel, version, *value in one["blobs"]:
                    self.blobs[thread, space, channel, version] = _typed(value)
                for task, at, channel, kind, data, path in one["writes"]:
                    self.writes[thread, space, id][task, at] = (task, channel, _typed([kind, data]), path)

    saver = SessionSaver()
    saver.load(kept)
    return saver


def _text(value: tuple[str, bytes]) -> list[str]:
    return [value[0], base64.b64encode(value[1]).decode()]


def _typed(text: list[str]) -> tuple[str, bytes]:
    return text[0], base64.b64decode(text[1])
