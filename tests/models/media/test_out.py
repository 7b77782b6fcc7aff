"""Media that models make: in the answer, in the log, and back to the same and to other models."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roost.log.content import AssistantMessage, Audio, Image, Text, Thinking, Video
from roost.models.http_model import HttpModel
from roost.models.media_fitting import Fitting
from roost.models.request import Completed, Profile, TextDelta
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply
from roost.testing.models import ask, completed, failed, run, user

Make = Callable[..., HttpModel]
Raw = Callable[..., Awaitable[str]]
Draw = Callable[..., Image]
WIRES = ("openai_chat", "anthropic", "openai_responses", "gemini")
SAMPLES = bytes(range(200)) * 10


def tone() -> Audio:
    return Audio("audio/wav", base64.b64encode(waved(SAMPLES)).decode())


def waved(samples: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(samples)
    return out.getvalue()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["openai_chat", "openai_responses", "gemini"])
async def test_a_picture_is_part_of_the_answer(kind: str, stream: bool, model: Make, draw: Draw) -> None:
    picture = draw(30, 20, name=None)
    with ProviderServer(lambda _: Reply(text="Here:", media=(picture, picture))) as server:
        end = await completed(model(server.url, kind), ask(stream=stream))
    assert end.parts == (Text("Here:"), picture, picture)
    assert end.stop == "end"


@pytest.mark.parametrize("kind", ["openai_chat", "openai_responses", "gemini"])
async def test_a_large_picture_comes_in_one_event(kind: str, model: Make) -> None:
    picture = Image("image/png", base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(9_000_000)).decode())
    with ProviderServer(lambda _: Reply(media=(picture,))) as server:
        end = await completed(model(server.url, kind))
    assert end.parts == (picture,)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["openai_chat", "gemini"])
async def test_sound_is_part_of_the_answer(kind: str, stream: bool, model: Make) -> None:
    with ProviderServer(lambda _: Reply(text="Hear me.", media=(tone(),))) as server:
        events, end = await run(model(server.url, kind), ask(stream=stream))
    assert isinstance(end, Completed)
    assert end.parts == (Text("Hear me."), tone())
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hear me."


async def test_a_picture_without_a_word_is_an_answer(model: Make, draw: Draw) -> None:
    with ProviderServer(lambda _: Reply(media=(draw(3, 3, name=None),))) as server:
        for kind in ("openai_chat", "openai_responses", "gemini"):
            assert (await completed(model(server.url, kind))).parts == (draw(3, 3, name=None),)


async def test_raw_sound_in_pieces_becomes_one_that_others_can_play(model: Make, raw: Raw) -> None:
    pieces = [base64.b64encode(SAMPLES[at : at + 500]).decode() for at in range(0, len(SAMPLES), 500)]
    frames: list[Any] = [{"choices": [{"index": 0, "delta": {"audio": {"data": piece}}}]} for piece in pieces]
    frames.append({"choices": [{"index": 0, "delta": {"audio": {"transcript": "Hi"}}, "finish_reason": "stop"}]})
    asked = ask(knobs={"modalities": ["text", "audio"], "audio": {"voice": "sage", "format": "pcm16"}})
    assert (await completed(model(await raw(*frames)), asked)).parts == (Text("Hi"), tone())
    parts = [{"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": piece}} for piece in pieces]
    frames = [{"candidates": [{"content": {"parts": [part]}}]} for part in parts]
    frames.append({"candidates": [{"finishReason": "STOP"}]})
    assert (await completed(model(await raw(*frames), "gemini"), asked)).parts == (tone(),)


async def test_what_is_asked_for_is_in_the_request(model: Make) -> None:
    knobs = {"modalities": ["TEXT", "IMAGE"], "audio": {"voice": "sage"}, "image": {"size": "1024x1024"}}
    with ProviderServer(lambda _: Reply(text="ok")) as server:
        for kind in WIRES:
            await completed(model(server.url, kind, profile=Profile(knobs={})), ask(knobs=knobs))
        chat, anthropic, responses, gemini = server.provider.bodies
    assert chat["modalities"] == ["TEXT", "IMAGE"]
    assert chat["audio"] == {"voice": "sage"}
    assert not {"modalities", "audio", "image"} & set(anthropic)
    assert responses["tools"] == [{"type": "image_generation", "size": "1024x1024"}]
    config = gemini["generationConfig"]
    assert config["responseModalities"] == ["TEXT", "IMAGE"]
    assert config["imageConfig"] == {"size": "1024x1024"}
    assert config["speechConfig"] == {"voice": "sage"}


async def test_media_that_are_not_base64_are_no_answer(model: Make, raw: Raw) -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": "§§"}}
    frame = {"candidates": [{"content": {"parts": [{"text": "Here"}, part]}, "finishReason": "STOP"}]}
    end = await failed(model(await raw(frame), "gemini"))
    assert (end.error.code, end.error.retryable) == ("malformed", True)


async def test_a_sketch_in_the_thoughts_is_not_the_picture(model: Make, raw: Raw, draw: Draw) -> None:
    data = {"mimeType": "image/png", "data": draw(5, 5).data}
    parts = [
        {"thought": True, "inlineData": {**data, "data": "AAAA"}},
        {"inlineData": data, "thoughtSignature": "c2ln"},
    ]
    frame = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    end = await completed(model(await raw(frame), "gemini"))
    assert end.parts == (Thinking("", "c2ln", "gemini/default"), draw(5, 5, name=None))


async def test_a_picture_goes_back_to_the_model_that_may_change_it(model: Make, draw: Draw) -> None:
    picture = draw(8, 8, name=None)
    said = AssistantMessage((Thinking("", "skip_thought_signature_validator", "gemini/default"), picture))
    talk = ask(user("Draw a cat"), said, user("Make it black"))
    with ProviderServer(lambda _: Reply(text="ok")) as server:
        for sees in (True, False):
            await completed(Fitting(model(server.url, "gemini", profile=Profile(images=sees))), talk)
        seen, blind = (body["contents"][1]["parts"] for body in server.provider.bodies)
    assert seen[0]["inlineData"]["data"] == picture.data
    assert seen[0]["thoughtSignature"]
    assert blind == [{"text": "[image, image/png]"}]


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("kind", WIRES)
async def test_every_model_goes_on_with_a_conversation_that_shows(
    kind: str, fits: bool, model: Make, draw: Draw
) -> None:
    """The stub is strict: a shape that its protocol lacks would be refused."""
    shown = AssistantMessage((Text("Look:"), draw(8, 8), tone(), Video("video/mp4", "AAAA")))
    only = AssistantMessage((draw(8, 8),))
    talk = ask(user("Draw"), shown, user("Again"), only, user("Thanks"))
    with ProviderServer(lambda _: Reply(text="welcome")) as server:
        made: Any = model(server.url, kind, profile=Profile(images=True, audio=True))
        assert (await completed(Fitting(made) if fits else made, talk)).parts == (Text("welcome"),)
        sent = str(server.provider.bodies[-1])
    assert "[audio, audio/wav]" in sent
    assert ("[image 'a', image/png]" in sent) is (kind != "gemini")


@pytest.mark.matrix
@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # of the SDK's own session
async def test_official_clients_read_the_stub(draw: Draw) -> None:
    genai = pytest.importorskip("google.genai")
    openai = pytest.importorskip("openai")
    picture = draw(9, 9, name=None)
    with ProviderServer(lambda _: Reply(text="Here", media=(picture,)), key="k") as server:
        options = {"base_url": server.url.removesuffix("/v1"), "api_version": "v1beta"}
        async with genai.Client(api_key="k", http_options=options).aio as client:
            said = await client.models.generate_content(model="m", contents="draw")
        parts = said.candidates[0].content.parts
        assert [part.inline_data.data for part in parts if part.inline_data] == [base64.b64decode(picture.data)]
        async with openai.AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0) as client:
            made = await client.responses.create(model="m", input="draw")
        assert [item.result for item in made.output if item.type == "image_generation_call"] == [picture.data]
    with ProviderServer(lambda _: Reply(text="Hear", media=(tone(),)), key="k") as server:
        async with openai.AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0) as client:
            heard = await client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "speak"}],
                modalities=["text", "audio"],
                audio={"voice": "sage", "format": "wav"},
            )
        spoken = heard.choices[0].message.audio
        assert spoken is not None
        assert (spoken.data, spoken.transcript) == (tone().data, "Hear")
