"""Find commands that use the network, and commands that destroy the content of files."""

from __future__ import annotations

import re

from roost.policy.command import file_effects
from roost.policy.command.findings import Acts, Found
from roost.policy.command.overwrites import changed, overwritten
from roost.policy.command.shell_words import GAP
from roost.policy.command.simple_commands import Redirect
from roost.policy.command.tables import FETCHERS, INSTALLERS
from roost.policy.command.wrappers import inner_of, module_of, name_of

_GIT_NET = frozenset("clone fetch pull push ls-remote send-pack fetch-pack request-pull".split())
_COPIERS = frozenset("scp rsync sftp".split())
_SERVICES = frozenset(
    "gh glab hub aws gcloud gsutil az kubectl helm terraform tofu pulumi ansible ansible-playbook vercel netlify"
    " firebase heroku flyctl wrangler doctl twine rclone s3cmd ping traceroute mosh whois"
    " skopeo cosign oc eksctl sam cdk serverless railway surge".split()
)
"""Programs that are only useful with other machines."""
_DATABASES = frozenset("psql mysql mongosh redis-cli pg_dump".split())
_ORDERS: dict[str, frozenset[str]] = {
    "docker": frozenset("pull push login build buildx run compose search".split()),
    "podman": frozenset("pull push login build run search".split()),
    "cargo": frozenset("publish login owner yank search".split()),
    "npm": frozenset("publish login adduser view info search audit outdated unpublish deprecate".split()),
    "pnpm": frozenset("publish audit outdated".split()),
    "yarn": frozenset("publish npm audit outdated".split()),
    "gem": frozenset("push fetch".split()),
    "mvn": frozenset({"deploy", "release:perform"}),
    "poetry": frozenset({"publish"}),
    "uv": frozenset({"publish"}),
    "hatch": frozenset({"publish"}),
    "flit": frozenset({"publish"}),
    "go": frozenset(),
    "pip": frozenset({"search", "index"}),
}
_PUBLISHES = re.compile(r"(?:^|[:_-])(?:publish|release|deploy|upload)(?:$|[:_-])")
_RUNNERS = frozenset("make gmake npm pnpm yarn bun just task rake gradle ./gradlew mvn nox tox".split())
_REMOVERS = frozenset("rm unlink rmdir srm shred truncate".split())


def judge(act: Acts, found: Found) -> None:
    """Add a call's network use and the files whose content it destroys."""
    if not act.words:
        return
    if _network(act):
        found.network.append(act.shown)
    found.loses += [text for text in _lost(act) if text]
    found.edits += changed(act)


def redirected(redirect: Redirect, found: Found) -> None:
    """Note that `>` destroys the content of the file. `2>&1` names a descriptor, and no file."""
    target = redirect.target.text
    if redirect.writes and redirect.operator in (">", ">|", "&>", ">&") and not target.startswith("/dev/"):
        found.loses.append(target)


def _network(act: Acts) -> bool:
    if (meant := module_of(act.words)) is not act.words:
        act = Acts(act.simple, meant)
    name, texts = act.name, act.texts
    operands = [word.text for word in act.operands()]
    if name == "git":
        orders = set(operands[:2])
        return bool(_GIT_NET & orders) or operands[:2] in (["remote", "update"], ["submodule", "update"],
                                                           ["submodule", "add"])  # fmt: skip
    if name in _COPIERS:
        return name == "sftp" or any(":" in text for text in operands)
    if name == "openssl":
        return "s_client" in operands[:1]
    if name in _DATABASES:
        return any(text.startswith(("-h", "--host")) or "://" in text for text in texts)
    if name in FETCHERS or name in _SERVICES:
        return not (set(texts) <= {"--version", "-V", "-v", "--help", "-h", "version", "help"} and texts)
    if name in _ORDERS and _ORDERS[name] & set(operands[:2]):
        return True
    told = operands[1:2] if operands[:1] == ["run"] else [] if name in INSTALLERS else operands[:2]
    return name in _RUNNERS and any(map(_PUBLISHES.search, told))


def _lost(act: Acts) -> list[str]:
    name, operands = act.name, [word.text for word in act.operands()]
    if name in _REMOVERS:
        sized = {act.texts[at + 1] for at, text in enumerate(act.texts[:-1]) if text in ("-s", "-r", "--size")}
        return [text for text in operands if name != "truncate" or text not in sized]
    if name == "tee" and not {"-a", "--append"} & set(act.options()):
        return operands
    if name == "dd":
        return [text[3:] for text in act.texts if text.startswith("of=")]
    if name == "find" and (
        "-delete" in act.texts or any(name_of(words[0]) in _REMOVERS for words in inner_of(act.words))
    ):
        return _found(act)
    return list(overwritten(act))


def _found(act: Acts) -> list[str]:
    """Return what `find` removes: below its roots, files with one of the searched names."""
    begins = [word.text for word in file_effects.roots(act)] or ["."]
    names = [act.texts[at + 1] for at, text in enumerate(act.texts[:-1]) if text in ("-name", "-iname")]
    only = names and not {"-not", "!", "-path", "-o"} & set(act.texts)
    return [f"{begin}/{names[0]}{GAP}" for begin in begins] if only else begins
