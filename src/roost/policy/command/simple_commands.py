"""Parse a command line into its simple commands, at any depth."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from roost.policy.command.scope import Scope, merged
from roost.policy.command.shell_words import GAP, Word, raw_text
from roost.policy.command.tables import READERS, WRITERS
from roost.policy.command.work import MOST_NODES, MOST_PARSED, MOST_READ, TOO_MUCH, TooMuch, Work
from roost.policy.command.wrappers import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tree_sitter import Node, Parser, Point, Tree

LONGEST = 64 * 1024
"""Bytes of a command line that is analysed; a longer one is not understood."""
_DEEPEST = 200
_PIPED = 100
_PIPES = re.compile(rb"^(?![ \t]*\|).*\|", re.MULTILINE)
_MOST_PIPES = 800
_MOST_ARRAYS = 200
_MOST_EXPANSIONS = 2_000
"""Limits on pipes, `x=(` and `${`: if the syntax breaks off after them, parse time grows with the square of their
number. Rows of a table (`| a | b |`), as documents have them, do not count."""
_SHORT = 2_048
"""Bytes that the parser reads quickly, whatever they are."""
_MOST_COMMANDS = 1_000
_BLANKS = re.compile(r"[\v\f]|\r(?!\n)")
_COMPARES = re.compile(rb"\s-(?:eq|ne|lt|le|gt|ge)\s")
_NAME = re.compile(rb"[A-Za-z_]\w*")
_VALUED = frozenset({"variable_name", "simple_expansion", "expansion", "command_substitution"})
_NUMBER = re.compile(r"-?[0-9]*")
_CALLED = 64
"""Most calls of the line's own functions that are followed."""
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
    """operator: as written (`>`, `>>`, `<`, `>&` ...). target: a file or a descriptor number."""

    operator: str
    target: Word

    @property
    def writes(self) -> bool:
        return ">" in self.operator and not (self.operator.endswith("&") and self.target.text.strip("-").isdigit())


class Simple(msgspec.Struct):
    """One simple command: its words, assignments and redirections. feeds: commands whose output it reads through pipes,
    nearest last. stdin: text of a here-document or here-string. inner: commands of the substitutions in its words.
    background: the shell does not wait for it. folders: where it may run, relative to the start. start, end: its
    position in the text, in bytes."""

    words: tuple[Word, ...]
    assigns: dict[str, Word] = {}
    redirects: list[Redirect] = []
    feeds: tuple[Simple, ...] = ()
    stdin: Word | None = None
    inner: tuple[Simple, ...] = ()
    background: bool = False
    folders: tuple[str, ...] = ("",)
    start: int = 0
    end: int = 0


class Line(msgspec.Struct):
    """All simple commands of a text, in order, with those in substitutions and functions. unclear: what cannot be
    understood. functions: names that it defines. reached: folders that a `cd` must have reached for the result to
    hold."""

    commands: list[Simple] = []
    unclear: list[str] = []
    evaluates: bool = False
    """True if an unknown value is evaluated as arithmetic, which runs `$(x)` in a subscript."""

    functions: set[str] = set()
    reached: list[str] = []


@lru_cache(maxsize=1)
def _parser() -> Parser:
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


def read(
    text: str, folders: tuple[str, ...] = ("",), *, root: str = "", wary: bool = False, work: Work | None = None
) -> Line:
    """Read a text that starts in one of `folders`, relative to `root`. wary: a `cd` may also fail in a line that
    continues regardless. work: budget of steps. Raises nothing: invalid syntax and an exceeded budget are noted in
    `unclear`."""
    line = Line()
    source = text.encode(errors="replace")
    if len(source) > LONGEST:
        line.unclear.append(f"it has {len(source)} bytes; at most {LONGEST} are looked at")
        return line
    if "\0" in text:
        line.unclear.append("it holds a zero byte")
        return line
    if _BLANKS.search(text):
        line.unclear.append("it holds control characters that the shell does not take for blanks")
    parsed = _parsed(source)
    if parsed is None or parsed.root_node.descendant_count > MOST_NODES:
        line.unclear.append(TOO_MUCH)
        return line
    tree = parsed.root_node
    scope = Scope(folders, root=root, wary=wary, work=work or Work(MOST_READ))
    try:
        _Reader(line, scope).walk(tree, 0, ())
        calculates = any(sign in source for sign in (b"((", b"[[", b"$[", b"${"))
        line.evaluates = calculates and any(_unknown(node, scope) for node in _arithmetic(tree))
    except TooMuch:
        line.unclear.append(TOO_MUCH)
        line.evaluates = True
    line.reached = scope.reached
    _subscripts(source, tree, line)
    if tree.has_error and not line.unclear:
        line.unclear.append("it is not complete shell syntax")
    return line


@lru_cache(maxsize=2)
def _parsed(source: bytes) -> Tree | None:
    """Parse a text; None if the parser would take too long."""
    pipes = sum(found[0].count(b"|") for found in _PIPES.finditer(source))
    nested = source.count(b"=(") > _MOST_ARRAYS or source.count(b"${") > _MOST_EXPANSIONS
    if pipes > _MOST_PIPES or nested:
        return None
    if len(source) > _SHORT and not _soon_parsed(source):
        return None
    return _parser().parse(source)


def _soon_parsed(source: bytes) -> bool:
    """Whether the parser is fast enough. Parses once only to count steps: the parser reports them only for input read
    in pieces, and nodes of such a tree return their text slowly."""
    parser, left = _parser(), MOST_PARSED

    def piece(at: int, _: Point | None) -> bytes:
        return source[at : at + 8_192]

    def stops(_: int, __: bool) -> bool:
        nonlocal left
        left -= 1
        return left <= 0

    try:
        parser.parse(piece, progress_callback=stops)
    except ValueError:
        parser.reset()  # else the next parse would continue this one
        return False
    return True


def _subscripts(source: bytes, root: Node, line: Line) -> None:
    """Note subscripts that bash may run: it evaluates `$(x)` in the brackets of a name later, even if quoted at
    first."""
    if b"@P}" in source:
        line.unclear.append("the value of a variable is run as a prompt")
    for found in _SUBSCRIPT.finditer(source):
        node = root.descendant_for_byte_range(found.end() - 1, found.end())
        if node is None or node.type in ("raw_string", "ansi_c_string", "string_content", "string", "word", "ERROR"):
            line.unclear.append("what stands in brackets behind a name may be run")
            return


def _arithmetic(root: Node) -> Iterator[Node]:
    """Yield names and substitutions whose values the shell evaluates as arithmetic."""
    waiting: list[tuple[Node, bool]] = [(root, False)]
    while waiting:
        node, counts = waiting.pop()
        if counts and (node.type in _VALUED or (node.type == "word" and _NAME.fullmatch(node.text or b""))):
            yield node
            continue
        first = node.children[0].type if node.children else ""
        if node.type == "test_command" and first == "[[":
            counts = _COMPARES.search(node.text or b"") is not None
        elif node.type == "do_group":
            counts = False
        counts = counts or node.type in ("arithmetic_expansion", "c_style_for_statement") or first == "(("
        cut = node.type == "expansion" and any(child.type == ":" for child in node.children)
        within = counts or cut
        waiting += [
            (child, within and not (cut and at <= 1) if node.type != "subscript" else child.type != "variable_name")
            for at, child in enumerate(node.children)
        ]


def _unknown(node: Node, scope: Scope) -> bool:
    named = node.type in ("variable_name", "word")
    values = scope.value(raw_text(node)) if named else scope.text_of(node)
    return not all(_NUMBER.fullmatch(value) for value in values)


_Walk: TypeAlias = "Callable[[Node, int, tuple[Simple, ...]], list[Simple]]"


class _Reader:
    def __init__(self, line: Line, scope: Scope) -> None:
        self._line = line
        self._scope = scope
        self._sure = False
        """Whether later commands run only if the current one succeeds."""
        self._bodies: dict[str, Node] = {}
        self._calling: list[str] = []
        self._calls = 0
        self._loops = 0
        self._full = False
        self._walks: dict[str, _Walk] = {
            "command": self._command,
            "declaration_command": self._builtin,
            "unset_command": self._builtin,
            "test_command": self._builtin,
            "variable_assignment": self._assignment,
            "pipeline": self._pipe,
            "subshell": self._shell,
            "command_substitution": self._shell,
            "process_substitution": self._shell,
            "redirected_statement": self._redirected,
            "list": self._list,
            "if_statement": self._maybe,
            "case_statement": self._maybe,
            "while_statement": self._loop,
            "c_style_for_statement": self._loop,
            "for_statement": self._for,
            "function_definition": self._function,
            "file_redirect": self._file,
        }

    def walk(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        """Read the commands of `node`, in order. Returns those of its own level, which may feed a pipe."""
        if depth > _DEEPEST:
            self._line.unclear.append("it is nested too deeply")
            return []
        if len(self._line.commands) > _MOST_COMMANDS:
            self._line.unclear += [] if self._full else [f"it has more than {_MOST_COMMANDS} commands"]
            self._full = True
            return []
        if node.type == "ERROR":
            self._line.unclear.append(f"the syntax of {raw_text(node)[:40]!r} is not understood")
        return self._walks.get(node.type, self._all)(node, depth, feeds)

    def _shell(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        return self._apart(self._all, node, depth, feeds)

    def _pipe(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        return self._apart(self._pipeline, node, depth, feeds)

    def _for(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        self._each(node)
        return self._loop(node, depth, feeds)

    def _file(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        """Read `$(< file)` as the output of the file."""
        lone = Simple((Word("cat"),), {}, [], (), folders=self._scope.folders)
        self._redirect(lone, node, depth)
        self._line.commands.append(lone)
        return [lone]

    def _function(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        if (name := node.child_by_field_name("name")) is not None:
            self._line.functions.add(raw_text(name))
            self._bodies[raw_text(name)] = node
        self._apart(self._all, node, depth, ())
        return []

    def _apart(self, work: _Walk, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        """Read a part that runs in its own shell: its `cd` affects no other."""
        before, sure = self._scope.folders, self._sure
        self._sure = False
        found = work(node, depth, feeds)
        self._scope.folders, self._sure = before, sure
        return found

    def _maybe(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        before = self._scope.folders
        found = self._all(node, depth, feeds)
        self._scope.folders = merged(self._scope.folders, before)
        return found

    def _loop(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        """Read a loop, and once more if its `cd` leads away from where it started; further movement is unclear."""
        before = self._scope.folders
        self._loops += 1
        found = self._all(node, depth, feeds)
        for last in (False, True):
            if set(self._scope.folders) <= set(before):
                break
            if last or self._loops > 2:
                self._line.unclear.append("where the loop leads is known only to the shell")
                break
            self._scope.folders = before = merged(self._scope.folders, before)
            found += self._all(node, depth, feeds)
        self._loops -= 1
        self._scope.folders = merged(self._scope.folders, before)
        return found

    def _each(self, node: Node) -> None:
        """Assign the values of the variable of a `for`."""
        if (name := node.child_by_field_name("variable")) is None:
            return
        values: list[str] = []
        listed = False
        for child in node.children:
            listed = listed or child.type == "in"
            if child.type == "do_group":
                break
            if listed and child.is_named:
                values += [word.text for word in self._scope.words_of(child)]
        self._scope.assign(raw_text(name), values if listed else [GAP])
        self._line.commands.append(Simple((), {raw_text(name): Word(GAP)}))

    def _list(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        """Read `a && b` and `a || b`."""
        if len(node.children) != 3:
            return self._all(node, depth, feeds)
        left, sign, right = node.children
        before, sure = self._scope.folders, self._sure
        ends = re.match(rb"(?:exit|return|break|continue)\b", right.text or b"") is not None
        self._sure = sign.type == "&&" or ends
        found = self.walk(left, depth + 1, feeds)
        self._sure = sure
        reached = self._scope.folders
        if sign.type == "||":
            self._scope.folders = before if left.type == "command" else merged(before, reached)
            began = self._scope.folders
            found += self.walk(right, depth + 1, feeds)
            moved = self._scope.folders != began
            self._scope.folders = merged(reached, self._scope.folders) if moved else reached
            return found
        return found + self.walk(right, depth + 1, feeds)

    def _all(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        found: list[Simple] = []
        for place, child in enumerate(node.children):
            if child.is_missing:
                self._line.unclear.append(f"a {child.type!r} is missing")
            if not child.is_named and child.type != "ERROR":
                continue
            following = node.children[place + 1] if place + 1 < len(node.children) else None
            if following is not None and following.type == "&":
                here = self._apart(self.walk, child, depth + 1, feeds)
                for command in here:
                    command.background = True
            else:
                here = self.walk(child, depth + 1, feeds)
            found += here
        return found

    def _pipeline(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        found: list[Simple] = []
        parts = [child for child in node.children if child.is_named or child.type == "ERROR"]
        if len(parts) > _PIPED:
            self._line.unclear.append(f"a pipeline of {len(parts)} commands; at most {_PIPED} are looked at")
            return found
        for child in parts:
            found += self._apart(self.walk, child, depth + 1, (*feeds, *found))
        return found

    def _command(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        command = self._simple((), node, feeds)
        words: list[Word] = []
        inner: list[Simple] = []
        for child in node.children:
            if child.type == "variable_assignment":
                self._assign(command, child)
                inner += self._all(child, depth, ())
            elif child.type.endswith("_redirect"):
                inner += self._redirect(command, child, depth)
            elif child.type == "command_name" or child.type in _WORDS:
                words += self._scope.words_of(child, single=_orders(words))
                inner += self._all(child, depth, ())
            elif child.type == "ERROR":
                self.walk(child, depth + 1, ())
            elif child.is_named:
                words.append(Word(GAP))
                inner += self._all(child, depth, ())
        command.words, command.inner = (*words, *command.words), tuple(inner)
        self._line.commands.append(command)
        self._follow(words, depth)
        return [command]

    def _simple(self, words: tuple[Word, ...], node: Node, feeds: tuple[Simple, ...]) -> Simple:
        self._scope.work.spend(4 + sum(2 + len(feed.words) // 8 for feed in feeds) // 4)
        folders = self._scope.folders
        return Simple(words, {}, [], feeds, folders=folders, start=node.start_byte, end=node.end_byte)

    def _follow(self, words: list[Word], depth: int) -> None:
        """Apply the effects of a command on later ones: the folder, variables."""
        while words and words[0].text in ("builtin", "command") and len(words) > 1:
            words = words[1:]
        if not words:
            return
        name, rest = words[0].text, [word.text for word in words[1:]]
        if name in ("cd", "pushd", "popd"):
            if (unclear := self._scope.move(words, sure=self._sure)) is not None:
                self._line.unclear.append(unclear)
        elif name in ("eval", "source", "."):
            self._scope.forget()
            if name == "eval" and any(re.search(r"\b(?:cd|pushd|popd)\b", text) for text in rest):
                self._scope.folders = (GAP,)
        elif name in ("read", "mapfile", "readarray", "getopts", "printf", "let", "unset", "wait"):
            for text in rest if name != "printf" or "-v" in rest else []:
                self._scope.forget(re.split(r"[\[=+\-*/]", text)[0])
            self._scope.forget("REPLY")
        elif name in self._bodies:
            self._call(name, depth)

    def _call(self, name: str, depth: int) -> None:
        """Read the body of a function again, for the folder in which it is called."""
        self._calls += 1
        if name in self._calling or self._calls > _CALLED:
            self._scope.folders = (GAP,) if self._calls > _CALLED else self._scope.folders
            return
        self._calling.append(name)
        self._all(self._bodies[name], depth + 1, ())
        self._calling.pop()

    def _builtin(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        """Read `export`, `declare`, `unset`, `[[`: commands whose words have other names in the tree."""
        first = node.children[0].type if node.children else node.type
        command = self._simple((Word(first),), node, feeds)
        raw = raw_text(node)
        if _CODE.search(node.text or b""):
            self._line.unclear.append(f"{first} may run what stands in its words")
        for child in node.children:
            if child.type == "variable_assignment":
                self._assign(command, child)
                if re.search(r"\s-[A-Za-z]*[nliuc]", raw) and (name := child.child_by_field_name("name")) is not None:
                    self._scope.forget(raw_text(name))  # the option changes the value, or it is a name
            elif first == "unset" and child.type in ("variable_name", "word"):
                self._scope.forget(raw_text(child))
        command.inner = tuple(self._all(node, depth, ()))
        command.inner = tuple(inner for inner in command.inner if inner.words)
        self._line.commands.append(command)
        return [command]

    def _assignment(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        command = self._simple((), node, feeds)
        self._assign(command, node)
        command.inner = tuple(self._all(node, depth, ()))
        self._line.commands.append(command)
        return [command]

    def _assign(self, command: Simple, node: Node) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None:
            return
        values = self._scope.text_of(value) if value is not None else [""]
        command.assigns[raw_text(name)] = Word(values[0]) if len(values) == 1 else Word(GAP)
        adds = any(child.type == "+=" for child in node.children)
        target = name.child_by_field_name("name") if name.type == "subscript" else name
        if target is not None:
            self._scope.assign(
                raw_text(target), [GAP] if adds and value is not None and value.type != "array" else values
            )

    def _redirected(self, node: Node, depth: int, feeds: tuple[Simple, ...]) -> list[Simple]:
        holder = Simple((), folders=self._scope.folders)
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
        body = next((child.type for child in node.children if child.is_named), "")
        if body not in ("command", "list") and holder.redirects:
            self._line.commands.append(holder)
        self._scope.work.spend(len(holder.redirects) * (1 if body == "list" else len(found)))
        for command in found[-1:] if body == "list" else found:  # in `a && b > c` it belongs to the last one
            command.redirects = [*command.redirects, *holder.redirects]
            command.stdin = command.stdin or (holder.stdin if not command.feeds else None)
        return found

    def _after_heredoc(self, node: Node, depth: int, before: tuple[Simple, ...], holder: Simple) -> list[Simple]:
        """Read the text after `<<END` on its line: the rest of a pipe, or the commands after `&&`."""
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
        target = self._scope.word_of(named[0]) if named else Word(GAP)
        if node.type == "herestring_redirect":
            command.stdin = target
        else:
            command.redirects.append(Redirect(operator, target))
        for extra in named[1:]:  # `> file word`: the tree attaches later words to the redirection
            command.words = (*command.words, *self._scope.words_of(extra))
        return self._all(node, depth, ())


def _orders(words: list[Word]) -> bool:
    """Whether the next word selects a program's action, rather than its object."""
    if len(words) != 1:
        return False
    name = name_of(words[0])
    return name not in READERS and name not in WRITERS and name not in ("cd", "pushd", "rm", "for")


def _heredoc(node: Node, body: Node) -> Word:
    start = next((child for child in node.children if child.type == "heredoc_start"), None)
    quoted = start is not None and (start.text or b"")[:1] in (b"'", b'"', b"\\")
    text = (body.text or b"").decode(errors="replace")
    expands = not quoted and any(child.is_named for child in body.children if child.type != "heredoc_content")
    return Word(text + GAP if expands else text)
