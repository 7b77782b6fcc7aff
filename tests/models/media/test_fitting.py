"""Media are checked and made to fit before a byte is sent: what arrives at a strict server is what it takes."""

from __future__ import annotations

import asyncio
import base64
import io
import struct
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image as Pil
from tests.yardstick import reference_seconds, slowness

from roost.log.content import (
    AssistantMessage,
    Audio,
    File,
    Image,
    Media,
    Message,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from roost.models.http_model import HttpModel
from roost.models.media.fit_part import Verdicts
from roost.models.media_fitting import Fitting
from roost.models.profile import MediaLimit
from roost.models.request import Completed, Failed, Notice, Profile, Request
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply
from roost.testing.models import ask, failed, run, user
from roost.testing.scripted import ScriptedModel

Make = Callable[..., HttpModel]
Draw = Callable[..., Image]
SEES = Profile(images=True, files=True, window=200_000)


def shown(*parts: Media, text: str = "What is this?") -> UserMessage:
    return UserMessage((Text(text), *parts))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def opened(data: str) -> Pil.Image:
    return Pil.open(io.BytesIO(base64.b64decode(data)))


def model_for(profile: Profile) -> tuple[ScriptedModel, Fitting]:
    inner = ScriptedModel(lambda _: "fine", profile=profile)
    return inner, Fitting(inner, verdicts=Verdicts())


async def through(profile: Profile, *messages: Message) -> tuple[tuple[Message, ...], list[dict[str, Any]]]:
    """(what the model was sent, the changes that were told)."""
    inner, fitting = model_for(profile)
    events, end = await run(fitting, ask(*messages))
    assert isinstance(end, Completed), end
    changes = [change for event in events if isinstance(event, Notice) for change in event.data["changes"]]
    return inner.requests[-1].messages, changes


async def one(profile: Profile, part: Media) -> tuple[Any, list[dict[str, Any]]]:
    messages, changes = await through(profile, shown(part))
    return messages[-1].parts[1], changes


def limited(**limit: Any) -> Profile:
    return Profile(images=True, media={"image": MediaLimit(**limit)})


async def refusal(profile: Profile, *messages: Message) -> Failed:
    """Fails before the model is asked."""
    inner, fitting = model_for(profile)
    end = await failed(fitting, ask(*messages))
    assert inner.calls == 0
    return end


async def test_a_picture_that_is_too_long_is_scaled_for_the_wire(model: Make, draw: Draw) -> None:
    with ProviderServer(lambda _: Reply(text="a line")) as server:
        made = Fitting(model(server.url, "anthropic", profile=SEES))
        events, end = await run(made, ask(shown(draw(9000, 20, name="line.png"))))
        (_, sent) = server.provider.bodies[-1]["messages"][0]["content"]
    assert isinstance(end, Completed)
    assert opened(sent["source"]["data"]).size == (8000, 18)
    (told,) = [event for event in events if isinstance(event, Notice)]
    assert told.kind == "media"
    (change,) = told.data["changes"]
    assert change["how"] == "scaled"
    assert "line.png" in change["part"]
    assert "9,000" in change["why"]


@pytest.mark.long
async def test_a_picture_that_is_too_heavy_gets_lighter(model: Make, draw: Draw) -> None:
    heavy = draw(2400, 2000, noisy=True)
    assert len(heavy.data) > 10 * 1024 * 1024
    with ProviderServer(lambda _: Reply(text="noise")) as server:
        _, end = await run(Fitting(model(server.url, "anthropic", profile=SEES)), ask(shown(heavy)))
        assert isinstance(end, Completed), end
        (_, sent) = server.provider.bodies[-1]["messages"][0]["content"]
    assert len(sent["source"]["data"]) <= 10 * 1024 * 1024
    assert sent["source"]["media_type"] == f"image/{opened(sent['source']['data']).format.lower()}"  # type: ignore[union-attr]


async def test_the_protocol_decides_what_can_be_carried(model: Make, draw: Draw) -> None:
    every = Profile(images=True, audio=True, video=True, files=True)
    pdf = File("application/pdf", encoded(b"%PDF-1.4 1"))
    with ProviderServer(lambda _: Reply(text="ok")) as server:
        for kind, code in (("anthropic", None), ("minimax", "unsupported"), ("glm", "unsupported")):
            _, end = await run(Fitting(model(server.url, kind, profile=every)), ask(shown(pdf)))
            assert (end.error.code if isinstance(end, Failed) else None) == code
    assert len(server.provider.bodies) == 1
    part, _ = await one(Profile(images=True, wire="anthropic"), draw(9000, 3))
    assert opened(part.data).size == (8000, 3)


async def test_what_fits_goes_as_it_is(draw: Draw) -> None:
    picture = draw(300, 200)
    part, changes = await one(SEES, picture)
    assert part is picture
    assert not changes


async def test_a_crowd_of_pictures_must_be_smaller(model: Make, draw: Draw) -> None:
    picture = draw(3000, 4)
    with ProviderServer(lambda _: Reply(text="many")) as server:
        made = Fitting(model(server.url, "anthropic", profile=SEES))
        for count, side in ((20, 3000), (21, 2000)):
            await run(made, ask(shown(*[picture] * count)))
            sent = server.provider.bodies[-1]["messages"][0]["content"][1:]
            assert [max(opened(block["source"]["data"]).size) for block in sent] == [side] * count


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"])
async def test_every_mode_of_a_picture_is_written_in_a_format_that_is_taken(mode: str, draw: Draw) -> None:
    part, _ = await one(limited(types=("image/jpeg",), side=40), draw(80, 60, "TIFF", mode))
    assert part.media_type == "image/jpeg"
    assert opened(part.data).size == (40, 30)


async def test_a_scaled_picture_stands_upright_and_stays_clear(draw: Draw) -> None:
    turned = Pil.Exif()
    turned[0x0112] = 6
    part, _ = await one(limited(side=100), draw(300, 150, "JPEG", exif=turned))
    assert opened(part.data).size == (50, 100)
    part, _ = await one(limited(side=100, types=("image/png",)), draw(300, 150, "PNG", "RGBA"))
    assert opened(part.data).mode == "RGBA"
    part, _ = await one(limited(side=100, types=("image/jpeg",)), draw(300, 150, "PNG", "RGBA"))
    assert opened(part.data).getpixel((5, 5)) == (255, 255, 255)


async def test_a_moving_picture_is_sent_still_where_it_must_be(model: Make) -> None:
    frames = [Pil.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    moving = Image("image/gif", encoded(out.getvalue()))
    with ProviderServer(lambda _: Reply(text="still")) as server:
        for kind, still in (("openai_chat", True), ("anthropic", False)):
            await run(Fitting(model(server.url, kind, profile=SEES)), ask(shown(moving)))
            (_, sent) = server.provider.bodies[-1]["messages"][-1]["content"]
            data = sent["image_url"]["url"].partition(",")[2] if still else sent["source"]["data"]
            assert getattr(opened(data), "n_frames", 1) == (1 if still else 3)


def png_header(width: int, height: int) -> str:
    return encoded(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0) + b"1234"
    )


async def test_a_bomb_is_not_decoded() -> None:
    began = time.process_time()
    end = await refusal(limited(side=1000), shown(Image("image/png", png_header(100_000, 100_000))))
    assert (end.error.code, "pixels" in end.error.message) == ("unsupported", True)
    tiff = io.BytesIO()
    Pil.new("1", (12_000, 12_000)).save(tiff, "TIFF", compression="group4")
    assert len(tiff.getvalue()) < 100_000
    end = await refusal(limited(types=("image/png",)), shown(Image("image/tiff", encoded(tiff.getvalue()))))
    assert "million" in end.error.message or "Bomb" in end.error.message
    assert (time.process_time() - began) / slowness() < 5


@pytest.mark.parametrize(
    ("part", "code", "said"),
    [
        (Image("image/png"), "bad_request", "neither data nor a URL"),
        (Image("image/png", url=""), "bad_request", "neither data nor a URL"),
        (Image("image/png", "not base64!"), "bad_request", "base64"),
        (Image("image/png", "iVBO\nRw0K"), "bad_request", "base64"),
        (Image("image/png", encoded(b"hello")), "bad_request", "not image/png"),
        (Image("image/png", encoded(b"%PDF-1.4 ...")), "bad_request", "application/pdf"),
        (File("application/pdf", encoded(b"PK\x03\x04zip")), "bad_request", "not application/pdf"),
        (Image("image/png", encoded(b"\x89PNG\r\n\x1a\ncut")), "unsupported", "cannot be read"),
        (Image("image/png", url="http://169.254.169.254/latest"), "unsupported", "https URL"),
        (Image("image/png", url="https://localhost/a.png"), "unsupported", "https URL"),
        (Image("image/png", url="http://localhost./a.png"), "unsupported", "https URL"),
        (Image("image/png", url="http://127.1/a.png"), "unsupported", "https URL"),
        (Image("image/png", url="http://0x7f.1/a.png"), "unsupported", "https URL"),
        (Image("image/png", url="http://2130706433/a.png"), "unsupported", "https URL"),
        (Image("image/png", url="http://①②⑦.0.0.1/a.png"), "unsupported", "https URL"),
        (Image("image/png", url="http://router/a.png"), "unsupported", "https URL"),
        (Image("image/png", url="file:///etc/passwd"), "unsupported", "https URL"),
        (Image("image/png", url="https://[::1/a.png"), "bad_request", "not valid"),
        (Audio("audio/wav", encoded(b"RIFF....WAVE")), "unsupported", "takes no sound"),
    ],
)
async def test_what_cannot_be_sent_is_refused_and_says_why(part: Media, code: str, said: str) -> None:
    types = ("image/jpeg",) if said == "cannot be read" else ()
    profile = Profile(images=True, files=True, media={"image": MediaLimit(types=types, urls=True)})
    end = await refusal(profile, shown(part))
    assert end.error.code == code
    assert not end.error.retryable
    assert said in end.error.message
    assert "scripted" in end.error.message


async def test_urls_go_only_where_they_are_fetched() -> None:
    picture = Image("image/png", url="https://example.org/a.png")
    part, _ = await one(limited(urls=True), picture)
    assert part is picture
    end = await refusal(limited(), shown(picture))
    assert end.error.code == "unsupported"
    assert "give its data" in end.error.message


async def test_data_urls_and_wrong_types_are_put_right(draw: Draw) -> None:
    picture = draw(10, 10, "JPEG")
    part, _ = await one(limited(), Image("", url=f"data:image/png;base64,{picture.data}"))
    assert part == Image("image/jpeg", picture.data)
    part, changes = await one(limited(), Image("image/png", picture.data, name="a"))
    assert part == Image("image/jpeg", picture.data, name="a")
    assert changes[0]["how"] == "corrected"
    # What was looked at is what goes, not what may be behind a URL.
    part, _ = await one(limited(), Image("image/jpg", picture.data, url="https://example.org/other"))
    assert part == Image("image/jpeg", picture.data)


async def test_older_media_do_not_stop_a_conversation_with_a_model_for_text(draw: Draw) -> None:
    picture = draw(10, 10, name="cat.png")
    talk = (shown(picture), AssistantMessage((Text("A cat."),)), user("What colour?"))
    messages, changes = await through(Profile(), *talk)
    note = messages[0].parts[1]
    assert isinstance(note, Text)
    assert "cat.png" in note.text
    assert "takes no images" in note.text
    assert messages[1:] == talk[1:]
    assert [change["how"] for change in changes] == ["left out"]
    end = await refusal(Profile(), *talk, AssistantMessage((Text("Red."),)), shown(picture), user("and this?"))
    assert end.error.code == "unsupported"
    assert "cat.png" in end.error.message
    assert "choose a model" in end.error.message


async def test_a_tool_that_shows_what_the_model_cannot_see_is_told_to_the_model(draw: Draw) -> None:
    call = AssistantMessage((ToolCall("c1", "look"),))
    result = ToolMessage("c1", "look", (Text("Done."), draw(10, 10, name="shot.png")))
    messages, changes = await through(Profile(), user("Look"), call, result)
    said = messages[-1].parts[1]
    assert isinstance(said, Text)
    assert "left out, because this model takes no images" in said.text
    assert len(changes) == 1
    # Told once: the next step has a newer message.
    _, changes = await through(Profile(), user("Look"), call, result, call, ToolMessage("c1", "look", (Text("x"),)))
    assert not changes


async def test_a_file_that_is_text_becomes_text() -> None:
    notes = File("text/markdown", encoded("# Grüße".encode()), name="notes.md")
    part, changes = await one(Profile(), notes)
    assert isinstance(part, Text)
    assert "# Grüße" in part.text
    assert "notes.md" in part.text
    assert changes[0]["how"] == "as text"
    end = await refusal(Profile(), shown(File("text/plain", encoded(b"\xff\xfe\x00"))))
    assert end.error.code == "unsupported"


async def test_too_many_leave_out_the_oldest_in_blocks(draw: Draw) -> None:
    profile = limited(count=8)

    def talk(turns: int) -> list[Message]:
        said: list[Message] = []
        for turn in range(turns):
            said += [shown(draw(4, 4, name=f"p{turn}")), AssistantMessage((Text("ok"),))]
        return [*said[:-1]]

    def left(messages: tuple[Message, ...]) -> list[bool]:
        parts = [message.parts[1] for message in messages if isinstance(message, UserMessage)]
        return [isinstance(part, Image) for part in parts]

    kept = {turns: left((await through(profile, *talk(turns)))[0]) for turns in range(8, 12)}
    assert kept[8] == [True] * 8
    assert kept[9] == [False, False, *[True] * 7]
    assert kept[10] == [False, False, *[True] * 8]
    assert kept[11] == [False] * 4 + [True] * 7
    end = await refusal(profile, shown(*[draw(4, 4)] * 9))
    assert end.error.code == "unsupported"
    assert "at most 8" in end.error.message


async def test_all_together_have_a_limit_too(draw: Draw) -> None:
    picture = draw(60, 60, noisy=True)
    size = len(picture.data) * 3 // 4
    turns = (shown(picture), AssistantMessage((Text("ok"),))) * 3
    messages, _ = await through(limited(total_bytes=size * 2), *turns[:-1])
    assert [isinstance(m.parts[1], Image) for m in messages if isinstance(m, UserMessage)] == [False, True, True]


def sound(seconds: float) -> Audio:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(int(16_000 * seconds)))
    return Audio("audio/x-wav", encoded(out.getvalue()))


async def test_sound_may_play_so_long_and_no_longer() -> None:
    profile = Profile(audio=True, media={"audio": MediaLimit(seconds=5, types=("audio/wav",))})
    part, changes = await one(profile, sound(3))
    assert part.media_type == "audio/wav"
    assert not changes
    end = await refusal(profile, shown(sound(8)))
    assert end.error.code == "unsupported"
    assert "8 s" in end.error.message
    assert "5 s" in end.error.message
    end = await refusal(profile, shown(Audio("audio/mpeg", encoded(b"ID3\x04" + bytes(50)))))
    assert "audio/mpeg is none of audio/wav" in end.error.message


@pytest.mark.parametrize("missing", ["PIL", "tinytag"])
async def test_without_the_extra_the_error_names_it(missing: str, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "PIL":
        picture = Image("image/png", png_header(2000, 10))
        assert (await one(limited(side=3000), picture))[0] is picture
        end = await refusal(limited(side=1000), shown(picture))
    else:
        end = await refusal(Profile(audio=True, media={"audio": MediaLimit(seconds=5)}), shown(sound(1)))
    assert end.error.code == "unsupported"
    assert "[media]'" in end.error.message


async def test_a_picture_is_scaled_once_and_not_kept_for_ever(draw: Draw) -> None:
    inner = ScriptedModel(lambda _: "fine", profile=limited(side=100))

    async def sent(verdicts: Verdicts, name: str) -> Image:
        picture = draw(400, 300, noisy=True, name=name)
        await run(Fitting(inner, verdicts=verdicts), ask(shown(picture)))
        part = inner.requests[-1].messages[-1].parts[1]
        assert isinstance(part, Image)
        assert part.name == name
        return part

    kept, small = Verdicts(), Verdicts(most=10)
    assert (await sent(kept, "a")).data is (await sent(kept, "b")).data
    assert (await sent(small, "a")).data is not (await sent(small, "b")).data


@pytest.mark.long
async def test_scaling_does_not_hold_up_the_event_loop(draw: Draw) -> None:
    heavy = draw(1800, 1800, noisy=True)
    longest, last = 0.0, time.thread_time()  # the loop's own work: a busy machine may let it wait
    scaling = asyncio.create_task(one(limited(bytes=1_000_000), heavy))
    while not scaling.done():
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.thread_time() - last), time.thread_time()
    _, changes = scaling.result()
    assert changes[0]["how"] == "scaled"
    assert longest < 0.5


async def test_many_at_once_each_get_their_own(draw: Draw) -> None:
    inner = ScriptedModel(lambda request: str(len(request.messages[-1].parts)), profile=limited(side=50), keep=100)
    made = Fitting(inner, verdicts=Verdicts())
    requests = [ask(shown(*[draw(100 + n, 90, noisy=True)] * (n % 3 + 1))) for n in range(30)]
    ends = [end for _, end in await asyncio.gather(*(run(made, request) for request in requests))]
    assert [end.parts for end in ends if isinstance(end, Completed)] == [(Text(str(n % 3 + 2)),) for n in range(30)]


def test_a_request_without_media_pays_nothing() -> None:
    inner = ScriptedModel(["fine"])
    stream = inner.stream(ask())
    assert type(Fitting(inner).stream(ask())) is type(stream)
    request = Request(instruction="", messages=tuple([user("word " * 20)] * 1_000))
    assert reference_seconds(lambda: Fitting(inner).stream(request)) < 0.01
    code = "import sys, roost.models.media_fitting; assert not {'PIL', 'tinytag', 'aiohttp'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
