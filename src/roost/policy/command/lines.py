"""From the text of a command line to its simple commands, wherever in it they stand."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from roost.policy.command.words import GAP, Word, word_of

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

LONGEST = 64 * 1024
"""Bytes of a command line that is looked at; a longer one is not understood."""
_DEEPEST = 200
_PIPED = 100
_SUBSCRIPT = re.compile(rb"(?<!\w)[A-Za-z_]\w*\\?\[[^\[\]\n]*?(?:\$\(|`)")
_CODE = re.compile(rb"'[^']*(?:\$\(|`)|\\(?:\$\(|`)")
_WORDS = frozenset(
    [
        "word",
        "string",
        "raw_string",
        "ansi_c_string",
        "translated_string",
        "concatenation",
        "number",
        "simple_expansion",
        "expansion",
        "command_substitution",
        "process_substitution",
        "arithmetic_expansion",
        "brace_expression",
        "variable_name",
        "regex",
    ]
)


class Redirect(msgspec.Struct, frozen=True):
    """`operator` as written (`>`, `>>`, `<`, `>&` ...); `target` is a file or the number of a descriptor."""

    operator: str
    target: Word

    @property
    def writes(self) -> bool:
        return ">" in self.operator and not (self.operator.endswith("&") and self.target.text.strip("-").isdigit())


class Simple(msgspec.Struct):
    """One simple command: its words, what is assigned for it, where its streams go. `feeds` are those whose output
    it reads through pipes, the nearest last; `stdin` the text of a here-document or -string. `inner` are the
    commands of the substitutions in its words. `background`: the shell does not wait for it."""

    words: tuple[Word, ...]
    assigns: dict[str, Word] = {}
    redirects: list[Redirect] = []
    feeds: tuple[Simple, ...] = ()
    stdin: Word | None = None
    inner: tuple[Simple, ...] = ()
    background: bool = False


class Line(msgspec.Struct):
    """All simple commands of a text, in order, those of substitutions and functions among them. `unclear` says what in
    it cannot be understood, `functions` which names it defines."""

    commands: list[Simple] = []
    unclear: list[str] = []
    functions: set[str] = set()
    redirects: list[Redirect] = []


@lru_cache(maxsize=1)
def _parser() -> Parser:
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


def read(text: str) -> Line:
    """Raises nothing: what is no shell syntax is told in `unclear`."""
    line = Line()
    source = text.encode(errors="replace")
    if len(source) > LONGEST:
        line.unclear.append(f"it has {len(source)} bytes; at most {LONGEST} are looked at")
        return line
    if "\0" in text:
        line.unclear.append("it holds a zero byte")
        return line
    root = _parser().parse(source).root_node
    _Reader(line).walk(root, 0, ())
    _subscripts(source, root, line)
    if root.has_error and not line.unclear:
        line.unclear.append("it is not complete shell syntax")
    return line


def _subscripts(source: bytes, root: Node, line: Line) -> None:
    """Bash runs `$(x)` in the brackets of a name that it evaluates later, also where quotes kept it from that first."""
    if b"@P}" in source:
        line.unclear.append("the value of a variable is run as a prompt")
    for found in _SUBSCRIPT.finditer(source):
        node = root.descendant_for_byte_range(found.end() - 1, found.end())
        if node is None or node.type in ("raw_string", "ansi_c_string", "string_content", "string", "word", "ERROR"):
            line.unclear.append("what stands in brackets behind a name may be run")
            return


class _Reader:
    def __init__(self, line: Line) -> None:
        self._line = line

    def walk(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        """The commands of `node`, in order; those of its own level are returned, as what may feed a pipe."""
        if depth > _DEEPEST:
            self._line.unclear.append("it is nested too deeply")
            return []
        match node.type:
            case "ERROR":
                shown = (node.text or b"").decode(errors="replace")[:40]
                self._line.unclear.append(f"the syntax of {shown!r} is not understood")
                return self._all(node, depth, feeds)
            case "command":
                return [self._command(node, depth, feeds)]
            case "declaration_command" | "unset_command" | "test_command":
                return [self._builtin(node, depth, feeds)]
            case "variable_assignment":
                return [self._assignment(node, depth, feeds)]
            case "pipeline":
                return self._pipeline(node, depth, feeds)
            case "redirected_statement":
                return self._redirected(node, depth, feeds)
            case "for_statement":
                if (name := node.child_by_field_name("variable")) is not None:
                    text = (name.text or b"").decode(errors="replace")
                    self._line.commands.append(Simple((), {text: Word(GAP)}))
                return self._all(node, depth, feeds)
            case "function_definition":
                if (name := node.child_by_field_name("name")) is not None:
                    self._line.functions.add((name.text or b"").decode(errors="replace"))
                self._all(node, depth, ())
                return []
            case _:
                return self._all(node, depth, feeds)

    def _all(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        found: list[Simple] = []
        for place, child in enumerate(node.children):
            if child.is_missing:
                self._line.unclear.append(f"a {child.type!r} is missing")
            here = self.walk(child, depth + 1, feeds) if child.is_named or child.type == "ERROR" else []
            following = node.children[place + 1] if place + 1 < len(node.children) else None
            if following is not None and following.type == "&":
                for command in here:
                    command.background = True
            found += here
        return found

    def _pipeline(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        found: list[Simple] = []
        parts = [child for child in node.children if child.is_named or child.type == "ERROR"]
        if len(parts) > _PIPED:
            self._line.unclear.append(f"a pipeline of {len(parts)} commands; at most {_PIPED} are looked at")
            return found
        for child in parts:
            found += self.walk(child, depth + 1, (*feeds, *found))
        return found

    def _command(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> Simple:
        command = Simple((), {}, [], feeds)
        words: list[Word] = []
        inner: list[Simple] = []
        for child in node.children:
            if child.type == "variable_assignment":
                self._assign(command, child)
                inner += self._all(child, depth, ())
            elif child.type.endswith("_redirect"):
                inner += self._redirect(command, child, depth)
            elif child.type == "command_name" or child.type in _WORDS:
                words.append(word_of(child.children[0] if child.type == "command_name" and child.children else child))
                inner += self._all(child, depth, ())
            elif child.type == "ERROR":
                self.walk(child, depth + 1, ())
            elif child.is_named:
                words.append(Word(GAP))
                inner += self._all(child, depth, ())
        command.words, command.inner = tuple(words), tuple(inner)
        self._line.commands.append(command)
        return command

    def _builtin(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> Simple:
        """`export`, `declare`, `unset`, `[[`: they are commands whose words the tree names otherwise."""
        first = node.children[0].type if node.children else node.type
        command = Simple((Word(first),), {}, [], feeds)
        if _CODE.search(node.text or b""):
            self._line.unclear.append(f"{first} may run what stands in its words")
        for child in node.children:
            if child.type == "variable_assignment":
                self._assign(command, child)
        command.inner = tuple(self._all(node, depth, ()))
        command.inner = tuple(inner for inner in command.inner if inner.words)
        self._line.commands.append(command)
        return command

    def _assignment(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> Simple:
        command = Simple((), {}, [], feeds)
        self._assign(command, node)
        command.inner = tuple(self._all(node, depth, ()))
        self._line.commands.append(command)
        return command

    def _assign(self, command: Simple, node: Node) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is not None:
            text = (name.text or b"").decode(errors="replace")
            command.assigns[text] = word_of(value) if value is not None else Word("")

    def _redirected(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        holder = Simple(())
        later: list[Node] = []
        found: list[Simple] = []
        for child in node.children:
            if child.type.endswith("_redirect"):
                later.append(child)
            elif child.is_named or child.type == "ERROR":
                found += self.walk(child, depth + 1, feeds)
        for child in later:
            self._redirect(holder, child, depth)
            if child.type == "heredoc_redirect":
                found += self._after_heredoc(child, depth, tuple(found), holder)
        self._line.redirects += holder.redirects
        for command in found[:1] if len(found) == 1 else found:
            command.redirects = [*command.redirects, *holder.redirects]
            command.stdin = command.stdin or (holder.stdin if not command.feeds else None)
        return found

    def _after_heredoc(self, node: Node, depth: int, before: tuple[Simple, ...], holder: Simple) -> list[Simple]:
        """What stands behind `<<END` on its line: the rest of a pipe, or what follows `&&`."""
        found: list[Simple] = []
        for command in before:
            command.stdin = command.stdin or holder.stdin
        for child in node.named_children:
            if child.type not in ("heredoc_start", "heredoc_body", "heredoc_end", "file_descriptor"):
                if child.type in ("file_redirect", "herestring_redirect"):
                    self._redirect(holder, child, depth)
                else:
                    found += self.walk(child, depth + 1, (*before, *found))
        return found

    def _redirect(self, command: Simple, node: Node, depth: int) -> list[Simple]:
        if node.type == "heredoc_redirect":
            body = next((child for child in node.children if child.type == "heredoc_body"), None)
            if body is not None:
                command.stdin = _heredoc(node, body)
                return self._all(body, depth, ())
            return []
        operator = next((child.type for child in node.children if not child.is_named), ">")
        named = [child for child in node.named_children if child.type != "file_descriptor"]
        target = word_of(named[0]) if named else Word(GAP)
        if node.type == "herestring_redirect":
            command.stdin = target
        else:
            command.redirects.append(Redirect(operator, target))
        for extra in named[1:]:  # `> file word`: the tree takes the words behind the file for its own
            command.words = (*command.words, word_of(extra))
        return self._all(node, depth, ())


def _heredoc(node: Node, body: Node) -> Word:
    start = next((child for child in node.children if child.type == "heredoc_start"), None)
    quoted = start is not None and (start.text or b"")[:1] in (b"'", b'"', b"\\")
    text = (body.text or b"").decode(errors="replace")
    expands = not quoted and any(child.is_named for child in body.children if child.type != "heredoc_content")
    return Word(text + GAP if expands else text)
