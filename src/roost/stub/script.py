"""Scripts of the stub provider, as data. An answer depends on the request's messages alone, so that a request that is
repeated after a crash gets the same answer."""

from __future__ import annotations

import hashlib
import random
import re
from typing import Any, Literal, cast

import msgspec

from roost.errors import ConfigError
from roost.stub.answers import Answer

FaultKind = Literal[
    "reset", "close", "short", "stall", "head", "malformed", "error", "flood", "trickle", "empty", "status", "redirect",
    "html", "plain", "json", "stream", "no_finish",
]  # fmt: skip


_NOTE = re.compile(r"\n*\[Now\b[^\n]*(?:\nFiles: [^\n]*)?\]$")


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A failure to simulate.

    `at` is a byte of the body, negative from its end. At it come `reset` (RST), `close` (FIN without an end), `short`
    (an end as if that were all) and `stall` (for `seconds`); `malformed` puts a broken frame after the frame that holds
    it (a broken byte there into a document), `flood` `size` bytes of comments, and `error` the protocol's own error
    with `status` and `message`, and ends there. A `reset` or `close` at 0 comes before the status line; `head` is a
    reset after `at` bytes of the head. `trickle` spreads the body over `seconds`. `status` answers with `status` and
    `retry_after` or, as a date so many seconds from now, `retry_date`; `redirect` leads to the address in `message`.
    `empty` is an empty body, `html` another page, `plain` the right body under a wrong content type, `json` a complete
    document for a streaming request, `stream` the reverse, `no_finish` an answer without a finish reason. The first
    `times` requests with the same messages get the fault; 0 means all.
    """

    kind: FaultKind
    at: int = 0
    times: int = 1
    seconds: float = 3600.0
    status: int = 500
    retry_after: str | None = None
    retry_date: float | None = None
    message: str = "a fault of the script"
    size: int = 1 << 26


class Reply(Answer, frozen=True, kw_only=True):
    """An answer on the wire. `{input}`, `{result}` and `{step}` in its texts become the last user's text, the last
    tool's result and the number of answers since that user's message. `sealed`: encrypted reasoning, as the bytes that
    the provider returns; not every protocol has it."""

    sealed: str = ""
    fault: Fault | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answers for turns whose user text contains `when`: the n-th request gets the n-th answer, later ones the last."""

    answers: tuple[Reply, ...]
    when: str = ""


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider's behaviour. The first matching rule counts. Each request waits a random time between the two seconds
    of `delay`, seeded by `seed` and its messages. `chunk`: bytes per write; None is one write per frame. A share
    `fault_rate` of the requests meets one of `faults`, by chance and not by messages. A request of more than `deaf`
    bytes is not read: the client waits until it gives up."""

    rules: tuple[Rule, ...] = (Rule(answers=(Reply(text="You said: {input}"),)),)
    seed: int = 0
    delay: tuple[float, float] = (0.0, 0.0)
    chunk: int | None = None
    fault_rate: float = 0.0
    faults: tuple[Fault, ...] = ()
    deaf: int | None = None

    def reply(self, messages: list[dict[str, Any]]) -> Reply:
        asked, step = last_user(messages)
        rule = next((rule for rule in self.rules if rule.when in asked), None)
        if rule is None or not rule.answers:
            return Reply(text="The script has no answer to this.")
        result = text_of(messages[-1]) if messages[-1]["role"] == "tool" else ""
        return _filled(rule.answers[min(step, len(rule.answers) - 1)], asked, result, step)

    def wait(self, messages: Any) -> float:
        low, high = self.delay
        return random.Random(f"{self.seed}:{digest(messages)}").uniform(low, high) if high else 0.0


def load(data: bytes) -> Script:
    """Decode a script from JSON. Raises `ConfigError` that says where it is wrong."""
    try:
        return msgspec.json.decode(data, type=Script)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"the script is not valid: {error}") from error


def digest(messages: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(messages)).hexdigest()[:16]


def last_user(messages: list[dict[str, Any]]) -> tuple[str, int]:
    """Return the text of the last user's message, and the number of assistant messages since. The note on time and
    files that Roost appends to a message (`roost.features.environment`) is removed: the user did not write it."""
    answers = 0
    for message in reversed(messages):
        if message["role"] == "user":
            return _NOTE.sub("", text_of(message)), answers
        answers += message["role"] == "assistant"
    return "", answers


def text_of(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in cast("list[dict[str, Any]]", content))


def _filled(reply: Reply, asked: str, result: str, step: int) -> Reply:
    words = {"{input}": asked, "{result}": result, "{step}": str(step)}
    calls = tuple(msgspec.structs.replace(call, arguments=_fill(call.arguments, words)) for call in reply.calls)
    return msgspec.structs.replace(reply, text=_fill(reply.text, words), calls=calls)


def _fill(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace(word, text)
        return value
    if isinstance(value, dict):
        return {key: _fill(item, words) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_fill(item, words) for item in cast("list[Any]", value)]
    return value
