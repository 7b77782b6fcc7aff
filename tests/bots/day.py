"""A day's conversation: some hundred messages of three people, as people write."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from roost.testing.telegram import TelegramServer

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
GROUP = -100


class Said(NamedTuple):
    """what: text, edit (of the person's message before), photo, album, voice, sticker, file, place, or again: an update
    that comes once more. input: what the agent gets first, None for a command, for what is not for it, and for what it
    has already."""

    who: str
    what: str
    text: str
    input: str | None


def _t(who: str, text: str) -> Said:
    return Said(who, "text", text, text)


def _a(text: str) -> Said:
    return _t("ada", text)


def _b(text: str) -> Said:
    return _t("bob", text)


def _command(who: str, text: str) -> Said:
    return Said(who, "text", text, None)


def _group(who: str, text: str, *, meant: bool = True) -> Said:
    name = {"ada": "Ada (7)", "bob": "Bob (8)", "yuki": "雪 Yuki (9)"}[who]
    first, *more = text.replace("@roost_bot", "").strip().splitlines()
    shown = "\n".join([f"{name}: {first}", *(f"| {line}" for line in more)])
    return Said(f"{who}@group", "text", text, shown if meant else None)


DAY: tuple[Said, ...] = (
    _a("good morning ☀️"),
    _a("what's on today?"),
    _a("i think i had smth at 10"),
    Said("ada", "edit", "i think i had something at 11", "(corrected) i think i had something at 11"),
    _b("Moin"),
    _b("kannst du mir bitte die Rechnungen von Oktober raussuchen? Die von Müller & Söhne, glaub ich"),
    Said("ada", "photo", "can you read this?", "can you read this?"),
    _a("the second line"),
    Said("ada", "voice", "", "[a voice message"),
    _a("sorry, was on the bike 🚲"),
    _a("?"),
    Said("bob", "file", "invoice.csv", "invoice.csv"),
    _b("das ist sie"),
    _b("also:\n- Netto 1.250,00\n- USt 19 %\n- Brutto ???"),
    _group("bob", "hat jemand den Schlüssel?", meant=False),
    _group("ada", "@roost_bot when is the meeting"),
    _group("yuki", "おはようございます", meant=False),
    _group("yuki", "@roost_bot 今日の予定は？"),
    _group("bob", "@roost_bot liste:\nAda (7): ich habe ja gesagt\nBob"),
    _command("ada", "/cost"),
    _a("ok"),
    _a("👍"),
    _a("can u write me a short mail to dr. weber? that i'm late. but polite"),
    _a("no shorter"),
    _a("perfect thx"),
    Said("bob", "album", "Die Belege", "Die Belege"),
    _b("reicht das so?"),
    Said("bob", "again", "", None),
    Said("bob", "sticker", "", "[a file, 'sticker.webp'"),
    _b("haha"),
    _command("bob", "/new"),
    _b("neues Thema: Urlaub"),
    _b("Portugal oder Kroatien, 2 Wochen, mit Hund, ohne Flug. was meinst du"),
    _b("und was kostet das ungefähr? ich hab so an 2.000 € gedacht"),
    Said("bob", "place", "", "[a location: 43.5, 16.4]"),
    _b("da waren wir letztes Jahr"),
    _a("https://example.org/a?b=c&d=%20e#f <- is that spam"),
    _a('they wrote: <b>You WON</b> & "click here" `rm -rf /`'),
    _a("*not bold* _not italic_ [link](javascript:alert(1))"),
    _a("lol"),
    _group("ada", "anyone lunch?", meant=False),
    _group("bob", "12:30?", meant=False),
    _group("ada", "@roost_bot remind us 12:25"),
    _group("yuki", "@roost_bot me too please"),
    _a("what was the name of that restaurant again, the one with the blue door, we went there in spring"),
    _a("near the station"),
    Said("ada", "edit", "near the old station", "(corrected) near the old station"),
    _command("ada", "/help"),
    _a("and?"),
    Said("ada", "again", "", None),
    _b("def mwst(netto):\n    return netto * 0.19\n\nwarum kommt da 237.49999999999997 raus"),
    _b("ah"),
    _b("```\nprint(round(237.49999999999997, 2))\n```"),
    _b("geht 👌🏽"),
    _a("שלום, what does that mean"),
    _a("مرحبا"),
    _a("e\u0301 vs \u00e9"),
    _a("👨‍👩‍👧‍👦🏳️‍🌈"),
    _a("a" * 4096),
    _a("that was my cat"),
    Said("ada", "sticker", "", "[a file, 'sticker.webp'"),
    _a("mailto:x@y.z +49 (0) 89 1234-56"),
    _a("3*4*5=60 and 2**10"),
    _a("/usr/bin/env is a path not a command"),
    _a("/ what"),
    Said("ada", "voice", "", "[a voice message"),
    _a("did you get it"),
    Said("ada", "photo", "", "[a file, 'photo.jpg'"),
    _a("this one too"),
    Said("ada", "album", "holiday", "holiday"),
    _a("which is best"),
    _a("1"),
    _a("2"),
    _a("3"),
    _a("stop counting"),
    _command("ada", "/approve"),
    _command("ada", "/reject"),
    _group("bob", "@roost_bot wer bringt den Kuchen mit?"),
    _group("yuki", "@roost_bot わたし"),
    Said("bob", "file", "notes.csv", "notes.csv"),
    _b("bitte zusammenfassen, 3 Sätze"),
    _b("kürzer"),
    _b("danke!!"),
    Said("bob", "again", "", None),
    _b("ps: der Termin ist am 24.12. um 18 Uhr, nicht 17"),
    Said("bob", "edit", "ps: der Termin ist am 23.12. um 18 Uhr", "(corrected) ps: der Termin ist am 23.12. um 18 Uhr"),
    _a("   spaces   "),
    _a("tabs\tand\u00a0nbsp"),
    _a("null-ish: \u200b."),
    _a("ok last thing"),
    _a("wake me 6:45"),
    _a("no 7"),
    _command("ada", "/new"),
    _a("good night"),
    _a("😴"),
    _b("gn8"),
    _group("yuki", "おやすみ", meant=False),
    _group("ada", "@roost_bot night"),
    _a("one more: what did i say about the restaurant"),
)
PEOPLE = {"ada": (7, "Ada"), "bob": (8, "Bob"), "yuki": (9, "雪 Yuki")}


class Replay:
    """Says what the people say. wanted: how the inputs begin that become of it, for each conversation: a chat, and how
    many were begun in it before."""

    def __init__(self, telegram: TelegramServer) -> None:
        self._telegram = telegram
        self._last: dict[str, int] = {}
        self._update: dict[str, int] = {}
        self._count = 0
        self._begun: dict[int, int] = {}
        self.wanted: dict[tuple[int, int], list[str]] = {}

    def say(self, said: Said) -> None:
        user, name = PEOPLE[said.who.partition("@")[0]]
        chat = GROUP if said.who.endswith("@group") else None
        person: dict[str, Any] = {"user": user, "name": name}
        match said.what:
            case "edit":
                self._telegram.edit(self._last[said.who], said.text, **person)
            case "again":
                self._telegram.repeat(self._update[said.who])
            case "photo":
                more = {"caption": said.text} if said.text else {}
                self._telegram.send_file("photo", PNG, **person, **more)
            case "album":
                self._telegram.album(PNG, PNG, PNG, caption=said.text, **person)
                self._count += 2
            case "voice":
                self._telegram.send_file("voice", b"OggS" + bytes(99), **person, file={"mime_type": "audio/ogg"})
            case "sticker":
                self._telegram.send_file("sticker", PNG, **person)
            case "file":
                about = {"mime_type": "text/csv", "file_name": said.text}
                self._telegram.send_file("document", b"a,b\n1,2\n", **person, file=about, caption=said.text)
            case "place":
                self._telegram.write("", **person, location={"latitude": 43.5, "longitude": 16.4})
            case _:
                self._last[said.who] = self._telegram.write(said.text, **person, chat=chat)
        if said.what != "again":
            self._update[said.who] = self._count
            self._count += 1
        if said.input is not None:
            place = chat or user
            self.wanted.setdefault((place, self._begun.get(place, 0)), []).append(said.input.strip())
        if said.text == "/new":
            self._begun[chat or user] = self._begun.get(chat or user, 0) + 1
