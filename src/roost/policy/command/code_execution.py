"""Find code that would run: inline code, code from the network, disguised code, privileges, reverse shells."""

from __future__ import annotations

import re
from itertools import pairwise

from roost.policy.command import windows
from roost.policy.command.findings import Acts, Found
from roost.policy.command.shell_words import GAP, Word
from roost.policy.command.simple_commands import Line, Simple
from roost.policy.command.tables import (
    DECODERS,
    FETCHERS,
    INTERPRETERS,
    LOADERS,
    NET_CATS,
    PRIVILEGE,
    RUNNERS,
    SHELLS,
)
from roost.policy.command.wrappers import assigned, inner_of, name_of

SOCKET = re.compile(r"/dev/(?:tcp|udp)/\S+")
_CODE_SHELL = re.compile(r"socket|TCPSocket|fsockopen|Net::|net\.(?:connect|Socket)|require\([\"']net", re.IGNORECASE)
_RUNS = re.compile(r"exec|spawn|system|subprocess|dup2|pty|popen|proc_open|/bin/", re.IGNORECASE)
_PROGRAM_OPTIONS: dict[str, frozenset[str]] = {
    "tar": frozenset("--checkpoint-action --to-command --use-compress-program -I --rsh-command --new-volume-script "
                     "--info-script -F".split()),
    "zip": frozenset("-TT --unzip-command".split()),
    "rsync": frozenset("-e --rsh --rsync-path".split()),
    "man": frozenset("-P -H --pager --html".split()),
    "git": frozenset("-c --config-env --exec-path --upload-pack --receive-pack --exec --ext-diff".split()),
    "ssh": frozenset({"-F"}),
    "scp": frozenset("-S -F".split()),
    "less": frozenset({"-k"}),
    "sort": frozenset({"--compress-program"}),
    "wget": frozenset("--use-askpass --execute -e".split()),
    "curl": frozenset("-K --config".split()),
    "make": frozenset("--eval -E".split()),
    "gcc": frozenset({"-wrapper"}),
    "docker": frozenset("--privileged --cap-add --pid --device".split()),
    "split": frozenset({"--filter"}),
    "nmap": frozenset("--script".split()),
    "mysql": frozenset({"-e", "--execute"}),
    "psql": frozenset({"-c", "--command"}),
    "ip": frozenset({"-b", "-batch"}),
    "crontab": frozenset({"-e"}),
    "npm": frozenset({"--script-shell"}),
    "cargo": frozenset({"--config"}),
    "go": frozenset("-exec -toolexec -vettool".split()),
}  # fmt: skip
"""Options of programs that name another program or code to run."""
_SHORTEST = 3
_WHOLE = frozenset({"--checkpoint", "--ext"})
"""Options that run nothing, although dangerous ones start with them."""
_LONGEST_SCRIPT = 4_096
_SED_RUNS = re.compile(r"(?:^|[;{\n])\s*(?:[0-9$,]*|/[^/]*/)\s*e(?:\s|$)")
_SED_EVALUATES = re.compile(r"s([/|,#@!%])(?:\\.|(?!\1).)*+\1(?:\\.|(?!\1).)*+\1[gpIi0-9]*e")
_SCRIPT_FIRST = frozenset("python python2 python3 pypy pypy3 node nodejs".split())
_SCRIPT_TAKES = frozenset("-r --require --import --loader -C --conditions -W -X --check-hash-based-pycs".split())
_TAKING_RIGHTS = re.compile(r"^(?:[ugoa]*\+[rwxXt]*s|[0-7]?[2467][0-7]{3})")


def judge(act: Acts, found: Found) -> list[str]:
    """Add the dangers of a call to `found`. Returns texts that would run as shell commands, as far as known."""
    simple, name = act.simple, act.name
    for variable in {*simple.assigns, *assigned(act.words)} & LOADERS:
        found.add("inline_exec", f"{variable} decides what other programs run or load", act)
    if not act.words:
        return []
    if act.words[0].veiled:
        found.add("encoding_bypass", "the name of the program is written in disguise", act)
    if GAP in act.words[0].text:
        found.add("inline_exec", "the name of the program is made while it runs", act)
    _rights(act, found)
    windows.judge(act, found)
    if name in NET_CATS:
        _net_cat(act, found)
    if name in RUNNERS or (name in ("npm", "pnpm", "yarn") and act.texts[:1] in (["exec"], ["dlx"], ["x"])):
        found.add("remote_exec", "it fetches a package and runs it", act)
    if name == "ssh" and len(act.operands()) > 1:
        found.add("remote_exec", "it runs a command on another machine", act)
    said = _running_options(act)
    if name == "git" and act.texts and not act.texts[0].startswith("-"):
        said -= {"-c"}  # after the subcommand it has another meaning
    if said or (name in ("ssh", "scp", "sftp") and any("command" in text.lower() for text in act.texts)):
        found.add("inline_exec", f"{', '.join(sorted(said)) or 'an option'} makes {name} run something else", act)
    if name in ("awk", "gawk", "mawk", "sed"):
        _stream_editors(act, found)
    return _code(act, found)


def _running_options(act: Acts) -> set[str]:
    """Return its options that name another program. Most programs accept abbreviated long options."""
    known = _PROGRAM_OPTIONS.get(act.name, frozenset())
    said = {*act.options(), *(text.partition("=")[0] for text in act.texts)} if known else set[str]()
    short = {
        one
        for one in said
        if one.startswith("--") and len(one) > _SHORTEST and any(option.startswith(one) for option in known)
    }
    return (said & known) | (short - _WHOLE)


def _rights(act: Acts, found: Found) -> None:
    name, texts = act.name, act.texts
    if name in PRIVILEGE:
        found.add("privilege", f"{name} changes rights, users or the kernel", act)
    if name == "chmod" and any(_TAKING_RIGHTS.match(text) for text in texts):
        found.add("privilege", "a file that runs with the rights of its owner", act)
    if name in ("chown", "chgrp") and any(text.partition(":")[0] in ("root", "0") for text in texts):
        found.add("privilege", "files are given to root", act)
    if name in ("docker", "podman", "nerdctl"):
        joined = " ".join(texts)
        if re.search(
            r"--privileged|--cap-add|--pid[= ]host|--net(?:work)?[= ]host|docker\.sock|(?:-v|--volume)[= ]?/:", joined
        ):
            found.add("privilege", "a container that reaches the machine around it", act)
        if texts[:1] and texts[0] in ("run", "exec"):
            found.add("remote_exec", "it runs an image", act)


def _net_cat(act: Acts, found: Found) -> None:
    said = {text.lower() for text in act.options()}
    joined = " ".join(act.texts).lower()
    if said & {"-e", "-c", "--exec", "--sh-exec", "--lua-exec"} or re.search(r"\b(?:exec|system):", joined):
        found.add("reverse_shell", "it gives a program to the network", act)
    if any(name_of(feed.words[0]) in SHELLS for feed in act.simple.feeds if feed.words):
        found.add("reverse_shell", "a shell answers to the network", act)


def _stream_editors(act: Acts, found: Found) -> None:
    for word in act.operands():
        text = word.text
        if len(text) > _LONGEST_SCRIPT:
            found.unclear.append(f"the {act.name} script is too long to be looked at")
            continue
        if act.name == "sed":
            bad = _SED_RUNS.search(text) or _SED_EVALUATES.search(text)
        else:
            bad = re.search(r"system\s*\(|\|\s*getline|\|\s*[\"&]|print[^;}]*\|", text)
        if bad:
            found.add("inline_exec", f"the {act.name} script runs a command", act)


def _code(act: Acts, found: Found) -> list[str]:
    """Return the shell commands in the code that it runs."""
    name = act.name
    if name in SHELLS or name in ("su", "runuser", "script"):
        return _shell(act, found)
    if name == "env":
        return _texts_of_env(act, found)
    if name in ("eval", "source", ".", "trap", "alias", "complete", "bind", "enable", "mapfile", "readarray"):
        return _builtin(act, found)
    if re.fullmatch(r"(?:python|pypy|perl|ruby|php|lua|node)[\d.]*", name):
        name = re.sub(r"[\d.]+$", "", name)
    if name in INTERPRETERS:
        _interpreter(act, name, found)
    elif name in ("xargs", "parallel"):
        _from_input(act, found)
    return []


def _shell(act: Acts, found: Found) -> list[str]:
    texts = act.texts
    place = next((at for at, text in enumerate(texts) if re.fullmatch(r"-[a-zA-Z]*c|--command", text)), None)
    if "-enc" in " ".join(texts).lower() and act.name in ("pwsh", "powershell"):
        found.add("encoding_bypass", "the command is encoded", act)
    if place is not None and place + 1 < len(texts):
        return _text(texts[place + 1], act, found)
    if act.name in ("su", "runuser", "script"):
        return []
    if act.simple.stdin is not None:
        return _text(act.simple.stdin.text, act, found)
    operands = [word for word in act.operands() if word.text != "-"]
    if not operands or "-s" in act.options():
        if act.simple.feeds:
            return _fed(act, found)
        if "-i" in act.options() and act.simple.redirects:
            found.add("reverse_shell", "a shell whose streams lead elsewhere", act)
    elif not operands[0].known:
        _made(act, found)
    return []


def _texts_of_env(act: Acts, found: Found) -> list[str]:
    """Split the text of `env -S 'a b'` and `env -S'a b'` into words."""
    said: list[str] = []
    for place, text in enumerate(act.texts):
        if text in ("-S", "--split-string") and place + 1 < len(act.texts):
            said.append(" ".join(act.texts[place + 1 :]))
        elif text.startswith(("-S", "--split-string=")):
            said.append(" ".join((text.removeprefix("--split-string=").removeprefix("-S"), *act.texts[place + 1 :])))
    return [code for text in said for code in _text(text, act, found)]


def _builtin(act: Acts, found: Found) -> list[str]:
    name, texts = act.name, act.texts
    if name == "eval":
        return _text(" ".join(texts), act, found)
    if name in ("source", ".") and texts:
        if not act.words[1].known or texts[0].startswith(("/dev/", "/proc/", "~")):
            _made(act, found)
        return []
    if name == "trap" and len(texts) > 1:
        return _text(texts[0], act, found)
    if name in ("mapfile", "readarray") and "-C" in act.options():
        found.add("inline_exec", f"{name} runs a command for the lines that it reads", act)
    if (name == "alias" and texts) or (name in ("complete", "bind", "enable") and texts):
        found.add("inline_exec", f"{name} changes what later commands mean", act)
    return []


def _interpreter(act: Acts, name: str, found: Found) -> None:
    texts, said = act.texts, set(act.options())
    if name in _SCRIPT_FIRST:
        said = set(Acts(act.simple, act.words[: 1 + _script_at(texts)]).options())
    orders = INTERPRETERS[name]
    told = said & orders or any(text.startswith(("+!", "+:!")) for text in texts) or orders & set(texts[:1])
    if told or name in ("ed", "ex"):
        found.add("inline_exec", f"code for {act.name} in the command", act)
        code = " ".join(texts)
        if GAP in code:
            _made(act, found)
        if _CODE_SHELL.search(code) and _RUNS.search(code):
            found.add("reverse_shell", "code that ties a program to a connection", act)
    if not act.operands() or "-" in texts or act.simple.stdin is not None:
        if act.simple.feeds:
            _fed(act, found)
        elif act.simple.stdin is not None:
            found.add("inline_exec", f"code for {act.name} in the command", act)
    elif not told and not act.operands()[0].known:
        _made(act, found)


def _script_at(texts: list[str]) -> int:
    """Return the index of the script or module: later words are its own arguments."""
    at = 0
    while at < len(texts) and texts[at].startswith("-") and texts[at] != "-":
        if re.fullmatch(r"-[A-Za-z]*m", texts[at]):
            return at
        at += 2 if texts[at] in _SCRIPT_TAKES else 1
    return at


def _from_input(act: Acts, found: Found) -> None:
    fetched = {name_of(feed.words[0]) for feed in act.simple.feeds if feed.words} & FETCHERS
    if act.name == "parallel" and not inner_of(act.words):
        found.add("inline_exec", "what runs is read from the input", act)
    for words in inner_of(act.words):
        if words and name_of(words[0]) in SHELLS | set(INTERPRETERS):
            found.add("remote_exec" if fetched else "inline_exec", "what runs is read from the input", act)
        if words and name_of(words[0]) in ("rm", "shred", "mv", "dd", "chmod", "chown"):
            found.add("system_destroy", "what is removed or changed is read from the input", act)


def _text(text: str, act: Acts, found: Found) -> list[str]:
    if GAP not in text:
        return [text]
    _made(act, found)
    return [text.replace(GAP, "")] if text.replace(GAP, "").strip() else []


def _made(act: Acts, found: Found) -> None:
    """Add the danger of code that comes from a substitution or a variable."""
    names = {name_of(inner.words[0]) for inner in _within(act.simple) if inner.words}
    if names & FETCHERS:
        found.add("remote_exec", "code from the network is run", act)
    if names & DECODERS - {"sed", "awk", "tr", "printf"}:
        found.add("encoding_bypass", "code is decoded and run", act)
    found.add("inline_exec", "the code that runs is made while it runs", act)
    found.unclear.append(f"what {act.name} would run is known only to the shell")


def _within(simple: Simple) -> list[Simple]:
    found = list(simple.inner)
    for inner in found:
        if len(found) > 64:
            break
        found += [*inner.inner, *inner.feeds]
    return found


def _fed(act: Acts, found: Found) -> list[str]:
    """Add the danger of code that comes through a pipe."""
    feeds = act.simple.feeds
    names = {name_of(words[0]) for feed in feeds for words in _all_words(feed) if words}
    if names & FETCHERS:
        found.add("remote_exec", "code from the network is run", act)
    if names & DECODERS - {"printf"}:
        found.add("encoding_bypass", "code is decoded and run", act)
    last = feeds[-1]
    if last.words and len(feeds) == 1:
        name, texts = name_of(last.words[0]), [word.text for word in last.words[1:]]
        if name == "cat" and not texts and last.stdin is not None:
            return _text(last.stdin.text, act, found) if act.name in SHELLS else _inline(act, found)
        if name in ("echo", "printf") and all(word.known for word in last.words):
            text = " ".join(text for text in texts if text not in ("-n", "-e", "-E", "-ne", "-en", "--"))
            if "\\" in text:
                found.add("encoding_bypass", "code is decoded and run", act)
            return [text] if act.name in SHELLS else _inline(act, found)
    found.add("inline_exec", "what runs is read from a pipe", act)
    found.unclear.append(f"what {act.name} would run comes through a pipe")
    return []


def _inline(act: Acts, found: Found) -> list[str]:
    found.add("inline_exec", f"code for {act.name} in the command", act)
    return []


def _all_words(simple: Simple) -> list[tuple[Word, ...]]:
    found = [simple.words]
    for words in found:
        if len(found) > 32:
            break
        found += inner_of(words)
    return found


def across(line: Line, found: Found) -> None:
    """Find dangers that only the whole line shows: a fetched file that is run, a shell behind a named pipe, a fork
    bomb."""
    fetched: set[str] = set()
    names = [name_of(command.words[0]) for command in line.commands if command.words]
    if {"mkfifo", "mknod"} & set(names) and NET_CATS & set(names) and SHELLS & set(names):
        found.add("reverse_shell", "a shell tied to the network by a named pipe", "mkfifo …")
    for command in line.commands:
        if not command.words:
            continue
        name, texts = name_of(command.words[0]), [word.text for word in command.words]
        if {text.removeprefix("./") for text in texts} & fetched and (
            name in SHELLS
            or name in INTERPRETERS
            or name in ("source", ".", "chmod", "install")
            or texts[0].removeprefix("./") in fetched
        ):
            found.add("remote_exec", "a file that was fetched is run", " ".join(texts))
        if name in FETCHERS:
            fetched |= _fetched(command, texts)
        if (
            name in line.functions
            and command.background
            and name in {name_of(f.words[0]) for f in command.feeds if f.words}
        ):
            found.add("system_destroy", "a function that multiplies itself", " ".join(texts))


def _fetched(command: Simple, texts: list[str]) -> set[str]:
    files = {each.target.text.removeprefix("./") for each in command.redirects if each.writes}
    for one, following in pairwise(texts):
        if one in ("-o", "-O", "--output", "--output-document") or re.fullmatch(r"-[a-zA-Z]*[oO]", one):
            files.add(following.removeprefix("./"))
    files |= {text.rstrip("/").rsplit("/", 1)[-1].partition("?")[0] for text in texts if "://" in text}
    return files - {"-", ""}
