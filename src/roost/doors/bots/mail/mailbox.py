"""A mailbox by IMAP, and sending by SMTP. Everything here blocks: it is called in threads.

Python's own clients are used: they are kept with it, and a poll every few seconds needs no IDLE, which they have only
since Python 3.14."""

from __future__ import annotations

import contextlib
import imaplib
import ipaddress
import re
import smtplib
import ssl
import time
from collections.abc import Generator
from email.message import EmailMessage
from typing import NamedTuple, cast

from roost.doors.bots.platform import Failed, Refused, Unauthorized

_SECONDS = 60.0
_DATE = re.compile(rb'INTERNALDATE "([^"]{10,40})"')
_SIZE = re.compile(rb"RFC822\.SIZE (\d{1,12})")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TLS_PORTS = (993, 465)


class Server(NamedTuple):
    """Where a server is. plain: without TLS, for loopback alone. A port other than 993 and 465 has STARTTLS."""

    host: str
    port: int
    plain: bool = False

    @property
    def begins_with_tls(self) -> bool:
        return self.port in _TLS_PORTS and not self.plain


class Account(NamedTuple):
    imap: Server
    smtp: Server
    user: str
    password: str
    folder: str


class Fetched(NamedTuple):
    """A message. at: when the server got it, in seconds since 1970. raw: its header alone, if it is too large."""

    at: float
    raw: bytes
    whole: bool


class Mailbox:
    """One connection to a folder. One thread at a time uses it."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._imap: imaplib.IMAP4 | None = None
        self.validity = self.next = 0

    def open(self) -> None:
        """Sign in and select the folder; then `validity` and `next` are the server's UIDVALIDITY and UIDNEXT. Raises
        `Failed`."""
        server = self._account.imap
        with _faults("IMAP"):
            if server.begins_with_tls:
                context = ssl.create_default_context()
                self._imap = imap = imaplib.IMAP4_SSL(server.host, server.port, ssl_context=context, timeout=_SECONDS)
            else:
                self._imap = imap = imaplib.IMAP4(server.host, server.port, timeout=_SECONDS)
                if not server.plain:
                    imap.starttls(ssl.create_default_context())
            try:
                imap.login(self._account.user, self._account.password)
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                raise Unauthorized(f"IMAP: the server lets {self._account.user} not in: {_said(error)}") from None
            kind, data = imap.select(f'"{self._account.folder}"')
            if kind != "OK":
                raise Refused(f"IMAP: there is no folder {self._account.folder!r}: {data[0]!r:.100}")
            self.validity, self.next = self._told("UIDVALIDITY"), self._told("UIDNEXT")

    def _told(self, name: str) -> int:
        assert self._imap is not None
        data = self._imap.response(name)[1]
        if not data or data[0] is None:
            raise Failed(f"IMAP: the server says no {name}")
        return int(data[-1])

    def after(self, uid: int) -> list[int]:
        """Return the messages after one, in order. Raises `Failed`."""
        with _faults("IMAP"):
            self._imap_open.noop()
        return [one for one in self._search(f"UID {uid + 1}:*") if one > uid]

    def since(self, at: float) -> list[int]:
        """Return the messages that came since the day of a time. Raises `Failed`."""
        day = time.gmtime(at)
        return self._search(f"SINCE {day.tm_mday}-{_MONTHS[day.tm_mon - 1]}-{day.tm_year}")

    def find(self, id: str) -> int | None:
        """Return the newest message with a `Message-ID`. Raises `Failed`."""
        return next(reversed(self._search(f'HEADER Message-ID "{id}"')), None)

    def _search(self, what: str) -> list[int]:
        with _faults("IMAP"):
            kind, data = self._imap_open.uid("SEARCH", what)
            if kind != "OK":
                raise Failed(f"IMAP: no search: {data!r:.100}")
            return sorted(int(one) for line in data if line for one in line.split())

    def fetch(self, uid: int, most: int) -> Fetched | None:
        """Return a message; None if it is gone. Raises `Failed`."""
        with _faults("IMAP"):
            _, about = self._imap_open.uid("FETCH", str(uid), "(INTERNALDATE RFC822.SIZE)")
            line = b" ".join(one if isinstance(one, bytes) else one[0] for one in about if one)
            size, date = _SIZE.search(line), _DATE.search(line)
            if size is None or date is None:
                return None
            at = imaplib.Internaldate2tuple(b'INTERNALDATE "' + date[1] + b'"')
            whole = int(size[1]) <= most
            part = "BODY.PEEK[]" if whole else "BODY.PEEK[HEADER]"
            _, data = self._imap_open.uid("FETCH", str(uid), f"({part})")
            raw = next((cast("bytes", one[1]) for one in data if isinstance(one, tuple)), None)
            return None if raw is None else Fetched(time.mktime(at) if at else time.time(), raw, whole)

    def mark_seen(self, uid: int) -> None:
        """Show in the person's own programs that a message was read. Raises `Failed`."""
        with _faults("IMAP"):
            self._imap_open.uid("STORE", str(uid), "+FLAGS.SILENT", "(\\Seen)")

    @property
    def _imap_open(self) -> imaplib.IMAP4:
        if self._imap is None:
            raise Failed("IMAP: there is no connection")
        return self._imap

    def close(self) -> None:
        imap, self._imap = self._imap, None
        if imap is not None:
            with contextlib.suppress(OSError, imaplib.IMAP4.error):
                imap.shutdown()


def send(account: Account, sender: str, to: str, message: EmailMessage) -> None:
    """Send a message. Raises `Failed`, `Refused`."""
    server = account.smtp
    with _faults("SMTP"), contextlib.ExitStack() as stack:
        smtp: smtplib.SMTP
        if server.begins_with_tls:
            context = ssl.create_default_context()
            smtp = stack.enter_context(smtplib.SMTP_SSL(server.host, server.port, timeout=_SECONDS, context=context))
        else:
            smtp = stack.enter_context(smtplib.SMTP(server.host, server.port, timeout=_SECONDS))
            if not server.plain:
                smtp.starttls(context=ssl.create_default_context())
        smtp.login(account.user, account.password)
        smtp.sendmail(sender, [to], message.as_bytes())
        stack.pop_all()
        with contextlib.suppress(OSError, smtplib.SMTPException):  # it is taken, whatever becomes of the farewell
            smtp.quit()
        smtp.close()


def server_of(given: str, port: int, *, plain: bool) -> Server:
    """Return the server of `HOST` or `HOST:PORT`. Raises `ValueError`."""
    host, _, rest = given.rpartition(":") if ":" in given else (given, "", str(port))
    if not host or not rest.isdigit() or not 0 < int(rest) < 65536:
        raise ValueError(f"{given!r} is no server: give HOST or HOST:PORT")
    if plain and not _is_loopback(host):
        raise ValueError(f'{host!r} is reached over a network: tls = "none" is for this machine alone')
    return Server(host, int(rest), plain)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def _faults(what: str) -> Generator[None]:
    """Raise what goes wrong with a server as `Failed` or `Refused`."""
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        raise Unauthorized(f"{what}: the server does not let the bot in: {error.smtp_code}") from None
    except smtplib.SMTPRecipientsRefused as error:
        code, why = next(iter(error.recipients.values()))
        raise (Refused if code >= 500 else Failed)(f"{what}: {code} {_said(why)}") from None
    except smtplib.SMTPResponseException as error:
        kind = Refused if error.smtp_code >= 500 else Failed
        raise kind(f"{what}: {error.smtp_code} {_said(error.smtp_error)}") from None
    except (smtplib.SMTPException, imaplib.IMAP4.error, OSError, EOFError) as error:
        raise Failed(f"{what}: {type(error).__name__}: {_said(error)}") from None


def _said(given: object) -> str:
    text = given.decode(errors="replace") if isinstance(given, bytes) else str(given)
    return " ".join(text.split())[:200]
