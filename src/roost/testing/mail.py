"""A strict test double of a mail server, on loopback: IMAP for one mailbox, and SMTP.

    with MailServer() as mail:
        # bots.toml: imap = mail.imap, smtp = mail.smtp, tls = "none"; the secret is mail.password
        mail.write("Hello", subject="A question")
        mail.until(lambda: mail.texts() == ["Hello yourself."])

It signs in one user, numbers messages, gives them new numbers when it is told to, wants lines of SMTP in order, with
CRLF and in seven bits, and headers that RFC 5322 wants once. A message with a `Message-ID` that it has seen is kept
once, as large servers do."""

from __future__ import annotations

import email
import email.policy
import re
import socket
import socketserver
import threading
import time
from abc import ABC, abstractmethod
from base64 import b64decode
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from types import TracebackType
from typing import Any, NamedTuple

ADDRESS, PASSWORD, VERIFIER = "agent@house.example", "fake-password-of-a-mail-double-01", "mx.house.example"
ADA = "ada@people.example"
_ONCE = ("From", "To", "Date", "Message-ID", "Subject", "Auto-Submitted")
_COMMAND = re.compile(r"(\S+) (UID )?([A-Z]+)(?: (.*))?", re.IGNORECASE)


class Kept(NamedTuple):
    """A message of the mailbox. at: when it came."""

    uid: int
    raw: bytes
    at: float
    seen: list[bool]


class Mail:
    """The state of the double. Its methods may be called from any thread.

    validity: of the numbers. sent: what came by SMTP, each message once. repeated: those that came again."""

    def __init__(self) -> None:
        self.address, self.password, self.verifier = ADDRESS, PASSWORD, VERIFIER
        self.validity, self.repeated = 1, 0
        self.sent: list[EmailMessage] = []
        self.lock = threading.RLock()
        self.box: list[Kept] = []
        self.next = 1
        self.faults: list[int] = []
        self.offline = False
        """Whether connections to the mailbox are ended."""

    def write(
        self,
        text: str,
        *,
        sender: str = ADA,
        subject: str = "A question",
        answers: EmailMessage | None = None,
        verdict: str = "dmarc=pass",
        html: bool = False,
        file: tuple[str, str, bytes] | None = None,
        id: str = "",
        **headers: str,
    ) -> str:
        """A person writes. answers: a message of the bot. verdict: what the server has found. headers: further ones,
        with `_` for `-`. Return the message's id."""
        made = EmailMessage(policy=email.policy.SMTP)
        made["Authentication-Results"] = (
            f"{self.verifier}; {verdict} header.from={sender.rpartition('@')[2].strip('>')}"
        )
        made["From"], made["To"], made["Subject"] = sender, self.address, subject
        made["Date"], made["Message-ID"] = formatdate(), id or make_msgid(domain="people.example")
        if answers is not None:
            made["In-Reply-To"] = answers["Message-ID"]
        for name, value in headers.items():
            made[name.replace("_", "-")] = value
        made.set_content(text, subtype="html" if html else "plain")
        if file is not None:
            main, _, sub = file[1].partition("/")
            made.add_attachment(file[2], maintype=main, subtype=sub, filename=file[0])
        self.deliver(made.as_bytes())
        return str(made["Message-ID"])

    def deliver(self, raw: bytes, *, at: float = 0.0) -> None:
        """Put a message into the mailbox as it is. at: when it came; 0 for now."""
        with self.lock:
            self.box.append(Kept(self.next, raw, at or time.time(), [False]))
            self.next += 1

    def renumber(self) -> None:
        """Give all messages new numbers, as a server does that was restored."""
        with self.lock:
            self.validity += 1
            self.box = [one._replace(uid=place + 101) for place, one in enumerate(self.box)]
            self.next = len(self.box) + 101

    def fail(self, *codes: int) -> None:
        """Let the next messages of the bot fail with these codes. -1: it is taken, and the answer gets lost."""
        with self.lock:
            self.faults += codes

    def texts(self) -> list[str]:
        """The plain texts of what the bot has sent."""
        with self.lock:
            bodies = [one.get_body(("plain",)) for one in self.sent]
        return [one.get_content().replace("\r\n", "\n").strip() for one in bodies if one is not None]

    def take(self, sender: str, recipients: list[str], raw: bytes) -> None:
        """Keep a message that came by SMTP. Raises `ValueError` for one that is not well made."""
        if re.search(rb"(?<!\r)\n|\r(?!\n)", raw) or max(raw) > 127 or max(map(len, raw.split(b"\r\n"))) > 998:
            raise ValueError("a line that is no line of SMTP")
        message = email.message_from_bytes(raw, policy=email.policy.default)
        if message.defects or any(len(message.get_all(name, [])) != 1 for name in _ONCE):
            raise ValueError(f"a header that is missing or there twice: {message.defects}")
        if sender != self.address or message["From"] != self.address or [message["To"]] != recipients:
            raise ValueError("the envelope is another one's")
        with self.lock:
            if any(one["Message-ID"] == message["Message-ID"] for one in self.sent):
                self.repeated += 1
            else:
                self.sent.append(message)


class _Lines(socketserver.StreamRequestHandler, ABC):
    """One connection, line by line."""

    server: Any

    def say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")

    def hear(self) -> str:
        """Return a line. Raises `ConnectionError` at the end."""
        line = self.rfile.readline(10_000)
        if not line.endswith(b"\r\n"):
            raise ConnectionError
        return line[:-2].decode()

    @property
    def mail(self) -> Mail:
        return self.server.mail

    def handle(self) -> None:
        try:
            self.talk()
        except (OSError, ConnectionError):
            return

    @abstractmethod
    def talk(self) -> None: ...


class _Imap(_Lines):
    def talk(self) -> None:
        self.say("* OK IMAP4rev1 double")
        signed_in = selected = False
        while True:
            line = self.hear()
            found = _COMMAND.fullmatch(line)
            if self.mail.offline or found is None:
                return
            tag, by_uid, name, rest = found[1], bool(found[2]), found[3].upper(), found[4] or ""
            if name == "CAPABILITY":
                self.say("* CAPABILITY IMAP4rev1")
            elif name == "LOGIN" and not signed_in:
                user, _, password = rest.partition(" ")
                if user.strip('"') != self.mail.address or password.strip('"') != self.mail.password:
                    self.say(f"{tag} NO [AUTHENTICATIONFAILED] wrong")
                    continue
                signed_in = True
            elif name == "SELECT" and signed_in and rest.strip('"') == "INBOX":
                selected = True
                with self.mail.lock:
                    self.say(f"* {len(self.mail.box)} EXISTS")
                    self.say(f"* OK [UIDVALIDITY {self.mail.validity}] numbers")
                    self.say(f"* OK [UIDNEXT {self.mail.next}] next")
            elif name == "LOGOUT":
                self.say("* BYE")
                self.say(f"{tag} OK")
                return
            elif by_uid and selected and name in ("SEARCH", "FETCH", "STORE"):
                getattr(self, f"_{name.lower()}")(rest)
            elif name != "NOOP":
                self.say(f"{tag} BAD {name} here")
                continue
            self.say(f"{tag} OK done")

    def _search(self, rest: str) -> None:
        with self.mail.lock:
            if found := re.fullmatch(r"UID (\d+):\*", rest):
                last = self.mail.box[-1].uid if self.mail.box else 0
                uids = [one.uid for one in self.mail.box if one.uid >= int(found[1]) or one.uid == last]
            elif found := re.fullmatch(r'HEADER Message-ID "(<[^"]+>)"', rest):
                uids = [one.uid for one in self.mail.box if found[1].encode() in one.raw.partition(b"\r\n\r\n")[0]]
            else:
                day = time.strptime(rest.removeprefix("SINCE "), "%d-%b-%Y")
                uids = [one.uid for one in self.mail.box if time.gmtime(one.at)[:3] >= day[:3]]
        self.say(" ".join(["* SEARCH", *map(str, uids)]))

    def _fetch(self, rest: str) -> None:
        uid, _, what = rest.partition(" ")
        with self.mail.lock:
            place, one = next(((n, one) for n, one in enumerate(self.mail.box, 1) if one.uid == int(uid)), (0, None))
        if one is None:
            return
        if what == "(INTERNALDATE RFC822.SIZE)":
            date = time.strftime("%d-%b-%Y %H:%M:%S +0000", time.gmtime(one.at))
            self.say(f'* {place} FETCH (UID {uid} INTERNALDATE "{date}" RFC822.SIZE {len(one.raw)})')
            return
        data = one.raw if what == "(BODY.PEEK[])" else one.raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        self.wfile.write(f"* {place} FETCH (UID {uid} {what[1:-1].replace('.PEEK', '')} {{{len(data)}}}\r\n".encode())
        self.wfile.write(data + b")\r\n")

    def _store(self, rest: str) -> None:
        uid, _, what = rest.partition(" ")
        assert what == "+FLAGS.SILENT (\\Seen)"
        with self.mail.lock:
            for one in self.mail.box:
                if one.uid == int(uid):
                    one.seen[0] = True


class _Smtp(_Lines):
    def talk(self) -> None:
        self.say("220 double ESMTP")
        signed_in, sender, recipients = False, "", list[str]()
        while True:
            verb, _, rest = self.hear().partition(" ")
            match verb.upper():
                case "EHLO":
                    self.say("250-double")
                    self.say("250-SIZE 40000000")
                    self.say("250 AUTH PLAIN")
                case "AUTH" if rest.startswith("PLAIN "):
                    given = b64decode(rest[6:]).decode().split("\0")
                    signed_in = given[1:] == [self.mail.address, self.mail.password]
                    self.say("235 in" if signed_in else "535 5.7.8 wrong")
                case "MAIL" if signed_in and (found := re.match(r"FROM:<([^<>]+)>", rest, re.IGNORECASE)):
                    sender, recipients = found[1], []
                    self.say("250 ok")
                case "RCPT" if sender and (found := re.match(r"TO:<([^<>]+)>", rest, re.IGNORECASE)):
                    gone = found[1].startswith("gone@")
                    recipients += [] if gone else [found[1]]
                    self.say("550 5.1.1 no such user" if gone else "250 ok")
                case "DATA" if recipients:
                    self.say("354 go on")
                    self._data(sender, recipients)
                    sender, recipients = "", []
                case "RSET" | "NOOP":
                    self.say("250 ok")
                case "QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("503 5.5.1 not here")

    def _data(self, sender: str, recipients: list[str]) -> None:
        lines = list[bytes]()
        while (line := self.rfile.readline(10_000)) != b".\r\n":
            if not line:
                raise ConnectionError
            lines.append(line[1:] if line.startswith(b"..") else line)
        with self.mail.lock:
            fault = self.mail.faults.pop(0) if self.mail.faults else 0
        if fault > 0:
            self.say(f"{fault} a fault")
            return
        try:
            self.mail.take(sender, recipients, b"".join(lines))
        except ValueError as error:
            self.say(f"554 5.6.0 {error}")
            return
        if fault:
            raise ConnectionError
        self.say("250 2.0.0 taken")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True
    mail: Mail

    def server_bind(self) -> None:
        self.connections = set[socket.socket]()
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)


class MailServer(Mail):
    """The double, served in threads of this process."""

    def __init__(self) -> None:
        super().__init__()
        self._servers = [_Server(("127.0.0.1", 0), _Imap), _Server(("127.0.0.1", 0), _Smtp)]
        for one in self._servers:
            one.mail = self
        self.imap, self.smtp = (f"127.0.0.1:{one.server_address[1]}" for one in self._servers)
        self._threads = [
            threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.05}) for one in self._servers
        ]

    def __enter__(self) -> MailServer:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for one in self._servers:
            one.shutdown()
        for one in self._threads:
            one.join()
        self.hang_up()
        for one in self._servers:
            one.server_close()

    def hang_up(self) -> None:
        """End all connections."""
        for server in self._servers:
            for one in [*server.connections]:
                server.connections.discard(one)
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait for a condition. Raises `AssertionError` with what the bot has said."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s; the bot said {self.texts()}"
            time.sleep(0.01)
