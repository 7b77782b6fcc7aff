"""Interpret options of programs about files: files that they write, folders that they go to or read as a whole."""

from __future__ import annotations

import re

from roost.policy.command import file_effects
from roost.policy.command.findings import Acts, Found
from roost.policy.command.shell_words import Word
from roost.policy.command.simple_commands import Redirect
from roost.policy.command.tables import INTERPRETERS, READERS, RUN_IN, SHELLS, STARTUP, WRAPPERS, WRITERS

_FOLDER = frozenset("-C --chdir --directory --cwd --working-directory --work-tree --prefix --project-directory".split())
GOES_THERE = frozenset("git make gmake ninja env sudo doas uv npm pnpm yarn cargo just docker".split())
"""Programs that change the folder by such an option before they use any other word."""
_NOT_FILES = frozenset(
    "ssh scp sftp mount set shopt pytest ps kubectl helm systemctl journalctl unzip rsync chown useradd lsof docker"
    " podman gh ls grep strings apt apt-get dpkg javac java stdbuf npm dig sudo tmux ip od kill git".split()
)
"""Programs whose `-o` names no file that they write."""
_LONG = re.compile(
    r"--?(?:out(?:put)?|outfile|outdir|out(?:put)?[-_]?(?:file|dir|directory|document|path)|log-?file|junit-?xml|dest"
    r"|destination|target-directory|install-dir)"
)
_OWN: dict[str, frozenset[str]] = {
    "find": frozenset("-fprint -fprint0 -fprintf -fls".split()),
    "openssl": frozenset("-out -keyout -writerand".split()),
    "ssh-keygen": frozenset({"-f"}),
    "pg_dump": frozenset("-f --file".split()),
    "gcc": frozenset("-MF -aux-info".split()),
    "clang": frozenset({"-MF"}),
    "zip": frozenset("-O -b".split()),
    "cpio": frozenset("-O -F --file".split()),
    "wget": frozenset("-P -a --append-output --directory-prefix --save-cookies".split()),
    "curl": frozenset("-D -c --dump-header --cookie-jar --trace --trace-ascii --stderr --libcurl --etag-save".split()),
    "time": frozenset({"-o"}),
    "make": frozenset({"-o"}),
}
_CREATES = re.compile(r"-?[A-Za-z]*[cru][A-Za-z]*|--create|--append|--update|--concatenate")
_PACKERS = frozenset("zip 7z 7za jar ar rar sponge script".split())
_INTO_LAST = frozenset("objcopy cpp ffmpeg convert magick xxd".split())
_ALL = frozenset("zip 7z 7za rg ag ack rsync jar".split())
"""Programs that descend into the folders that they are given."""
_WITH = {
    "grep": "-r -R --recursive --dereference-recursive --directories", "egrep": "-r -R", "fgrep": "-r -R",
    "cp": "-r -R -a --recursive --archive", "scp": "-r", "diff": "-r --recursive", "mv": "", "ln": "",
    "find": "-exec -execdir -ok -okdir", "ar": "",
}  # fmt: skip
_PICKING = re.compile(
    r"-i?(?:name|path|regex|wholename)|-newer\w*|-[acm]time|-size|--include(?:=.*)?|-g|--i?glob(?:=.*)?"
)
"""Options that select some of a folder's content; the selection is not analysed."""
_SELF = (*STARTUP, ".roost", ".husky", ".gitmodules", ".git/info", ".mcp.json", ".vscode", ".cursor", ".claude",
         ".gemini", ".codex")  # fmt: skip


_ITSELF = re.compile("|".join(map(re.escape, _SELF)))
_NAMED = (
    frozenset(READERS)
    | WRITERS
    | frozenset(WRAPPERS)
    | frozenset(RUN_IN)
    | frozenset("git sed awk gawk rm srm trash shred rsync scp dd tar bsdtar zip curl wget source . export".split())
)
"""Programs whose effect on the files that they name is known."""


def folders(act: Acts) -> list[str]:
    """Return the folders to which its options lead the program at its start; numbers, as in `grep -C 3`, do not
    count."""
    if act.name in SHELLS or not any(text.startswith("-") for text in act.texts):
        return []
    own = _FOLDER | {"-D"} if act.name in ("sudo", "doas") else _FOLDER
    found = [text for text in _values(act, own) if not text.isdigit()]
    if act.name in ("git", "make", "gmake", "ninja", "env"):
        found += [text[2:].lstrip("=") for text in act.texts if text.startswith("-C") and len(text) > 2]
    return found


def judge(act: Acts, found: Found) -> None:
    if not act.words:
        return
    found.paths += [text for text in folders(act) if text]
    for text in _written(act):
        if text not in ("-", ""):
            file_effects.redirected(Redirect(">", Word(text)), act, found)
    _packed(act, found)
    _all_of(act, found)
    texts = act.texts
    if act.name in INTERPRETERS or act.name in SHELLS:
        texts = texts[1:]  # arguments of the script
    if act.name not in _NAMED or (act.name == "yq" and "-i" in act.options()):
        there = found.there
        for text in texts:
            places = [f"{base}/{text}" for base in there if "/." in "/" + base]
            if _ITSELF.search(text) or any(map(_ITSELF.search, places)):
                found.writes.append(text.partition("=")[2] or text)


def _written(act: Acts) -> list[str]:
    name, texts = act.name, act.texts
    said: list[str] = []
    own = _OWN.get(name, frozenset[str]())
    if own:
        said += _values(act, own)
    if name == "git":
        return said + _git(act)
    for at, text in enumerate(texts):
        if not text.startswith("-"):
            continue
        option, sign, value = text.partition("=")
        if text == "-o" or (name in ("sort", "curl", "wget") and re.fullmatch(r"-[A-Za-z]*[oO]", text)):
            if name not in _NOT_FILES and name not in SHELLS and (name not in READERS or name in _SORTS):
                said += [each for each in texts[at + 1 : at + 2] if not each.startswith("-")]
        elif text.startswith(("-o", "-O")) and not sign and _glued(name):
            said.append(text[2:])
        elif _LONG.fullmatch(option) and (name not in READERS or name in _SORTS):
            said += [value] if sign else [each for each in texts[at + 1 : at + 2] if not each.startswith("-")]
    return said


_SORTS = frozenset("sort tree base64 less yq".split())


def _glued(name: str) -> bool:
    return name in (
        "sort",
        "gcc",
        "g++",
        "cc",
        "c++",
        "clang",
        "clang++",
        "ld",
        "as",
        "curl",
        "wget",
        "7z",
        "shuf",
        "tree",
    )


def _git(act: Acts) -> list[str]:
    operands = [word.text for word in act.operands()]
    said = _values(act, frozenset("--output -o --output-directory --separate-git-dir --file -f --prefix".split()))
    if not operands or operands[0] in ("ls-files", "push", "grep", "clean", "checkout", "fetch", "add"):
        said = _values(act, frozenset({"--output"}))
    elif operands[:2] == ["bundle", "create"]:
        said += operands[2:3]
    elif operands[:2] == ["worktree", "add"] or operands[:2] == ["submodule", "add"]:
        said += operands[2:]
    elif operands[:1] == ["init"]:
        said += operands[1:]
    return said


def _packed(act: Acts, found: Found) -> None:
    """Collect archives and joined files that are made from operands."""
    name, texts, operands = act.name, act.texts, act.operands()
    made: list[str] = []
    if name in ("tar", "bsdtar") and any(_CREATES.fullmatch(text) for text in [*texts[:1], *_dashed(texts)]):
        made = _values(act, frozenset({"--file"}))
        at = next((at for at, text in enumerate(texts) if re.fullmatch(r"-?[A-Za-z]*f", text)), None)
        made += texts[at + 1 : at + 2] if at is not None and (at == 0 or texts[at].startswith("-")) else []
        archives = frozenset(made)
        found.below += [word.text for word in operands if word.text not in archives]
    elif name in _PACKERS:
        plain = [word.text for word in operands]
        made = plain[1:2] if name in ("7z", "7za", "jar", "ar", "rar") else plain[:1]
    elif name in _INTO_LAST and len(operands) > 1:
        made = [operands[-1].text]
    elif name in ("gzip", "xz", "bzip2", "zstd", "gunzip", "unxz", "bunzip2") and "-c" not in act.options():
        made = [word.text for word in operands]
    for text in made:
        if text != "-":
            file_effects.redirected(Redirect(">", Word(text)), act, found)


def _dashed(texts: list[str]) -> list[str]:
    return [text for text in texts if text.startswith("-")]


def _all_of(act: Acts, found: Found) -> None:
    name = act.name
    if name in ("xargs", "parallel"):
        _fed_with(act, found)
    if name not in _ALL and name not in _WITH:
        return
    needed = set(_WITH.get(name, "").split())
    if needed and not needed & {*act.options(), *act.texts}:
        return
    operands = [word.text for word in act.operands()]
    if name == "find":
        operands = [word.text for word in file_effects.roots(act)] or ["."]
    elif name in ("grep", "egrep", "fgrep", "rg", "ag", "ack"):
        operands = operands[0 if "-e" in act.options() else 1 :] or ["."]
    elif name in ("cp", "scp", "rsync", "mv", "ln") and not {"-t", "--target-directory"} & set(act.texts):
        operands = operands[:-1]
    found.paths += operands
    (found.picked if any(map(_PICKING.fullmatch, act.texts)) else found.below).extend(operands)


def _fed_with(act: Acts, found: Found) -> None:
    """Collect the input of `find … | xargs cat`: which files are selected is not known."""
    if act.simple.stdin is not None:
        found.named += act.simple.stdin.text.split()[:64]
    for feed in act.simple.feeds:
        lister = Acts(feed, feed.words)
        if lister.name not in ("find", "fd", "fdfind", "git", "ls"):
            continue
        begins = [
            word.text for word in (file_effects.roots(lister) if lister.name == "find" else lister.operands()[1:])
        ]
        whole = lister.name == "find" and not any(map(_PICKING.fullmatch, lister.texts))
        (found.below if whole else found.picked).extend(begins or ["."])


def _values(act: Acts, options: frozenset[str]) -> list[str]:
    """Return the values of these options, from the next word or after `=`."""
    said: list[str] = []
    texts = act.texts
    for at, text in enumerate(texts):
        if not text.startswith("-"):
            continue
        option, sign, value = text.partition("=")
        if option in options:
            said += [value] if sign else texts[at + 1 : at + 2]
    return said
