"""Read e-mails: who wrote what, in which thread, and whether a program did."""

from __future__ import annotations

import base64
import binascii
import email
import email.policy
import hashlib
import re
from email.headerregistry import AddressHeader
from email.message import EmailMessage
from typing import Any, NamedTuple, cast

from roost.doors.bots.page_text import page_text
from roost.doors.bots.platform import Attachment
from roost.tools.charsets import decoded

_ADDRESS = re.compile(r"[^\x00-\x20\x7f<>@,;:\"()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,190}")
_ID = re.compile(r"<[^\x00-\x20\x7f<>\s\"\\]{1,700}>")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_OWN = re.compile(r"<roost\.[0-9a-f]{24}\.([A-Za-z0-9_-]{1,900})@")
_ROBOT = re.compile(r"(mailer-daemon|postmaster|no-?reply|do-?not-?reply|bounces?)([+._-].*)?", re.IGNORECASE)
_RESULT = re.compile(r"\s*([a-z][a-z0-9-]*)(?:/\d+)?\s*=\s*([a-z]+)(.*)", re.IGNORECASE | re.DOTALL)
_PROPERTY = re.compile(r"(?:^|(?<=\s))([a-z]+\.[a-z-]+)\s*=\s*(\S+)", re.IGNORECASE)
_WROTE = re.compile(r"(?:On|Am|Le|El|Il|Op)\b.{0,300}(?:wrote|schrieb|écrit|escribió|scritto|schreef).{0,200}:")
_ORIGINAL = re.compile(r"-{2,}\s*(?:Original Message|Ursprüngliche Nachricht|Message d'origine|Forwarded message)\b.*")
_LINE = re.compile(r"_{20,}\s*")
_HEADER_LINE = re.compile(r"\*?(?:From|Von|De|Da):\*? .+")
_SENT_LINE = re.compile(r"\*?(?:Sent|Date|Gesendet|Datum|Envoyé|Enviado|To|An):\*? .+")
_TEXT, _HTML, _FILES, _FROM, _HEADER = 200_000, 500_000, 20, 2000, 200_000


class Mail(NamedTuple):
    """What a message says. root: the message that its thread began with. files: by the refs of their attachments, which
    are a number and the message's id."""

    sender: str
    name: str
    id: str
    root: str
    subject: str
    text: str
    attachments: tuple[Attachment, ...]
    files: dict[str, bytes]


def read(raw: bytes, own: str) -> Mail | str:
    """Return what a message says, or why it is not answered: a program wrote it, or it has no single sender."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    if sum(len(text) for _, text in message.raw_items()) > _HEADER:
        return "its header is too long"
    sender, name = _sender(message)
    name = _whole(name)
    if why := _automatic(message, sender, own):
        return why
    id = _first_id(message, "Message-ID") or f"<{hashlib.blake2b(raw, digest_size=16).hexdigest()}@without.id>"
    subject = _whole(" ".join(_text_of(message, "Subject").split())[:200])
    files, attachments = dict[str, bytes](), list[Attachment]()
    for place, part in enumerate(_attached(message)):
        data = cast("Any", part.get_payload(decode=True))
        ref = f"{place} {id}"
        files[ref] = data if isinstance(data, bytes) else b""
        kind: Any = main if (main := part.get_content_maintype()) in ("image", "audio", "video") else "file"
        called = _whole(" ".join((part.get_filename() or "file").split())[:200])
        attachments.append(Attachment(kind, ref, part.get_content_type(), called, len(files[ref])))
    return Mail(sender, name, id, _root(message, id), subject, _whole(fresh(_body(message))), tuple(attachments), files)


def _whole(text: str) -> str:
    """Return a text that any store takes: charsets such as UTF-7 can have halves of a character."""
    return _CONTROL.sub(" ", text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def verified(raw: bytes, server: str) -> bool:
    """Whether the mail server `server` has found that the message is from the domain of its `From`. Only the first
    `Authentication-Results` of that server counts: servers write theirs on top."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    domain = _sender(message)[0].rpartition("@")[2]
    for header, given in message.raw_items():  # raw: a sender's encoded words are not decoded into results
        if header.lower() != "authentication-results":
            continue
        name, *results = _results(str(given))
        if domain and name.split() and name.split()[0].lower() == server.lower():
            return any(_aligned(one, domain) for one in results)
    return False


def _results(header: str) -> list[str]:
    """Return the parts of `Authentication-Results` without comments. A server copies addresses into it that the sender
    chooses, so what is quoted ends no part, and a header with a quotation mark in a comment has no results."""
    parts, depth, quoted = [""], 0, False
    for one in header:
        if one == "\\" or (depth and one == '"') or (one == ")" and not depth and not quoted):
            return parts[:1]
        if quoted:
            parts[-1] += "_" if one.isspace() or one in ";=" else one
            quoted = one != '"'
        elif depth or one == "(":
            depth += (one == "(") - (one == ")")
            parts[-1] += " "
        elif one == ";":
            parts.append("")
        else:
            parts[-1] += one
            quoted = one == '"'
    return parts[:1] if depth or quoted else parts


def _aligned(result: str, domain: str) -> bool:
    found = _RESULT.fullmatch(result)
    if found is None or found[2].lower() != "pass":
        return False
    said = {name.lower(): value.strip('"').lower() for name, value in _PROPERTY.findall(found[3])}
    match found[1].lower():
        case "dmarc":
            return said.get("header.from", domain) == domain
        case "dkim":
            signer = said.get("header.d") or said.get("header.i", "").rpartition("@")[2]
            return "." in signer and (domain == signer or domain.endswith(f".{signer}"))
        case "spf":
            return said.get("smtp.mailfrom", "").rpartition("@")[2] == domain
        case _:
            return False


def own_id(key: str, root: str, domain: str) -> str:
    """Return the id of a message of the bot: the same for the same key. It holds the root of its thread, for programs
    that name the message alone that they answer."""
    digest = hashlib.blake2b(key.encode(errors="replace"), digest_size=12).hexdigest()
    return f"<roost.{digest}.{base64.urlsafe_b64encode(root.encode()).decode().rstrip('=')}@{domain}>"


def _sender(message: EmailMessage) -> tuple[str, str]:
    """Return the address in small letters, and the name; empty ones unless there is exactly one."""
    if sum(len(text) for header, text in message.raw_items() if header.lower() == "from") > _FROM:
        return "", ""  # the time to read it grows with its square
    given = message.get_all("From", [])
    header = given[0] if len(given) == 1 else None
    if not isinstance(header, AddressHeader) or len(header.addresses) != 1:
        return "", ""
    found = header.addresses[0]
    address = found.addr_spec.lower()
    if not _ADDRESS.fullmatch(address) or not address.isascii():
        return "", ""
    return address, " ".join(found.display_name.split())[:100] or address


def _automatic(message: EmailMessage, sender: str, own: str) -> str:
    """Return why a message is not answered: RFC 3834, and what programs send that do not keep to it."""
    if not sender:
        return "it has no single sender"
    if sender == own.lower():
        return "the bot wrote it"
    if _text_of(message, "Auto-Submitted").split(";")[0].strip().lower() not in ("", "no"):
        return "a program wrote it (Auto-Submitted)"
    if _text_of(message, "Return-Path").strip() == "<>" or message.get_content_type() == "multipart/report":
        return "it is a report of a mail server"
    if _text_of(message, "Precedence").strip().lower() in ("bulk", "junk", "list", "auto_reply"):
        return "it was sent to many (Precedence)"
    named = ("List-Id", "List-Unsubscribe", "X-Autoreply", "X-Autorespond", "X-Auto-Response-Suppress", "Feedback-ID")
    if found := next((one for one in named if one in message), None):
        return f"a program wrote it ({found})"
    if _ROBOT.fullmatch(sender.partition("@")[0]):
        return "its address is a program's"
    return ""


def _text_of(message: EmailMessage, name: str) -> str:
    return str(message.get(name, ""))


def _first_id(message: EmailMessage, name: str) -> str:
    found = _ID.search(_text_of(message, name))
    return found[0] if found else ""


def _root(message: EmailMessage, id: str) -> str:
    """Return the message that a thread began with."""
    known = _ID.findall(f"{_text_of(message, 'References')[:20_000]} {_text_of(message, 'In-Reply-To')[:2000]}")
    for one in reversed(known):
        if own := _OWN.match(one):
            try:
                root = base64.urlsafe_b64decode(own[1] + "=" * (-len(own[1]) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
            if _ID.fullmatch(root):
                return root
    root = known[0] if known else id
    return root if len(root) <= 250 else f"<{hashlib.blake2b(root.encode(), digest_size=16).hexdigest()}@long.id>"


def _attached(message: EmailMessage) -> list[EmailMessage]:
    """Return the parts that are files."""
    body = {id(one) for kind in ("plain", "html") if (one := message.get_body((kind,))) is not None}
    found: list[EmailMessage] = []
    for part in message.walk():
        if part.is_multipart() or id(part) in body:
            continue
        if part.get_filename() or part.get_content_maintype() != "text":
            found.append(part)
    return found[:_FILES]


def _body(message: EmailMessage) -> str:
    """Return the text, of HTML if there is no other."""
    part = message.get_body(("plain",))
    if part is not None:
        return _content(part)[:_TEXT]
    part = message.get_body(("html",))
    if part is None:
        return ""
    return page_text(_content(part)[:_HTML], quotations=False)[:_TEXT]


def _content(part: Any) -> str:
    data = part.get_payload(decode=True)
    return decoded(data, part.get_content_charset()) if isinstance(data, bytes) else ""


def fresh(text: str) -> str:
    """Return a text without what it quotes, and without a signature: what this person has written now."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ").split("\n")
    kept: list[str] = []
    for place, line in enumerate(lines):
        joined = f"{line} {lines[place + 1]}" if place + 1 < len(lines) else line
        if line.rstrip() in ("--", "__") or _ORIGINAL.fullmatch(line.strip()) or _LINE.fullmatch(line):
            break
        if _WROTE.match(joined) and any(one.startswith(">") or not one.strip() for one in lines[place + 1 : place + 4]):
            break
        if _HEADER_LINE.fullmatch(line) and place + 1 < len(lines) and _SENT_LINE.fullmatch(lines[place + 1]):
            break
        if not line.startswith(">"):
            kept.append(line.rstrip())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
