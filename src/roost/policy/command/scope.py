"""Model the shell's state while it reads a line: its folder, its variables, and the expansion of words."""

from __future__ import annotations

import itertools
import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from roost.policy.command.shell_words import GAP, Word, ansi_text, plain_text, raw_text, veiled
from roost.policy.command.work import MOST_READ, Work

if TYPE_CHECKING:
    from tree_sitter import Node

START = "\ufffb"
"""Placeholder at the start of a path for the folder in which the line starts."""
MOST_WORDS = 128
"""Most words that one word expands to; more count as unknown."""
_MOST_VALUES = 24
_LONGEST_VALUE = 8_192
_MOST_BRACES = 64
_LONGEST_BRACES = 16_384
"""Limit of braces × characters of a word."""
_MOST_FOLDERS = 8
_LONGEST_FOLDER = 512
_NUMBERS = frozenset("? # $ ! RANDOM SECONDS LINENO UID EUID PPID BASHPID".split())
_RANGE = re.compile(r"(-?\d{1,9})\.\.(-?\d{1,9})(?:\.\.(-?\d{1,9}))?|([A-Za-z])\.\.([A-Za-z])(?:\.\.(-?\d{1,9}))?")


class _Unit(NamedTuple):
    """A piece of a word. how: one mark for each character: `u` unquoted, `v` unquoted from a variable, `q` quoted."""

    text: str
    how: str


class Scope:
    """Mutable state while a line is read. A variable has all values that any assignment of the line may give it, in any
    order. folders: where the next command may run, relative to the start. work: remaining steps; methods raise
    `TooMuch` when none are left."""

    def __init__(
        self, folders: tuple[str, ...] = ("",), *, root: str = "", wary: bool = False, work: Work | None = None
    ) -> None:
        self.folders = folders
        self.work = work or Work(MOST_READ)
        self._root = re.compile(rf"(?:^|(?<=[=:@,])){re.escape(root)}(?=/|$)") if len(root) > 1 else None
        self.wary = wary
        self.reached: list[str] = []
        self._before: tuple[str, ...] | None = None
        self._pushed: list[tuple[str, ...]] = []
        self._values: dict[str, list[str]] = {}
        self._lost = False

    def assign(self, name: str, values: list[str]) -> None:
        known = self._values.setdefault(name, [])
        values = [value if len(value) <= _LONGEST_VALUE else GAP for value in values]
        known += [value for value in values if value not in known]
        if len(known) > _MOST_VALUES:
            known[:] = [GAP]

    def forget(self, name: str | None = None) -> None:
        """Mark a variable, or all of them, as possibly unknown."""
        if name is None:
            self._lost = True
        else:
            self.assign(name, [GAP])

    def value(self, name: str) -> list[str]:
        if name in _NUMBERS:
            return ["0"]
        known = self._values.get(name, [])
        if self._lost:
            return [*known, GAP]
        if known:
            return known
        if name == "PWD":
            return [START if not folder else absolute(folder) for folder in self.folders]
        return ["~"] if name == "HOME" else [GAP]

    def move(self, words: list[Word], *, sure: bool) -> str | None:
        """Follow a `cd`, `pushd` or `popd` with these words. sure: later commands run only if it succeeds. Returns why
        it is not understood, or None."""
        program, operands = words[0].text.rsplit("/", 1)[-1], _operands(words)
        here = self.folders
        if program == "popd":
            to: tuple[str, ...] = (GAP,) if operands or not self._pushed else self._pushed.pop()
        elif program == "pushd" and (not operands or operands[0].text[:1] in "+-"):
            to = (GAP,)
        else:
            to = self._target(operands, physical=any(word.text == "-P" for word in words[1:2]))
            if program == "pushd":
                self._pushed.append(here)
        if not sure:
            self.reached += [folder for folder in to if folder and GAP not in folder]
        self._before = here
        self.folders = _few((*to, *here) if self.wary and not sure else to)
        if any(GAP in folder for folder in self.folders):
            return f"where {program} leads is known only to the shell"
        return None

    def _target(self, operands: list[Word], *, physical: bool) -> tuple[str, ...]:
        if not operands:
            return ("~",)
        if any(word.globs or not word.known for word in operands):
            return (GAP,)
        if operands[0].text == "-":
            return self._before or (GAP,)
        self.work.spend(len(self.folders) * len(operands))
        # Several operands are values of one variable: a `cd` with several folders fails.
        ways = [posixpath.join(folder, word.text) for folder in self.folders for word in operands]
        return _few(tuple(folder if physical else _normal(folder) for folder in ways))

    def words_of(self, node: Node, *, single: bool = False) -> list[Word]:
        """Return the words that the shell makes of a syntax node, with braces and variables expanded. single: a
        variable with several values makes the result unknown."""
        if node.type == "command_name" and node.children:
            node, single = node.children[0], True
            if node.type == "command_substitution":
                return [Word(GAP)]
        if node.type == "process_substitution":
            return [Word(GAP, stream=True)]
        parts = node.children if node.type == "concatenation" else [node]
        units = [unit for part in parts for unit in self._units(part, quoted=False)]
        if single and any(len(alternatives) > 1 for alternatives in units):
            return [Word(GAP)]
        made: list[Word] = []
        bad = veiled(parts)
        for combined in self._combined(units):
            for text, how in _braced("".join(one.text for one in combined), "".join(one.how for one in combined)):
                words = _split(text, how, bad)
                self.work.spend(1 + len(text) // 512 + len(words) // 2)
                made += [self._here(word) for word in words]
                if len(made) > MOST_WORDS:
                    return [*made[:MOST_WORDS], Word(GAP)]
        return made

    def _here(self, word: Word) -> Word:
        """Rewrite an absolute path below the start folder relative to it."""
        if self._root is None or "/" not in word.text:
            return word
        return msgspec.structs.replace(word, text=self._root.sub(START, word.text))

    def word_of(self, node: Node) -> Word:
        """Return the one word that the shell takes here; unknown if there may be several."""
        found = self.words_of(node)
        if len(found) == 1:
            return found[0]
        return Word(GAP) if found else Word("")

    def text_of(self, node: Node) -> list[str]:
        """Return the possible values of an assignment: no brace expansion, no word splitting."""
        if node.type == "array":
            return [word.text for child in node.named_children for word in self.words_of(child)]
        parts = node.children if node.type == "concatenation" else [node]
        units = [unit for part in parts for unit in self._units(part, quoted=True)]
        found: list[str] = []
        for combined in self._combined(units):
            text = "".join(one.text for one in combined)
            found.append("./" + text if text.startswith("~") and combined[0].how[:1] == "q" else text)
        return found

    def _combined(self, units: list[list[_Unit]]) -> list[tuple[_Unit, ...]]:
        """Return all combinations of one alternative each, with gaps if there are too many."""
        ways = 1
        for place, alternatives in enumerate(units):
            if len(alternatives) > 1:
                ways *= len(alternatives)
                if ways > MOST_WORDS:
                    units[place] = [_Unit(GAP, "v")]
                    ways //= len(alternatives)
        self.work.spend(ways * len(units) // 8)
        return list(itertools.product(*units))

    def _units(self, node: Node, *, quoted: bool) -> list[list[_Unit]]:
        self.work.spend()
        raw = raw_text(node)
        match node.type:
            case "word" | "number" | "variable_name" | "{" | "}" | "brace_expression" | "test_operator" | "regex":
                return [[_unescaped(raw)]]
            case "raw_string":
                return [[_quoted(raw[1:-1])]]
            case "ansi_c_string":
                return [[_quoted(ansi_text(raw))]]
            case "string" | "translated_string":
                return self._string(node)
            case "concatenation" | "command_name":
                return [unit for part in node.children for unit in self._units(part, quoted=quoted)]
            case "simple_expansion" | "expansion":
                how = "q" if quoted else "v"
                values = self._expansion(node)
                self.work.spend(sum(map(len, values)) // 512)
                return [[_valued(value, how) for value in values]]
            case "arithmetic_expansion":
                return [[_quoted("0")]]
            case "command_substitution":
                return [[_valued(value, "q" if quoted else "v") for value in self._printed(node)]]
            case "$":
                return []  # the `$` of $"text"
            case _:
                return [[_Unit(GAP, "v")]]

    def _expansion(self, node: Node) -> list[str]:
        """Return the possible values of `$x`, `${x}`, `${x[@]}` and `${x:-y}`; other forms are unknown."""
        inner = [child for child in node.children if child.type not in ("${", "}", "$")]
        if not inner:
            return [GAP]
        first = inner[0]
        if first.type == "subscript":
            name = first.child_by_field_name("name")
            return self.value(raw_text(name)) if name is not None and len(inner) == 1 else [GAP]
        if first.type not in ("variable_name", "special_variable_name"):
            return [GAP]
        known = self.value(raw_text(first))
        if len(inner) == 1:
            return known
        if inner[1].type in (":-", "-", ":=", "=", ":?", "?") and len(inner) <= 3:
            other = self.text_of(inner[2]) if len(inner) == 3 and inner[1].type not in (":?", "?") else []
            self_known = self._values.get(raw_text(first)) is not None
            return [*known, *other] if self_known or not other else [GAP, *other]
        return [GAP]

    def _printed(self, node: Node) -> list[str]:
        """Return the output of `$(pwd)` or `$(echo x)`; others are unknown."""
        inner = [child for child in node.named_children if child.type != "comment"]
        if len(inner) != 1 or inner[0].type != "command":
            return [GAP]
        words = [word for child in inner[0].children for word in self.words_of(child)]
        if not all(word.known and not word.globs for word in words):
            return [GAP]
        texts = [word.text for word in words]
        if texts == ["pwd"]:
            return self.value("PWD")
        if texts[:1] == ["echo"] and not any(text.startswith("-") or "\\" in text for text in texts[1:]):
            return [" ".join(texts[1:])]
        return [GAP]

    def _string(self, node: Node) -> list[list[_Unit]]:
        """Parse a double-quoted string. Text between expansions keeps its blanks, which the tree omits."""
        source, start = node.text or b"", node.start_byte
        units: list[list[_Unit]] = []
        at = 1 if node.type == "string" else 2
        for part in node.named_children:
            if part.type == "string" and node.type == "translated_string":
                return self._string(part)
            if part.type == "string_content":
                continue
            units.append([_quoted(plain_text(source[at : part.start_byte - start]))])
            units += self._units(part, quoted=True)
            at = part.end_byte - start
        units.append([_quoted(plain_text(source[at:-1]))])
        return units


def absolute(folder: str) -> str:
    """Return a folder in a form that no later `cd` changes."""
    return folder if folder.startswith(("/", "~", START, GAP)) else f"{START}/{folder}"


def from_start(path: str) -> str:
    """Replace the placeholder of the start folder: the path becomes relative to it."""
    if not path.startswith(START):
        return path.replace(START, ".")
    return path[1:].lstrip("/") or "."


def joined(folder: str, path: str) -> str:
    """Return where `path` leads from `folder`."""
    if path.startswith(("/", "~", START)) or not folder:
        return path
    return posixpath.join(folder, path)


def _normal(folder: str) -> str:
    """Normalize a folder like `cd`: `..` removes the name before it, even if that is a link."""
    if folder.startswith("~"):
        return folder if ".." in folder.split("/") else posixpath.normpath(folder)
    if folder.startswith(START):
        folder = from_start(folder)
    normal = posixpath.normpath(folder)
    return "" if normal == "." else normal


def _few(folders: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(GAP if len(folder) > _LONGEST_FOLDER else folder for folder in folders))
    return found if len(found) <= _MOST_FOLDERS else (GAP,)


def merged(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return _few((*one, *other))


def _operands(words: list[Word]) -> list[Word]:
    rest = words[1:]
    while rest and re.fullmatch(r"-[LPe@n]+|--", rest[0].text):
        rest = rest[1:]
    return rest


def _quoted(text: str) -> _Unit:
    return _Unit(text, "q" * len(text))


def _valued(value: str, how: str) -> _Unit:
    """Make a unit of a variable's value: a leading `~` was expanded by the assignment and means a home."""
    return _Unit(value, ("v" + how * (len(value) - 1)) if value.startswith("~") else how * len(value))


def _unescaped(raw: str) -> _Unit:
    if "\\" not in raw:
        return _Unit(raw, "u" * len(raw))
    text, how, at = "", "", 0
    while at < len(raw):
        if raw[at] == "\\":
            if raw[at + 1 : at + 2] not in ("\n", ""):
                text, how = text + raw[at + 1], how + "q"
            at += 2
        else:
            text, how, at = text + raw[at], how + "u", at + 1
    return _Unit(text, how)


def _split(text: str, how: str, bad: bool) -> list[Word]:
    """Split a text at blanks that come from variables."""
    if "v" not in how or not any(char in " \t\n" and mark == "v" for char, mark in zip(text, how, strict=True)):
        return [_word(text, how, bad)] if text or "q" in how or not how else []
    made: list[Word] = []
    begin = 0
    for at in range(len(text) + 1):
        if at == len(text) or (text[at] in " \t\n" and how[at] == "v"):
            if at > begin:
                made.append(_word(text[begin:at], how[begin:at], bad))
            begin = at + 1
    return made


def _word(text: str, how: str, bad: bool) -> Word:
    globs = any(char in "*?[" and mark != "q" for char, mark in zip(text, how, strict=True))
    if text.startswith("~") and how[:1] == "q":
        text = "./" + text
    elif text.startswith(("~+/", "~-/")) or text in ("~+", "~-"):
        text = (START if text[1] == "+" else GAP) + text[2:]
    return Word(text, globs, bad)


def braces(text: str) -> list[str]:
    """Expand `{a,b}` and `{1..3}` in a text."""
    return [one for one, _ in _braced(text, "u" * len(text))]


def _braced(text: str, how: str) -> list[tuple[str, str]]:
    """Expand bash braces in text that is neither quoted nor from a variable."""
    if "{" not in text:
        return [(text, how)]
    opened = sum(char == "{" and mark == "u" for char, mark in zip(text, how, strict=True))
    if opened > _MOST_BRACES or opened * len(text) > _LONGEST_BRACES:
        return [(GAP, "v")]
    made: list[tuple[str, str]] = []
    waiting = [(text, how, 0)]
    steps = 0
    while waiting:
        text, how, since = waiting.pop()
        steps += 1
        if steps > 4 * MOST_WORDS or len(made) > MOST_WORDS:
            return [*made, (GAP, "v")]
        found = _first_brace(text, how, since)
        if found is None:
            made.append((text, how))
            continue
        begin, end, choices = found
        for choice, marks in reversed(choices):
            waiting.append((text[:begin] + choice + text[end:], how[:begin] + marks + how[end:], begin))
    return made


def _first_brace(text: str, how: str, since: int) -> tuple[int, int, list[tuple[str, str]]] | None:
    for begin in range(since, len(text)):
        if text[begin] != "{" or how[begin] != "u" or (begin and text[begin - 1] == "$" and how[begin - 1] == "u"):
            continue
        commas, depth = [begin], 0
        for at in range(begin + 1, len(text)):
            if how[at] != "u":
                continue
            if text[at] == "{":
                depth += 1
            elif text[at] == "}" and depth:
                depth -= 1
            elif text[at] == "," and not depth:
                commas.append(at)
            elif text[at] == "}":
                inner = (text[begin + 1 : at], how[begin + 1 : at])
                if len(commas) > 1:
                    cuts = [*commas, at]
                    choices = [(text[a + 1 : b], how[a + 1 : b]) for a, b in itertools.pairwise(cuts)]
                    return begin, at + 1, choices
                if (counted := _range(*inner)) is not None:
                    return begin, at + 1, counted
                break
        else:
            return None if depth == 0 else _first_brace_inside(text, how, begin)
    return None


def _first_brace_inside(text: str, how: str, begin: int) -> tuple[int, int, list[tuple[str, str]]] | None:
    """Return the first brace inside one that does not close."""
    return _first_brace(text, how, begin + 1) if text.count("{", begin + 1) <= 16 else None


def _range(text: str, how: str) -> list[tuple[str, str]] | None:
    found = _RANGE.fullmatch(text)
    if found is None or how.strip("u"):
        return None
    letters = found[4] is not None
    first, last = (ord(found[4]), ord(found[5])) if letters else (int(found[1]), int(found[2]))
    step = max(1, abs(int(found[6] or found[3] or 1)))
    if abs(last - first) // step > MOST_WORDS:
        return [(GAP, "v")]
    numbers = range(first, last + (1 if last >= first else -1), step if last >= first else -step)
    width = 0 if letters else max((len(one) for one in (found[1], found[2]) if re.match(r"-?0\d", one)), default=0)
    made = [chr(one) if letters else str(one).zfill(width) for one in numbers]
    return [(one, "u" * len(one)) for one in made]
