"""Files both ways: what people send reaches the agent or its workspace, what the agent makes reaches the chat."""

from __future__ import annotations

import base64
from typing import Any

from roost.log.content import Image
from roost.models.profile import Profile
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.testing.telegram import TelegramServer

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def _parts(request: Any) -> Answer:
    parts = request.messages[-1].parts
    told = [getattr(one, "text", "") or f"{type(one).__name__} {one.media_type}" for one in parts]
    return Answer(text=" + ".join(told))


def test_what_people_send(bot: Any, telegram: TelegramServer) -> None:
    """Pictures go to a model that takes them; what it does not take is in the workspace."""
    served = bot(_parts, profile=Profile(images=True, files=False, audio=False))
    telegram.send_file("photo", PNG, caption="Look")
    telegram.until(lambda: telegram.texts() == ["Look + [a file, 'photo.jpg'] + Image image/png"])
    telegram.send_file("sticker", PNG)
    telegram.until(lambda: "Image" in telegram.texts()[-1] and "sticker.webp" in telegram.texts()[-1])
    telegram.send_file("sticker", b"moves", file={"emoji": "🎉", "is_animated": True})
    telegram.until(lambda: telegram.texts()[-1] == "[a sticker: 🎉]")
    telegram.write("", venue={"location": {"latitude": 1.5, "longitude": 2.5}, "title": "Cafe", "address": "A 1"})
    telegram.until(lambda: telegram.texts()[-1] == "[a place: Cafe, A 1, at 1.5, 2.5]")
    telegram.write("", contact={"phone_number": "+49", "first_name": "Bob"})
    telegram.until(lambda: telegram.texts()[-1] == "[a contact: Bob , +49]")
    telegram.send_file("document", PNG, file={"mime_type": "image/png", "file_name": "scan.png"})
    telegram.until(lambda: telegram.texts()[-1] == "[a file, 'scan.png'] + Image image/png")
    said = len(telegram.texts())
    telegram.album(PNG, PNG, PNG, caption="Three")
    telegram.until(lambda: len(telegram.texts()) > said)
    assert telegram.texts()[-1].count("Image") == 3, "an album is one input"
    assert telegram.texts()[-1].startswith("Three + ")
    telegram.send_file(
        "document", b"%PDF-1.4 not much", file={"mime_type": "application/pdf", "file_name": "../a b.pdf"}
    )
    telegram.until(lambda: "a b.pdf" in telegram.texts()[-1])
    assert "in the workspace as received/" in telegram.texts()[-1]
    telegram.send_file("voice", b"OggS" + bytes(40), file={"mime_type": "audio/ogg"})
    telegram.until(lambda: telegram.texts()[-1].startswith("[a voice message: in the workspace as received/"))
    kept = sorted(path.name[7:] for path in served.home.rglob("received/*"))
    assert kept == ["a b.pdf", "voice.ogg"]
    assert len(telegram.texts()) == said + 3


def test_a_voice_message_is_written_down_by_a_model_that_can(bot: Any, telegram: TelegramServer) -> None:
    heard: list[Any] = []

    def ear(request: Any) -> Answer:
        heard.append(request.messages[-1].parts)
        return Answer(text="Call me at noon")

    served = bot(_parts, 'allow = ["7"]\nvoice = "ear"', profile=Profile())
    model = ScriptedModel(ear, name="ear", profile=Profile(audio=True))
    served.daemon._runtime.models.register("ear", lambda name: model)
    message = telegram.send_file("voice", b"OggS" + bytes(40), file={"mime_type": "audio/ogg"})
    telegram.until(lambda: telegram.texts() == ["[a voice message, written down]\nCall me at noon"])
    telegram.repeat()
    telegram.write("End")
    telegram.until(lambda: telegram.texts()[-1] == "End")
    assert message
    assert len(telegram.texts()) == 2
    assert len(heard) == 1, "a message that comes again is not written down, and paid, again"
    assert type(heard[0][-1]).__name__ == "Audio"


def test_what_an_agent_sends(bot: Any, telegram: TelegramServer) -> None:
    """Files that an answer links to, files of `send_message`, and media of an answer."""

    def model(request: Any) -> Answer:
        said = request.messages[-1]
        if hasattr(said, "call"):
            return Answer(text=f"Done: [the table](out/table.csv), [none](none.txt), {said.parts[0].text[:40]}")
        words = said.parts[0].text
        if words == "draw":
            return Answer(text="Drawn", media=(Image("image/png", base64.b64encode(PNG).decode()),))
        if words == "write":
            return Answer(calls=(Call("write_file", {"path": "out/table.csv", "content": "a,b\n1,2\n"}),))
        given = {"text": "For you", "files": ["out/table.csv"] if words == "tell" else [words]}
        return Answer(calls=(Call("send_message", given),))

    bot(model, 'allow = ["7"]\nstream = false', tools=["send_message", "write_file"], permissions="all")
    telegram.write("draw")
    telegram.until(lambda: len(telegram.sent()) == 2)
    assert telegram.texts()[0] == "Drawn"
    drawn = telegram.sent()[1].file
    assert drawn is not None
    assert (drawn.kind, drawn.data, drawn.name) == ("photo", PNG, "image-1.png")
    telegram.write("write")
    telegram.until(lambda: len(telegram.sent()) == 5)
    assert telegram.texts()[2].startswith("Done: the table, none, ")
    assert telegram.texts()[3] == "none.txt: 'none.txt' does not exist"
    file = telegram.sent()[4].file
    assert file is not None
    assert (file.kind, file.name, file.media_type, file.data) == ("document", "table.csv", "text/csv", b"a,b\n1,2\n")
    telegram.fail("500", "sendDocument")
    telegram.write("tell")
    telegram.until(lambda: sum(one.file is not None for one in telegram.sent()) == 4)
    assert telegram.texts().count("For you") == 1
    telegram.write("../secret")
    telegram.until(lambda: any("denied by roost" in one for one in telegram.texts()))
    assert telegram.texts().count("For you") == 1, "nothing is sent of a message with a file that cannot be read"


def test_a_broken_picture_is_sent_as_a_document(bot: Any, telegram: TelegramServer) -> None:
    def model(request: Any) -> Answer:
        return Answer(text="Look", media=(Image("image/png", base64.b64encode(b"no picture").decode(), name="x.png"),))

    bot(model)
    telegram.write("draw")
    telegram.until(lambda: len(telegram.sent()) == 2)
    file = telegram.sent()[1].file
    assert file is not None
    assert (file.kind, file.name) == ("document", "x.png")
