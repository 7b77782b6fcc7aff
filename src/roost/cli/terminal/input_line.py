"""The line that a person types in: the editor with its completions, the history and the search in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from roost.cli.terminal.editor import Editor
from roost.cli.terminal.inbox import Worker
from roost.cli.terminal.keys import Key
from roost.cli.terminal.layout import Drawn, editor_rows, offer_rows
from roost.cli.terminal.lines import Line
from roost.cli.terminal.prompt_history import PromptHistory

if TYPE_CHECKING:
    from roost.cli.terminal.completion import Completion, FileNames, Listed

_NEWLINES = ("ctrl-j", "shift-enter", "ctrl-enter")


class InputLine:
    """`commands`: the slash commands. `worker` lists files."""

    def __init__(self, history: Path, folder: Path, worker: Worker, commands: Callable[[], Sequence[Listed]]) -> None:
        self.editor = Editor()
        self.history = PromptHistory(history)
        self._commands = commands
        self._worker = worker
        self.folder = folder
        self._files: FileNames | None = None
        self._reading = False
        self._completion: Completion | None = None
        self._chosen = 0
        self._closed_at: str | None = None
        """The text for which the person closed the completions."""
        self._search: Editor | None = None
        self._match: tuple[int, str] | None = None

    def paste(self, text: str) -> None:
        if self._search is not None:
            self._search.insert(text.replace("\n", " "))
            self._find()
            return
        from roost.cli.terminal.attachments import dropped_file

        dropped = dropped_file(text)
        self.editor.paste(f"@{dropped} " if dropped else text)
        self._changed()

    def sent(self, text: str) -> None:
        """Keep a text that was sent, and begin a new one."""
        self.history.add(text)
        self.editor.clear()
        self._completion = None

    def key(self, key: Key) -> bool:
        """Handle a key. Returns False for one that means something else."""
        if self._search is not None:
            return self._search_key(key)
        if self._completion is not None and self._offer_key(key):
            return True
        if key.name == "text" and not (key.text == "?" and not self.editor.text):
            self.editor.insert(key.text)
        elif key.name in _NEWLINES:
            self.editor.insert("\n")
        elif key.name == "enter" and self.editor.text[: self.editor.at].endswith("\\"):
            self.editor.backspace()
            self.editor.insert("\n")
        elif key.name == "ctrl-r":
            self._search, self._match = Editor(), None
            return True
        elif key.name in ("up", "down", "ctrl-p", "ctrl-n"):
            return self._vertical(key.name)
        elif not self.editor.do(key.name):
            return False
        self._changed()
        return True

    def drawn(self, columns: int, most: int) -> Drawn:
        if self._search is not None:
            text = self._match[1] if self._match else ""
            shown = Editor()
            shown.set(text)
            prompt = f"search: {self._search.text} › "
            found = editor_rows(shown, columns, most, prompt=prompt)
            return Drawn(found.rows, (0, prompt))
        return editor_rows(self.editor, columns, most)

    def offers(self, columns: int, most: int) -> list[Line]:
        if self._completion is None or self._search is not None:
            return []
        return offer_rows(self._completion, self._chosen, columns, most)

    def _vertical(self, name: str) -> bool:
        """Move between lines, at their ends through the history. Returns False where there is nothing more."""
        if name in ("up", "ctrl-p"):
            if name == "up" and self.editor.up():
                return True
            if name == "ctrl-p" or (self.editor.text and not self.history.browsing):
                return name == "up"
            text = self.history.earlier(self.editor.text)
        else:
            if self.editor.down():
                return True
            text = self.history.later()
        if text is None:
            return name == "down" or bool(self.editor.text)
        self.editor.set(text)
        return True

    def _changed(self) -> None:
        """Offer completions for what stands before the cursor."""
        self.history.leave()
        text, at = self.editor.text, self.editor.at
        if text == self._closed_at:
            return
        self._closed_at = None
        self._completion, self._chosen = None, 0
        if not text.startswith("/") and "@" not in text:
            return
        from roost.cli.terminal.completion import commands_for, file_word, files_for

        if text.startswith("/"):
            self._completion = commands_for(text, at, self._commands())
        if self._completion is None and (found := file_word(text, at)) is not None:
            self._completion = files_for(*found, self._file_names())

    def _file_names(self) -> Sequence[str]:
        """Return the names known so far, and list them again in another thread when they are old."""
        from roost.cli.terminal.completion import FileNames

        files = self._files
        if files is None or files.folder != self.folder:
            files = self._files = FileNames(self.folder)
        if not files.fresh and not self._reading:
            self._reading = True

            def take(names: list[str]) -> None:
                self._reading = False
                files.take(names)
                self._changed()

            self._worker.do(files.read, take)
        return files.names

    def _offer_key(self, key: Key) -> bool:
        """Handle a key of the completions. Returns False for one that belongs to the text."""
        assert self._completion is not None
        count = len(self._completion.offers)
        if key.name in ("up", "down"):
            self._chosen = (self._chosen + (1 if key.name == "down" else -1)) % count
        elif key.name == "escape":
            self._completion, self._closed_at = None, self.editor.text
        elif key.name in ("tab", "enter"):
            offer = self._completion.offers[self._chosen]
            typed = self.editor.text[self._completion.begin : self.editor.at]
            if key.name == "enter" and typed == offer.text.rstrip() and not offer.whole:
                self._completion = None  # nothing is left to complete: Enter sends
                return False
            same = typed == offer.text
            self.editor.replace(self._completion.begin, offer.text)
            if key.name == "enter" and offer.whole:
                self._completion = None
                return False
            if same or offer.whole:
                if offer.whole:
                    self.editor.insert(" ")
                self._completion = None
            else:
                self._changed()
        else:
            return False
        return True

    def _search_key(self, key: Key) -> bool:
        assert self._search is not None
        if key.name == "ctrl-r":
            before = self._match[0] if self._match else None
            self._match = self.history.search(self._search.text, before) or self._match
        elif key.name in ("escape", "ctrl-c", "ctrl-g"):
            self._search = None
        elif key.name in ("enter", "tab", "right", "left", "end", "home"):
            if self._match is not None:
                self.editor.set(self._match[1])
            self._search = None
        elif key.name == "text":
            self._search.insert(key.text)
            self._find()
        elif self._search.do(key.name):
            self._find()
        return True

    def _find(self) -> None:
        assert self._search is not None
        self._match = self.history.search(self._search.text) if self._search.text else None
