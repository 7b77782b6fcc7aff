"""What the editor of a connection can do."""

from __future__ import annotations

from dataclasses import dataclass

from roost.acp.shapes import ClientAbilities


@dataclass
class Abilities:
    """reads, writes: files, by its own buffers. terminals: it runs commands. forms, urls: it asks a person for data,
    and to open an address. All false until `initialize`."""

    reads: bool = False
    writes: bool = False
    terminals: bool = False
    forms: bool = False
    urls: bool = False

    def learn(self, said: ClientAbilities | None) -> None:
        """Take what the editor says of itself in `initialize`."""
        said = said or ClientAbilities()
        files, asks = said.fs, said.elicitation
        self.reads = bool(files and files.read_text_file)
        self.writes = bool(files and files.write_text_file)
        self.terminals = bool(said.terminal)
        self.forms = asks is not None and asks.form is not None
        self.urls = asks is not None and asks.url is not None
