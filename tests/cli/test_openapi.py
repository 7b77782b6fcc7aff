"""`roost openapi check`."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from roost.features.openapi.commands import openapi
from tests.tools.openapi.api_server import document

PATHS = {
    "/pets": {"get": {"operationId": "list\x1b[31mPets"}, "post": {"operationId": "addPet"}},
    "/other": {"get": {"parameters": [{"$ref": "other.yaml#/P"}]}},
}


def test_a_document_is_shown_with_what_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "pets.json"
    path.write_bytes(document(PATHS, servers=[{"url": "https://pets.example.com"}]))
    found = CliRunner().invoke(openapi, ["check", str(path), "--name", "pets"])
    assert found.exit_code == 0
    assert "pets__list_31mPets" in found.output
    assert "\x1b" not in found.output
    assert "no tool: GET /other: it refers to another document" in found.output
    shown = json.loads(CliRunner().invoke(openapi, ["check", str(path), "-o", "add*", "--json"]).output)
    assert [(one["name"], one["safety"], one["replay"]) for one in shown["tools"]] == [
        ("api__addPet", "safe_write", "never")
    ]


def test_a_document_without_a_server_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "pets.json"
    path.write_bytes(document({"/pets": {"get": {}}}))
    found = CliRunner().invoke(openapi, ["check", str(path)])
    assert "0 tools, 1 part" in found.output
    assert "set `server`" in found.output
    assert (
        CliRunner()
        .invoke(openapi, ["check", str(path), "--server", "https://h/v1"])
        .output.endswith("1 tools, 0 parts of the document that give none\n")
    )
