"""Find files that sed and awk scripts read and write, after the manuals of GNU sed 4.9 and gawk 5.3."""

from __future__ import annotations

import re

from roost.policy.command.findings import Acts, Found
from roost.policy.command.shell_words import Word
from roost.policy.command.simple_commands import Redirect

AWKS = frozenset("awk gawk mawk nawk original-awk".split())
_SEDS = frozenset("sed gsed ssed".split())
_LONGEST = 4_096
_ADDRESS = re.compile(
    r"(?:[0-9$~+\ufffc]+|/(?:\\.|\[[^]\n]*\]|[^/\\\n])*/[IM]*|\\(.)(?:\\.|(?!\1).)*\1[IM]*)", re.DOTALL
)
_PLAIN = re.compile(r"[pdDgGhHxnN=lqQzFP][ \t]*[0-9]*")
_LABEL = re.compile(r"[:btT][ \t]*[^;\n}]*")
_TEXT = re.compile(r"[aic](?:[^\n\\]|\\.)*", re.DOTALL)
_FILE = re.compile(r"([rRwW])[ \t]*([^\n]*)")
_FLAGS = re.compile(r"[gpiImM0-9\ufffc]*")
_STRING = r'"(?:\\.|[^"\\\n])*"'
_PRINT = re.compile(
    rf"\bprintf?\b(?:{_STRING}|\((?:{_STRING}|\((?:{_STRING}|[^()\"])*\)|[^()\"])*\)|[^;}}\n\"(>|])*>>?\s*({_STRING}|)"
    r"\s*(?=([;}\n]|$)?)"
)
_GETLINE = re.compile(rf"getline\b[^;}}\n)<]*<\s*({_STRING}|)")
_FROM_STREAM = re.compile(r"(?:^|\s)(?:-[nErusz]*f|--file)[= ]?(?:-|/dev/\S*|/proc/\S*)(?:\s|$)")
_GOES_ON = re.compile(r"\\\n|([,{(]|&&|\|\|)[ \t]*\n")
_LITERAL = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)
_GROUP = re.compile(r"\([^()]*\)")
_REDIRECTS = re.compile(r"\bprintf?\b[^;}\n>]*>")


def judge(act: Acts, found: Found) -> list[Redirect]:
    """Return the redirections of a sed or awk script; parts that cannot be read are noted in `unclear`."""
    if act.name in _SEDS or act.name in AWKS:
        found.judging.spend(sum(map(len, act.texts)) // 16)
    if (act.name in _SEDS or act.name in AWKS) and _FROM_STREAM.search(" ".join(act.texts)):
        found.unclear.append(f"the {act.name} script is read from a stream")
    if act.name in _SEDS:
        return [each for text in _scripts(act) for each in _sed(text, found)]
    if act.name in AWKS and "-f" not in act.options():
        return [each for word in _programs(act) for each in _awk(word.text, found)]
    return []


def _scripts(act: Acts) -> list[str]:
    """Return the sed scripts: of `-e X`, `-eX`, `-ne X`, `--expression=X`, or the first operand."""
    texts, said = act.texts, list[str]()
    for at, text in enumerate(texts):
        if re.fullmatch(r"-[nEruszi]*e|--expression", text):
            said += texts[at + 1 : at + 2]
        elif (given := re.match(r"(?:-[nErusz]*e|--expression=)(.+)", text, re.DOTALL)) and not text.startswith("--e="):
            said.append(given[1])
    if said or any(re.match(r"-[nErusz]*f|--file", text) for text in texts):
        return said
    return [word.text for word in act.operands()[:1]]


def _programs(act: Acts) -> list[Word]:
    """Return the awk program: the first word that is neither an option nor an option's value."""
    words, at = act.words[1:], 0
    while at < len(words):
        text = words[at].text
        if text in ("-v", "-F", "-i", "-l", "--assign", "--field-separator"):
            at += 2
        elif text in ("-e", "--source"):
            return list(words[at + 1 : at + 2])
        elif text.startswith("-") and text != "--":
            at += 1
        else:
            return list(words[at + (text == "--") :][:1])
    return []


def _awk(text: str, found: Found) -> list[Redirect]:
    said: list[Redirect] = []
    if len(text) > _LONGEST:
        found.unclear.append("the awk script is too long to be looked at")
        return said
    text = _GOES_ON.sub(r"\1 ", text)
    for pattern, sign in ((_PRINT, ">"), (_GETLINE, "<")):
        for each in pattern.finditer(text):
            if not each[1] or "\\" in each[1] or (sign == ">" and each[2] is None):
                found.unclear.append("which file the awk script touches is known only to it")
            else:
                said.append(Redirect(sign, Word(each[1][1:-1])))
    bare = _LITERAL.sub("", text)
    while bare != (bare := _GROUP.sub("", bare)):
        pass
    if len(_REDIRECTS.findall(bare)) > sum(each.writes for each in said):
        found.unclear.append("which file the awk script touches is known only to it")
    if re.search(r"\bARGV\b\s*\[[^]]*\]\s*=|@(?:include|load)\b", text):
        found.unclear.append("which file the awk script touches is known only to it")
    return said


def _sed(text: str, found: Found) -> list[Redirect]:
    said: list[Redirect] = []
    if len(text) > _LONGEST:
        found.unclear.append("the sed script is too long to be looked at")
        return said
    at, end = 0, len(text)
    while at < end:
        if text[at] in " \t\n;{}!,":
            at += 1
        elif text[at] == "#":
            at = end if "\n" not in text[at:] else text.index("\n", at)
        elif address := _ADDRESS.match(text, at):
            at = address.end()
        elif text[at] in "sy":
            at = _substituted(text, at, said)
        elif file := _FILE.match(text, at):
            said.append(Redirect("<" if file[1] in "rR" else ">", Word(file[2].strip())))
            at = file.end()
        elif plain := (_TEXT.match(text, at) or _LABEL.match(text, at) or _PLAIN.match(text, at)):
            at = plain.end()
        else:
            at = -1
        if at < 0:
            found.unclear.append("the sed script is not understood")
            break
    return [each for each in said if each.target.text]


def _substituted(text: str, at: int, said: list[Redirect]) -> int:
    """Return the position after `s/a/b/flags` or `y/a/b/`; -1 if it does not end."""
    sign = text[at + 1 : at + 2]
    if not sign or sign in "\\\n":
        return -1
    place, seen, within = at + 2, 0, False
    while place < len(text) and seen < 2:
        if text[place] == "\\":
            place += 1
        elif text[place] == sign and not within:
            seen += 1
        elif seen == 0:
            within = _in_brackets(text, place, within)
        place += 1
    if seen < 2:
        return -1
    if text[at] == "y":
        return place
    flags = _FLAGS.match(text, place)
    place = flags.end() if flags else place
    if text[place : place + 1] == "w":
        line = text[place + 1 :].split("\n", 1)[0]
        said.append(Redirect(">", Word(line.strip())))
        return place + 1 + len(line)
    return place if text[place : place + 1] in ("", " ", "\t", "\n", ";", "}", "#") else -1


def _in_brackets(text: str, place: int, within: bool) -> bool:
    """Whether the position is inside brackets, where the delimiter is a plain character; only if the bracket closes."""
    if within:
        return text[place] != "]"
    return text[place] == "[" and "]" in text[place + 2 :]
