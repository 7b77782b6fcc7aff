"""A picture, sound, a video or a document sent to a model that takes none: that turn says so, later ones go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.log import events as ev
from roost.log.content import Audio, File, Image, Media, Text, UserMessage, Video
from roost.models.request import Profile
from roost.runtime import TurnFailed
from roost.testing.scripted import ScriptedModel

from .policies import found
from .support import events, running

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MEDIA = [
    Image("image/png", _PIXEL, name="p.png"),
    Audio("audio/wav", "UklGRiQAAABXQVZFZm10IBAAAAABAAEA", name="s.wav"),
    Video("video/mp4", "AAAAGGZ0eXBtcDQyAAAAAG1wNDJpc29t", name="v.mp4"),
    File("application/pdf", "JVBERi0xLjQK", name="d.pdf"),
    Image("image/png", "not base64", name="broken.png"),
]


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("part", MEDIA, ids=lambda part: part.name)
async def test_the_session_goes_on(tmp_path: Path, part: Media) -> None:
    model = ScriptedModel(lambda _: "fine", profile=Profile())
    async with running(tmp_path, Agent("a", model=model)) as runtime:
        session = await runtime.session("a")
        for _ in range(2):
            with pytest.raises(TurnFailed, match=str(part.name)):
                await session.ask([Text("What is this?"), part])
        assert await session.ask("Never mind.") == "fine"
        assert await session.ask("And now?") == "fine"
        sent = [message for message in model.requests[-1].messages if isinstance(message, UserMessage)]
        texts = [one.text for message in sent for one in message.parts if isinstance(one, Text)]
        assert sum(str(part.name) in text and "left out" in text for text in texts) == 2
        log = await events(session, runtime)
        assert [event.outcome for event in found(log, ev.TurnCompleted)] == ["failed", "failed", "answered", "answered"]
