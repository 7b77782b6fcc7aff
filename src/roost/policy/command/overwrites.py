"""Find files that a program overwrites or changes in place, by its operands and options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from roost.policy.command.findings import Acts
from roost.policy.command.shell_words import GAP

_OPTIONS: dict[str, str] = {
    "sort": "-o --output", "shuf": "-o --output", "tree": "-o", "iconv": "-o --output", "xmllint": "-o --output",
    "curl": "-o --output -D --dump-header -c --cookie-jar --trace --trace-ascii --stderr",
    "wget": "-O --output-document -o --output-file --save-cookies", "openssl": "-out -keyout", "pg_dump": "-f --file",
    "find": "-fprint -fprint0 -fprintf -fls", "time": "-o --output", "strace": "-o --output", "ltrace": "-o --output",
    "git": "--output", "jq": "-o", "pandoc": "-o --output", "base64": "-o", "less": "-o -O --log-file",
}  # fmt: skip
"""Options whose value is a file that the program overwrites."""
_LAST = frozenset("uniq xxd objcopy cpp ffmpeg convert magick scp rsync".split())
"""Programs that write their last operand if there is more than one."""
_TAKES: dict[str, frozenset[str]] = {
    "split": frozenset("-l -b -n -a -C --lines --bytes --number --suffix-length --line-bytes".split()),
    "csplit": frozenset("-f -n -b --prefix --digits --suffix-format".split()),
    "uniq": frozenset("-f -s -w --skip-fields --skip-chars --check-chars".split()),
    "xxd": frozenset("-c -g -l -s -o -n -cols -len -seek".split()),
    "rsync": frozenset("-e -f --rsh --filter --exclude --include --files-from".split()),
    "scp": frozenset("-c -F -i -J -l -o -P -S".split()),
}
"""Options whose next word is no operand."""
_FIRST = frozenset("sponge script".split())
_IN_PLACE: dict[str, re.Pattern[str]] = {
    "sed": re.compile(r"-[nErsuz]*i.*|--in-place(?:=.*)?"),
    "gsed": re.compile(r"-[nErsuz]*i.*|--in-place(?:=.*)?"),
    "perl": re.compile(r"-[a-zA-Z0-9]*i.*"),
    "ruby": re.compile(r"-[a-zA-Z0-9]*i.*"),
    "yq": re.compile(r"-i|--inplace"),
    "awk": re.compile(r"inplace"),
    "gawk": re.compile(r"inplace"),
}
_CHANGERS = frozenset("dos2unix unix2dos zip ar rar".split())
_COPIERS = frozenset("cp mv install ln".split())
_UNPACKS = re.compile(r"-?[A-Za-z]*x[A-Za-z]*|--extract|--get")
_KEEPS = frozenset("-k --keep-old-files --skip-old-files -t --list -O --to-stdout --to-command".split())


def overwritten(act: Acts) -> Iterator[str]:
    """Yield files that are overwritten, so that their content is lost."""
    name, operands = act.name, _operands(act)
    yield from _values(act, frozenset(_OPTIONS.get(name, "").split()))
    if name in _LAST and len(operands) > 1:
        yield operands[-1] if name not in ("scp", "rsync") or ":" not in operands[-1] else ""
    elif name in _FIRST:
        yield from operands[:1]
    elif name in _COPIERS:
        yield from _copied(act, operands)
    elif name in ("split", "csplit"):
        default = "x" if name == "split" else "xx"
        given = [*_values(act, frozenset({"-f", "--prefix"})), *(operands[1:2] if name == "split" else [])]
        yield from (f"{prefix}*" for prefix in given or [default])
    elif name == "curl" and {"-O", "--remote-name", "--remote-name-all"} & set(act.options()):
        yield from (text.rstrip("/").rsplit("/", 1)[-1].partition("?")[0] for text in operands)
    elif name in ("tar", "bsdtar", "unzip", "cpio", "7z", "7za"):
        yield from _unpacked(act)
    elif name == "git":
        yield from _git(act, operands)


def _operands(act: Acts) -> list[str]:
    takes = _TAKES.get(act.name)
    if takes is None:
        return [word.text for word in act.operands()]
    texts = act.texts
    return [
        text
        for before, text in pairwise(["", *texts])
        if before not in takes and (not text.startswith("-") or text == "-")
    ]


def changed(act: Acts) -> list[str]:
    """Return files that are changed in place: their content is lost unless an older version is kept."""
    operands = [word.text for word in act.operands()]
    if act.name in _CHANGERS:
        return operands[:1] if act.name == "zip" else operands
    known = _IN_PLACE.get(act.name)
    if known is None or not any(map(known.fullmatch, act.texts)):
        return []
    scripts = {text for text in act.options() if text in ("-e", "-f", "--expression", "--file")}
    return operands if scripts else operands[1:]


def _copied(act: Acts, operands: list[str]) -> Iterator[str]:
    options = set(act.options())
    if {"-n", "--no-clobber"} & options or (act.name == "ln" and not {"-f", "--force"} & options):
        return
    aimed = _values(act, frozenset({"-t", "--target-directory"}))
    if aimed:
        sources = [text for text in operands if text not in aimed]
    elif len(operands) > 1:
        aimed, sources = operands[-1:], operands[:-1]
        if not aimed[0].endswith("/"):
            yield aimed[0]
    else:
        aimed, sources = ["."], operands if act.name == "ln" else []
    for to in aimed:
        yield from (f"{to.rstrip('/')}/{one.rstrip('/').rsplit('/', 1)[-1]}" for one in sources)


def _unpacked(act: Acts) -> list[str]:
    """Return the folder into which an archive is unpacked; the files in it are not known."""
    name, texts, options = act.name, act.texts, {*act.options(), *act.texts}
    if name in ("tar", "bsdtar"):
        made = [text for text in texts if re.fullmatch(r"-?[A-Za-z]*c[A-Za-z]*", text)][:1] or {"--create"} & options
        if made:
            return _archive(texts)
        unpacks = any(map(_UNPACKS.fullmatch, [*texts[:1], *(text for text in texts if text.startswith("-"))]))
        return (_values(act, frozenset({"-C", "--directory"})) or ["."]) if unpacks and not options & _KEEPS else []
    if name == "unzip":
        return (_values(act, frozenset({"-d"})) or ["."]) if "-o" in options else []
    if name == "cpio":
        return ["."] if {"-i", "--extract"} & options and {"-u", "--unconditional"} & options else []
    forced = {"-y", "-aoa"} & options and texts[:1] in (["x"], ["e"])
    return [text[2:] for text in texts if text.startswith("-o")] or ["."] if forced else []


def _archive(texts: list[str]) -> list[str]:
    at = next((at for at, text in enumerate(texts) if re.fullmatch(r"-?[A-Za-z]*f", text)), None)
    named = [text.partition("=")[2] for text in texts if text.startswith("--file=")]
    return named if at is None else texts[at + 1 : at + 2]


def _git(act: Acts, operands: list[str]) -> list[str]:
    options, order = set(act.options()), operands[:1]
    if order == ["rm"] and {"-f", "--force"} & options and "--cached" not in options:
        return operands[1:]
    if order == ["mv"] and {"-f", "--force"} & options:
        return operands[-1:]
    if order == ["restore"] and ("--staged" not in options or "--worktree" in options):
        return operands[1:]
    if order == ["checkout"] and not {"-b", "-B", "--orphan"} & options:
        return operands[1:]  # a branch name matches no file, or at worst causes a needless question
    if order in (["checkout-index"], ["archive"]):
        return [*(operands[1:] if "-f" in options else []), *_values(act, frozenset({"-o"}))]
    return []


def _values(act: Acts, options: frozenset[str]) -> list[str]:
    """Return the values of these options: the next word, after `=`, or attached to a short one."""
    said: list[str] = []
    if not options:
        return said
    short = frozenset(option[1] for option in options if len(option) == 2)
    texts = act.texts
    for at, text in enumerate(texts):
        option, sign, value = text.partition("=")
        if option in options:
            said += [value] if sign else texts[at + 1 : at + 2]
        elif short and re.fullmatch(r"-[A-Za-z]+", text) and text[-1] in short and len(text) > 2:
            said += texts[at + 1 : at + 2]
        elif len(text) > 2 and text[0] == "-" and text[1] in short:
            said.append(text[2:])
    return [text for text in said if text not in ("-", "") and GAP not in text]
