"""Letters through the test double of a mail server and a real daemon."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.agent.definition import Agent
from roost.doors.bots.mail.messages import Mail, fresh, own_id, read, verified
from roost.doors.bots.platform import Refused
from roost.doors.bots.platforms import maker
from roost.errors import ConfigError
from roost.features.bots.bots_file import Bot
from roost.log.content import Image
from roost.testing.mail import ADA, ADDRESS, MailServer
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.function import tool
from tests.bots.conftest import echo
from tests.bots.test_files import PNG
from tests.server.conftest import Served


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with MailServer() as found:
        monkeypatch.setenv("MAIL_PASSWORD", found.password)
        yield found


@pytest.fixture
def bot(serve: Any, mail: MailServer, tmp_path: Path) -> Callable[..., Served]:
    def make(model: Any = echo, **options: Any) -> Served:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        (home / "policy.toml").write_text('[secrets.mail]\nfrom = "env:MAIL_PASSWORD"\n')
        (home / "bots.toml").write_text(
            '[bots.post]\nplatform = "email"\nagent = "clerk"\ntoken = "{{secret:mail}}"\n'
            f'address = "{mail.address}"\nimap = "{mail.imap}"\nsmtp = "{mail.smtp}"\ntls = "none"\n'
            f'auth_server = "{mail.verifier}"\npoll_seconds = 0.1\npace_seconds = 0\nallow = ["{ADA}"]\n'
        )
        served = serve(agents=[Agent("clerk", model=ScriptedModel(model), **options)], home=home)
        mail.until(lambda: served.get("/bots")["bots"][0]["title"])
        return served

    return make


def test_a_correspondence(bot: Any, mail: MailServer) -> None:
    mail.write("before the bot was there")
    served = bot()
    id = mail.write("Hello **there**\n\n-- \nAda", subject="A question")
    mail.until(lambda: mail.texts() == ["You said: A question\n\nHello there"])
    (answer,) = mail.sent
    assert answer["Subject"] == "Re: A question"
    assert answer["In-Reply-To"] == answer["References"] == id
    assert "<b>there</b>" in answer.get_body(("html",)).get_content()  # type: ignore[union-attr]
    mail.fail(-1)
    mail.write("Of a file\n\nOn Monday, Bot wrote:\n> Hello", answers=answer, file=("n.txt", "text/plain", b"words"))
    mail.until(lambda: len(mail.sent) == 2 and mail.repeated == 1)
    assert len(served.get("/sessions")["sessions"]) == 1, (
        "an answer that names the bot's message alone is in its thread"
    )
    mail.write("/cost", answers=answer)
    mail.until(lambda: len(mail.sent) == 3)
    assert mail.texts()[2].startswith("This conversation has cost")
    mail.write("another", subject="Another thread")
    mail.until(lambda: len(mail.sent) == 4)
    assert len(served.get("/sessions")["sessions"]) == 2


def test_nothing_is_lost_or_doubled_when_the_server_goes_and_renumbers(bot: Any, mail: MailServer) -> None:
    mail.deliver(f"From: {ADA}\r\n\r\nfrom before the bot".encode(), at=time.time() - 60)
    served = bot()
    mail.write("One", subject="")
    mail.until(lambda: mail.texts() == ["You said: One"])
    mail.hang_up()
    mail.write("Two", subject="")
    mail.until(lambda: mail.texts()[1:] == ["You said: Two"])
    served.stop()
    mail.write("Three", subject="")
    mail.renumber()
    bot()
    mail.until(lambda: mail.texts()[2:] == ["You said: Three"])
    mail.write("Four", subject="")
    mail.until(lambda: mail.texts()[3:] == ["You said: Four"])
    assert [one.seen[0] for one in mail.box] == [False, True, True, True, True]


def test_what_programs_and_forgers_write_gets_no_answer(bot: Any, mail: MailServer) -> None:
    served = bot()
    mail.write("forged", verdict="dmarc=fail")
    mail.write("forged", verdict="dmarc=pass header.from=other.example; spf=pass smtp.mailfrom=x@other.example")
    mail.write("away", Auto_Submitted="auto-replied")
    mail.write("a list", List_Id="<all.people.example>")
    mail.write("a report", sender="MAILER-DAEMON@people.example")
    mail.write("own", sender=ADDRESS)
    mail.deliver(b"From: =?utf-8?q?\r\n\r\n\xff\xfe")
    mail.deliver(b"\r\n")
    mail.write("unknown", sender="Eve <eve@people.example>")
    mail.write("honest", subject="")
    mail.until(lambda: len(mail.sent) == 2)
    assert sorted(one["To"] for one in mail.sent) == [ADA, "eve@people.example"]
    assert "I do not know you yet" in "".join(mail.texts())
    assert len(served.get("/sessions")["sessions"]) == 1


def test_a_question_is_answered_by_a_mail(bot: Any, mail: MailServer) -> None:
    @tool(replay="never", safety="destructive")
    async def strike(what: str) -> str:
        """Needs an approval."""
        return f"struck {what}"

    def model(request: Any) -> Answer:
        done = any(hasattr(message, "call") for message in request.messages)
        return Answer(text="Done.") if done else Answer(calls=(Call("strike", {"what": "it"}),))

    bot(model, tools=[strike])
    mail.write("strike it")
    mail.until(lambda: mail.sent)
    assert "/approve" in mail.texts()[0]
    mail.write("/approve\n\nOn Monday, Bot wrote:\n\n> May I?", answers=mail.sent[0])
    mail.until(lambda: "Done." in mail.texts())


def test_files_both_ways(bot: Any, mail: MailServer) -> None:
    picture = Image("image/png", base64.b64encode(PNG).decode())
    bot(lambda request: Answer(text="Drawn", media=(picture,)))
    id = mail.write("Like this", file=("a.png", "image/png", PNG))
    mail.until(lambda: len(mail.sent) == 2)
    (sent,) = mail.sent[1].iter_attachments()
    assert (sent.get_filename(), sent.get_payload(decode=True)) == ("image-1.png", PNG)
    assert mail.sent[1]["References"] == id


def test_a_file_of_a_message_that_waited_is_found_again(mail: MailServer) -> None:
    id = mail.write("Look", file=("a.png", "image/png", PNG))
    options = {"address": mail.address, "imap": mail.imap, "smtp": mail.smtp, "tls": "none", "unverified": True}
    platform = maker("email")(Bot(name="x", platform="email", options=options), mail.password, "")
    assert asyncio.run(platform.fetch(f"0 {id}", 1000)) == PNG
    with pytest.raises(Refused, match="more than 10 bytes"):
        asyncio.run(platform.fetch(f"0 {id}", 10))
    with pytest.raises(Refused, match="gone"):
        asyncio.run(platform.fetch("0 <other@b.example>", 10))


RESULTS = [
    ("mx.a; dmarc=pass (p=none) header.from=b.example", True),
    ("mx.a 1; spf=fail smtp.mailfrom=x@b.example; dkim=pass header.d=b.example", True),
    ("mx.a; dkim=pass header.i=@mail.b.example", False),
    ("mx.a; dkim=pass header.d=example", False),
    ("mx.a; spf=pass smtp.mailfrom=eve@c.example", False),
    ("mx.a; none (dmarc=pass)", False),
    ("mx.a.evil; dmarc=pass", False),
    ("mx.c; dmarc=pass header.from=b.example", False),
    ('mx.a; dkim=pass reason="2048-bit; key" header.d=b.example header.b="ab="', True),
    ('mx.a; spf=pass smtp.mailfrom="x@b.example"@c.example', False),
    ('mx.a; spf=pass smtp.mailfrom="x; dkim=pass header.d=b.example "@c.example', False),
    ('mx.a; spf=pass (of "x) ; dkim=pass header.d=b.example ("@c.example) smtp.mailfrom=x@c.example', False),
    ("mx.a; dkim=pass header.i==?utf-8?q?x=3b_dkim=3dpass_header.d=3db.example=3b?=@c.example", False),
    ("mx.a; dkim=pass (a (nested) comment; of one)\r\n\theader.d=b.example", True),
]


@pytest.mark.parametrize(("results", "good"), RESULTS)
def test_who_has_written_is_what_the_named_server_says(results: str, good: bool) -> None:
    raw = f"Authentication-Results: {results}\r\nFrom: Ada <ada@b.example>\r\n\r\nx".encode()
    assert verified(raw, "mx.a") is good
    assert not verified(raw.replace(b"Ada <ada@b.example>", b"a@b.example, b@b.example"), "mx.a")
    below = b"Authentication-Results: mx.a; dmarc=fail\r\n" + raw
    assert not verified(below, "mx.a"), "only the topmost one of the server counts"


def test_odd_charsets_and_endless_senders_stop_no_mailbox() -> None:
    odd = b"From: \xff\xfe <ada@b.example>\r\nContent-Type: text/plain; charset=punycode\r\n\r\nhello-\r\n"
    found = read(odd, "agent@b.example")
    assert isinstance(found, Mail)
    assert found.text == "hello-", "the time of this charset grows with the square of the text"
    msgspec.json.encode((found.name, found.subject, found.text))
    assert read(odd.replace(b"ada", b"a\0da"), "agent@b.example") == "it has no single sender"
    found = read(odd.replace(b"hello-", b"a\0b") + b"\r\n", "agent@b.example")
    assert isinstance(found, Mail)
    assert found.text == "a b", "PostgreSQL has no NUL in a text"
    endless = b"From: " + b"a" * 3000 + b" <ada@b.example>\r\n\r\nx"
    assert read(endless, "agent@b.example") == "it has no single sender"
    assert (
        read(endless.replace(b"From", b"X: " + b"x" * 200_000 + b"\r\nFrom"), "x@b.example") == "its header is too long"
    )


QUOTED = [
    ("Yes.\n\nOn Mon, 1 Jan 2026 at 10:00, Bot <b@x.example>\nwrote:\n> Hello\n> you", "Yes."),
    ("Ja.\n\nAm 1.1.2026 um 10:00 schrieb Bot:\n\n> Hallo", "Ja."),
    ("Yes.\n\n-----Original Message-----\nFrom: Bot\nSent: now\n\nHello", "Yes."),
    ("Yes.\n\nFrom: Bot <b@x.example>\nSent: Monday\nTo: Ada\n\nHello", "Yes."),
    ("On Monday he wrote: nothing.\nStill mine.", "On Monday he wrote: nothing.\nStill mine."),
    ("> quoted\nanswer below", "answer below"),
]


@pytest.mark.parametrize(("text", "own"), QUOTED)
def test_quotations_are_left_out(text: str, own: str) -> None:
    assert fresh(text) == own


def test_a_page_is_read_as_text() -> None:
    page = "<html><head><style>x{}</style></head><body><p>Yes <b>please</b>.</p><blockquote>Hello</blockquote></body>"
    raw = f"From: a@b.example\r\nContent-Type: text/html\r\nMessage-ID: <1@b>\r\n\r\n{page}".encode()
    found = read(raw, ADDRESS)
    assert isinstance(found, Mail)
    assert found.text == "Yes please."


def test_the_root_of_a_thread_is_in_the_bots_own_ids() -> None:
    own = own_id("key", "<first@b.example>", "house.example")
    raw = f"From: a@b.example\r\nMessage-ID: <2@b>\r\nIn-Reply-To: {own}\r\n\r\nx".encode()
    found = read(raw, ADDRESS)
    assert isinstance(found, Mail)
    assert found.root == "<first@b.example>"


def test_a_bot_without_a_server_that_verifies_is_refused() -> None:
    options = {"address": "a@b.example", "imap": "127.0.0.1:1", "smtp": "127.0.0.1:1"}
    make = maker("email")
    with pytest.raises(ConfigError, match="auth_server"):
        make(Bot(name="x", platform="email", options=options), "secret", "")
    given = {**options, "unverified": True, "tls": "none", "imap": "mail.example:143"}
    with pytest.raises(ConfigError, match="this machine alone"):
        make(Bot(name="x", platform="email", options=given), "secret", "")
