"""The slot of a llama.cpp server: its template, its content, and its content as a file."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

_PARK = msgspec.json.encode({"prompt": "x", "n_predict": 0, "cache_prompt": True, "stream": True})


class SlotFailed(Exception):
    """llama.cpp refused an operation on the slot."""


class Slots:
    """Slot 0 of `server`. What the library has no method for goes by HTTP to its own listener. Methods raise
    `SlotFailed`."""

    def __init__(self, server: Any, address: str, key: str) -> None:
        self._server = server
        url = urlsplit(address)
        self._host, self._port = url.hostname or "127.0.0.1", url.port
        self._key = key

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """The messages in the model's own template, open at the end."""
        document = self._post("/apply-template", {"messages": messages, "add_generation_prompt": False})
        return cast("str", document["prompt"])

    def evaluate(self, prompt: str, forward: Callable[[bytes], bool]) -> None:
        """Read `prompt` into the slot. `forward` gets llama.cpp's chunks and says whether to stop."""
        body = {"prompt": prompt, "n_predict": 0, "cache_prompt": True, "stream": True, "return_progress": True}
        self._server.handle_completions(msgspec.json.encode(body), forward)

    def park(self) -> None:
        """Make llama.cpp move the slot's content into its cache in memory, from which it returns by itself. llama.cpp
        does so for a prompt that has nothing in common with the content, such as this one of a single token."""
        self._server.handle_completions(_PARK, _go_on)

    def save(self, filename: str) -> int:
        """Write the slot's content into the folder of states. Returns its tokens."""
        return int(self._post("/slots/0?action=save", {"filename": filename})["n_saved"])

    def restore(self, filename: str) -> int:
        """Replace the slot's content with a file's. Returns its tokens. A damaged file ends the process."""
        return int(self._post("/slots/0?action=restore", {"filename": filename})["n_restored"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=60.0)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            connection.request("POST", path, msgspec.json.encode(body), headers)
            answer = connection.getresponse()
            document = msgspec.json.decode(answer.read(), type=dict[str, Any])
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            raise SlotFailed(f"{path}: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise SlotFailed(f"{path}: {document}")
        return document


def _go_on(_chunk: bytes) -> bool:
    return False
