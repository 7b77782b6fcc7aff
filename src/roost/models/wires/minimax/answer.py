"""Build one answer from the frames of MiniMax's interfaces, streamed or whole."""

from __future__ import annotations

from typing import Any

import msgspec

from roost.log.content import ErrorData
from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.request import Completed, Failed, ModelEvent
from roost.models.wires.anthropic.answer import AnthropicAnswer
from roost.models.wires.anthropic.answer import Frame as MessagesFrame
from roost.models.wires.minimax.errors import BaseResp, base_error, minimax_stream_error
from roost.models.wires.minimax.request import NAME
from roost.models.wires.openai_chat.answer import Delta, Frame, OpenAIChatAnswer


class ChatFrame(Frame):
    base_resp: BaseResp | None = None
    input_sensitive: bool | None = None
    output_sensitive: bool | None = None


class ChatAnswer(OpenAIChatAnswer):
    """A stream repeats the whole message after its deltas; the repetition is ignored."""

    error: ErrorData | None
    wire = NAME
    decoder = msgspec.json.Decoder(ChatFrame)

    def __init__(self, prompt: Prompt, profile: Profile, *, where: str) -> None:
        super().__init__(prompt, profile, where=where)
        self._has_deltas = False
        self._flagged = False
        self._thought = Growing()
        self._detailed = False

    def take(self, frame: ChatFrame) -> list[ModelEvent]:
        self._flagged |= bool(frame.input_sensitive or frame.output_sensitive)
        if frame.base_resp is not None and frame.base_resp.status_code:
            self.error = base_error(frame.base_resp, where=self.where)
            return []
        for choice in frame.choices or ():
            if self._has_deltas and choice.delta is None:
                choice.message = None
            self._has_deltas |= bool(choice.delta)
        return super().take(frame)

    def thought(self, delta: Delta) -> str | None:
        # Both fields hold the same; the server chooses which one a stream has.
        plain = super().thought(delta)
        if plain and not self._detailed:
            return plain
        if plain is None and delta.reasoning_details:
            self._detailed = True
            return self._thought.more("".join(str(detail.get("text") or "") for detail in delta.reasoning_details))
        return None

    def broke_off(self, error: Any) -> None:
        self.error = minimax_stream_error(error, where=self.where)

    def end(self) -> Completed | Failed:
        if self._flagged and not self.spoken:
            self.refused, self.why = True, "the content filter stopped the answer"
        return super().end()


class Growing:
    """Text that comes in pieces, or cumulatively in each piece, as the documentation's examples read it."""

    def __init__(self) -> None:
        self._all = ""
        self._grows: bool | None = None

    def more(self, piece: str) -> str:
        """Return the new text in `piece`."""
        if self._all and self._grows is not False and not (self._grows and piece == self._all):
            self._grows = len(piece) > len(self._all) and piece.startswith(self._all)
        new = piece[len(self._all) :] if self._grows else piece
        self._all += new
        return new


class BlocksFrame(MessagesFrame):
    base_resp: BaseResp | None = None


class MessagesAnswer(AnthropicAnswer):
    error: ErrorData | None
    wire = NAME
    decoder = msgspec.json.Decoder(BlocksFrame)

    def broken(self, frame: BlocksFrame) -> bool:
        if frame.base_resp is not None and frame.base_resp.status_code:
            self.error = base_error(frame.base_resp, where=self.where)
            return True
        return super().broken(frame)

    def broke_off(self, error: Any) -> None:
        self.error = minimax_stream_error(error, where=self.where)
