"""Find files that would be removed or overwritten, and files that would run later."""

from __future__ import annotations

import posixpath
import re
from itertools import pairwise

from roost.policy.command.findings import Acts, Found
from roost.policy.command.scope import from_start, joined
from roost.policy.command.shell_words import GAP, Word
from roost.policy.command.simple_commands import Redirect
from roost.policy.command.tables import DESTROYERS, HARMLESS_TARGETS, PERSISTENCE, STARTUP, SYSTEM, WRITERS
from roost.policy.command.wrappers import inner_of, name_of

_GIT_LOSES: tuple[tuple[str, frozenset[str]], ...] = (
    ("push", frozenset("-f --force --force-with-lease --mirror --delete -d --prune".split())),
    ("clean", frozenset("-f --force".split())),
    ("reset", frozenset({"--hard"})),
    ("branch", frozenset("-D --delete -d -M -C -f --force".split())),
    ("checkout", frozenset("-f --force --".split())),
    ("stash", frozenset()),
    ("filter-branch", frozenset()),
    ("filter-repo", frozenset()),
    ("update-ref", frozenset({"-d"})),
    ("gc", frozenset({"--prune", "--aggressive"})),
    ("worktree", frozenset({"--force", "-f"})),
    ("switch", frozenset("-f --force --discard-changes -C".split())),
    ("tag", frozenset("-d --delete -f --force".split())),
    ("reflog", frozenset({"--expire", "--all", "--expire-unreachable"})),
    ("submodule", frozenset("-f --force".split())),
)
_ELSEWHERE: dict[str, re.Pattern[str]] = {
    "docker": re.compile(r"\b(?:prune|rmi?|kill|volume rm|down)\b"),
    "podman": re.compile(r"\b(?:prune|rmi?|kill|volume rm)\b"),
    "kubectl": re.compile(r"\b(?:delete|drain|scale|replace|apply|exec)\b"),
    "helm": re.compile(r"\b(?:uninstall|delete|rollback|upgrade)\b"),
    "terraform": re.compile(r"\b(?:destroy|apply|state rm)\b"),
    "tofu": re.compile(r"\b(?:destroy|apply|state rm)\b"),
    "aws": re.compile(r"\b(?:rm|rb|delete\S*|terminate\S*|remove\S*)\b"),
    "gcloud": re.compile(r"\bdelete\b"),
    "az": re.compile(r"\bdelete\b"),
    "gsutil": re.compile(r"\b(?:rm|rb)\b"),
    "rclone": re.compile(r"\b(?:delete|purge|sync|move)\b"),
    "redis-cli": re.compile(r"flush", re.IGNORECASE),
    "psql": re.compile(r"\b(?:drop|truncate|delete)\b", re.IGNORECASE),
    "mysql": re.compile(r"\b(?:drop|truncate|delete)\b", re.IGNORECASE),
    "sqlite3": re.compile(r"\b(?:drop|delete)\b|\.shell|\.system", re.IGNORECASE),
    "mongosh": re.compile(r"drop|delete|remove", re.IGNORECASE),
    "gh": re.compile(r"\b(?:delete|archive)\b"),
    "npm": re.compile(r"\b(?:publish|unpublish|deprecate)\b"),
    "rsync": re.compile(r"--delete|--remove-source-files"),
    "zfs": re.compile(r"\b(?:destroy|rollback)\b"),
    "btrfs": re.compile(r"\bdelete\b"),
    "cmake": re.compile(r"-E (?:rm|remove)"),
    "vgchange": re.compile(r"."),
}
"""Words with which programs destroy something, here or at a service."""
_LAST = frozenset("cp mv ln install".split())
_INTO = {"tar": ("-C", "--directory"), "bsdtar": ("-C",), "unzip": ("-d",), "7z": ("-o",), "cpio": ("-D",)}
"""Options before the folder into which a program unpacks."""
_GONE = frozenset("mv rm rmdir srm shred trash".split())
_GIVES_UP = _GONE | {"ln"}
"""Programs whose operands disappear from their place, or become writable under another name."""
_REMOVERS = frozenset("rm unlink rmdir shred mv truncate".split())
_PICKS = frozenset(
    "-name -iname -path -ipath -wholename -regex -iregex -empty -mtime -mmin -newer -size -user -perm".split()
)


def judge(act: Acts, found: Found) -> None:
    if not act.words:
        return
    name = act.name
    if name in DESTROYERS or name.startswith("mkfs."):
        found.add("system_destroy", f"{name} can destroy a disk or stop the machine", act)
    if name in PERSISTENCE and not _only_lists(act):
        found.add("persistence", f"{name} makes something run later", act)
    if name == "patch" or (name == "git" and {"apply", "am"} & set(act.texts[:3])):
        found.unclear.append("which files a patch changes is known only to the patch")
    _removal(act, found)
    _rights_of_many(act, found)
    _git(act, found)
    _processes(act, found)
    if (pattern := _ELSEWHERE.get(name)) is not None and pattern.search(" ".join(act.texts)):
        found.add("system_destroy", f"{name} would remove, replace or publish something", act)
    for target in _written(act):
        _written_to(target, act, found)
    if name in _GIVES_UP:
        found.writes += [word.text for word in act.operands()]
        found.links += [word.text for word in act.operands()[:-1]] if name == "ln" else []
    if name in _GONE:
        found.removes += [
            word.text for word in (act.operands()[:-1] or act.operands() if name == "mv" else act.operands())
        ]


def redirected(redirect: Redirect, act: Acts | str, found: Found) -> None:
    target = redirect.target
    found.paths += [target.text + GAP] if target.globs else [target.text]
    if not target.known and not redirect.writes:
        found.unclear.append("which file is read is known only to the shell")
    if redirect.writes:
        _written_to(target, act, found)


def _written_to(target: Word, act: Acts | str, found: Found) -> None:
    if target.text in HARMLESS_TARGETS:
        return
    found.writes.append(target.text)
    if target.text.startswith("/dev/"):
        found.add("system_destroy", "it writes to a device", act)
    elif is_outside(target, found.there):
        found.add("redirect", f"it writes to {_shown(target)}, which is elsewhere", act)
    text = target.text.replace("\\", "/")
    if any(place in text for place in STARTUP):
        found.add("persistence", f"{_shown(target)} is run or read by itself later", act)
    if re.match(r"^/etc/(?:passwd|shadow|sudoers|group|pam)", text):
        found.add("privilege", f"{_shown(target)} says who may do what", act)


def is_outside(word: Word, bases: tuple[str, ...] = ("",)) -> bool:
    """Whether a path may lead out of the folder in which the line starts. bases: folders from which it counts."""
    return any(_leaves(from_start(joined(base, word.text))) for base in bases)


def _leaves(path: str) -> bool:
    return path.startswith(("/", "~")) or GAP in path or posixpath.normpath(path).split("/")[0] == ".."


def _shown(word: Word) -> str:
    return repr(word.text.replace(GAP, "…"))


def _written(act: Acts) -> list[Word]:
    """Return the files that the program itself writes, as far as its words tell."""
    name, operands = act.name, act.operands()
    if name in _LAST:
        aimed = [act.words[at + 2] for at, text in enumerate(act.texts[:-1]) if text in ("-t", "--target-directory")]
        return aimed or operands[-1:]
    if name in ("rsync", "scp"):
        return [word for word in operands[-1:] if ":" not in word.text]
    if name == "git":
        return operands[2:][-1:] if operands[:1] and operands[0].text == "clone" else []
    if name in _INTO:
        return [act.words[at + 2] for at, text in enumerate(act.texts[:-1]) if text in _INTO[name]] + [
            Word(text.partition("=")[2]) for text in act.texts if text.partition("=")[0] in _INTO[name] and "=" in text
        ]
    if name in WRITERS:
        return [word for word in operands if not re.fullmatch(r"[ugoa]*[+-=][rwxXst]+|[0-7]{3,4}", word.text)]
    if name == "dd":
        return [
            Word(text.removeprefix("of="), word.globs)
            for word in act.words[1:]
            if (text := word.text).startswith("of=")
        ]
    if name in ("sed", "perl") and any(text.startswith(("-i", "--in-place", "-pi")) for text in act.texts):
        return operands[1:] or operands
    if name in ("curl", "wget"):
        texts = act.texts
        flags = ("-o", "-O", "--output", "--output-document", "-P")
        return [
            act.words[at + 2]
            for at, text in enumerate(texts[:-1])
            if text in flags and not texts[at + 1].startswith("-")
        ]
    return []


def _removal(act: Acts, found: Found) -> None:
    name, said = act.name, set(act.options())
    if name == "find":
        begins = roots(act)
        removes = "-delete" in act.texts or any(
            words and name_of(words[0]) in _REMOVERS for words in inner_of(act.words)
        )
        picks = _PICKS & set(act.texts)
        if removes and (any(is_outside(word, found.there) for word in begins) or not picks):
            found.add("system_destroy", "it removes whatever it finds", act)
        return
    if name == "mv" and act.operands()[-1:] and act.operands()[-1].text.startswith("/dev/"):
        found.add("system_destroy", "what is moved there is lost", act)
    if name not in ("rm", "unlink", "rmdir", "srm", "trash", "truncate"):
        return
    many = bool(said & {"-r", "-R", "--recursive"})
    if "--no-preserve-root" in said:
        found.add("system_destroy", "it removes the root of the file system", act)
    for word in act.operands():
        if (many or word.globs) and _wide(word):
            found.add("system_destroy", f"it removes {_shown(word)} and all in it", act)
        elif is_outside(word, found.there) and (many or word.globs or word.text.startswith(SYSTEM)):
            found.add("system_destroy", f"it removes {_shown(word)}, which is elsewhere", act)


def roots(act: Acts) -> list[Word]:
    """Return the folders in which `find` starts; empty means the current folder."""
    roots: list[Word] = []
    for word in act.words[1:]:
        if word.text.startswith(("-", "(", "!")):
            break
        roots.append(word)
    return roots


def _wide(word: Word) -> bool:
    """Whether a word means the root, a home, the whole current folder, or an unknown path."""
    text = re.sub(r"/+", "/", from_start(word.text))
    bare = text.rstrip("/*.") if text.strip("/*.") else ""
    return GAP in text or not bare or bare in ("~", *SYSTEM) or text in ("*", ".", "./", "..", "./*", "../*", ".*")


def _rights_of_many(act: Acts, found: Found) -> None:
    many = set(act.options()) & {"-R", "--recursive"}
    if many and act.name in ("chmod", "chown", "chgrp", "setfacl", "chattr"):
        aimed = act.operands()[1:]
        if any(_wide(word) or word.text.startswith(("/", "~")) for word in aimed):
            found.add("system_destroy", "it changes the rights of a whole tree", act)


def _git(act: Acts, found: Found) -> None:
    if act.name != "git":
        return
    operands = [word.text for word in act.operands()]
    said = set(act.options()) | ({"--"} & set(act.texts))
    order = next((word for word in operands if any(word == name for name, _ in _GIT_LOSES)), None)
    said |= {known for _, known in _GIT_LOSES for known in known if any(_short_for(one, known) for one in said)}
    for name, options in _GIT_LOSES:
        if name == order and (
            said & options or (not options and (name != "stash" or {"drop", "clear"} & set(operands)))
        ):
            found.add("system_destroy", f"git {name} loses work with these options", act)
    if operands[:1] == ["remote"] and {"remove", "rm", "prune", "set-url"} & set(operands[1:2]):
        found.add("system_destroy", "git forgets or changes where the work is kept", act)
    if "rm" in operands[:2] and any(
        _wide(word) or word.text in (":/", ":/*", ":(top)") for word in act.operands() if word.text != "rm"
    ):
        found.add("system_destroy", "it removes all that git knows there", act)
    if {"checkout", "restore"} & set(operands[:2]) and "--staged" not in said and {".", ":/", "*"} & set(operands):
        found.add("system_destroy", "it loses work that is in no commit", act)
    if "push" in operands and any(word.startswith(("+", ":")) for word in operands):
        found.add("system_destroy", "git push overwrites what is there", act)
    setting = " ".join(operands)
    if "config" in operands and re.search(
        r"alias\.|core\.(?:hookspath|pager|editor|sshcommand|fsmonitor|gitproxy|askpass)|\.(?:textconv|command|driver|clean|smudge|process|helper)",
        setting,
        re.IGNORECASE,
    ):
        found.add("persistence", "a setting of git that makes it run a program", act)
    told = {"rebase", "difftool"} & set(operands) and said & {"-x", "--exec", "--extcmd"}
    if told or {("bisect", "run"), ("submodule", "foreach")} & set(pairwise(operands)):
        found.add("inline_exec", "git runs a command that it is told", act)
    if re.search(r"\bext::|--upload-pack|--template", " ".join(act.texts)):
        found.add("inline_exec", "git runs a program that the address names", act)


def _short_for(said: str, option: str) -> bool:
    """Whether `said` abbreviates `option`: git accepts `--forc` for `--force`."""
    return len(said) > 3 and said.startswith("--") and option.startswith(said)


def _processes(act: Acts, found: Found) -> None:
    texts = act.texts
    if (act.name == "kill" and ("-1" in texts[1:] or texts == ["-1"] or "1" in texts[-1:])) or act.name in (
        "killall5",
    ):
        found.add("system_destroy", "it ends processes that are not its own", act)
    if act.name in ("pkill", "killall") and not act.operands():
        found.add("system_destroy", "it ends processes that are not its own", act)
    if act.name == "history" and set(act.options()) & {"-c", "-w"}:
        found.add("system_destroy", "it removes the history of commands", act)


def _only_lists(act: Acts) -> bool:
    said = {*act.options(), *act.texts}
    if act.name == "crontab":
        return act.texts == ["-l"]
    reading = {
        "status",
        "list-units",
        "list-timers",
        "list-unit-files",
        "is-active",
        "is-enabled",
        "show",
        "cat",
        "list",
    }
    return act.name in ("systemctl", "launchctl", "loginctl") and bool(said & reading)
