"""One client for each door. Each is one conversation, and knows nothing but its protocol.

`say` sends a message and reads the answer to its end. After a `Cut` it is called again with the same text, perhaps to
reach another node, and goes on by the means of the protocol: it asks for the rest of the stream, or sends the same
request again."""

from __future__ import annotations

from typing import Any

from tests.harness.doors.transport import Cut, Heard, Http, Open, Socket, events


class Client:
    """agent: the one that it talks to. name: of the conversation; no other client of the store has it. session: Roost's
    name of the conversation, once the client has heard it, by whatever its protocol tells. beside: another session that
    it made, which says nothing."""

    def __init__(self, agent: str, name: str) -> None:
        self.agent, self.name = agent, name
        self.session = self.beside = ""
        self.number = 0
        """Of the message, from 1; the same for its repetitions."""
        self._text = ""
        self._tries = 0

    async def say(self, http: Http, text: str) -> str:
        """Return the answer. Raises `Cut`, after which it is called again, and `AssertionError`."""
        if text != self._text:
            self._text, self._tries, self.number = text, 0, self.number + 1
            self.begin()
        try:
            return await self.turn(http, text)
        finally:
            self._tries += 1

    def begin(self) -> None:
        """Forget how far the last answer came."""

    async def turn(self, http: Http, text: str) -> str:
        raise NotImplementedError

    async def leave(self) -> None:
        """Close what the client keeps open."""

    @property
    def key(self) -> str:
        return f"{self.name}-{self.number}"

    @property
    def again(self) -> list[tuple[str, str]]:
        """The header by which the libraries of both labs mark a repetition."""
        return [("x-stainless-retry-count", str(self._tries))] if self._tries else []


def good(heard: Heard) -> Heard:
    assert heard.status < 300, f"{heard.status}: {heard.body[:500]!r}"
    return heard


def ended(heard: Heard, kind: str) -> Any:
    """Return the last event of a stream, which must be of this kind. Raises `Cut` where the stream ended without."""
    found = events(good(heard))
    if not found or found[-1][1].get("type") != kind:
        raise Cut(heard, f"the stream ended with {heard.body[-300:]!r}")
    return found[-1][1]


class Own(Client):
    """Roost's own HTTP: what doors are compared with."""

    async def turn(self, http: Http, text: str) -> str:
        if not self.session:
            made = await http.ask("POST", "/sessions", {"agent": self.agent, "id": self.name})
            assert made.status == 409 or good(made)
            self.session = self.name
        headers = [("accept", "text/event-stream"), ("idempotency-key", self.key)]
        heard = await http.ask("POST", f"/sessions/{self.session}/messages", {"text": text}, headers)
        found = [one for _, one in events(good(heard)) if "type" in one]
        if not found or found[-1]["type"] != "turn.completed":
            raise Cut(heard, f"the stream ended with {heard.body[-300:]!r}")
        return [said(one["parts"]) for one in found if one["type"] == "model.completed"][-1]


class Chat(Client):
    """Sends the request again, with its whole history."""

    def __init__(self, *given: str) -> None:
        super().__init__(*given)
        self._said: list[Any] = []

    async def turn(self, http: Http, text: str) -> str:
        asked = [*self._said, {"role": "user", "content": text}]
        body = {"model": self.agent, "messages": asked, "stream": True}
        heard = good(await http.ask("POST", "/v1/chat/completions", body, self.again))
        self.session = heard.headers["roost-session"]
        if not heard.body.endswith(b"data: [DONE]\n\n"):
            raise Cut(heard, f"the stream ended with {heard.body[-300:]!r}")
        pieces = [choice["delta"].get("content") or "" for _, one in events(heard) for choice in one["choices"]]
        self._said = [*asked, {"role": "assistant", "content": "".join(pieces)}]
        return "".join(pieces)


class Responses(Client):
    """Re-attaches to a response in the background, by its id and the number of the last event."""

    whole = False

    def __init__(self, *given: str) -> None:
        super().__init__(*given)
        self._previous: str | None = None
        self._id: str | None = None
        self._last = 0
        self._words = ""

    def begin(self) -> None:
        self._id, self._last, self._words = None, 0, ""

    async def place(self, http: Http) -> dict[str, Any]:
        """Return the fields that say what the request continues."""
        return {} if self._previous is None else {"previous_response_id": self._previous}

    async def turn(self, http: Http, text: str) -> str:
        try:
            if self._id is None:
                body = {"model": self.agent, "input": text, "stream": True, "background": True}
                heard = await http.ask("POST", "/v1/responses", body | await self.place(http), self.again)
            else:
                heard = await http.ask("GET", f"/v1/responses/{self._id}?stream=true&starting_after={self._last}")
        except Cut as cut:
            self._read(cut.heard)
            raise
        self._read(heard)
        self._previous = ended(heard, "response.completed")["response"]["id"]
        return self._words

    def _read(self, heard: Heard) -> None:
        if heard.status >= 300:
            return
        for _, one in events(heard):
            assert one["type"] != "error" or one["code"] != "answer_changed", one
            if "sequence_number" not in one:
                continue
            assert one["sequence_number"] > self._last or self._id is None, one
            self._last = one["sequence_number"]
            self._id = one["response"]["id"] if one["type"] == "response.created" else self._id
            self._words += one["delta"] if one["type"] == "response.output_text.delta" else ""
        self.session = heard.headers.get("roost-session", self.session)


class Conversation(Responses):
    """Responses in a conversation."""

    async def place(self, http: Http) -> dict[str, Any]:
        if not self.beside:
            made = good(await http.ask("POST", "/v1/conversations", {}, [("idempotency-key", self.name)]))
            self.beside = made.json["id"]
        return {"conversation": self.beside}


class Messages(Client):
    """Sends the request again, with its whole history."""

    def __init__(self, *given: str) -> None:
        super().__init__(*given)
        self._said: list[Any] = []

    async def turn(self, http: Http, text: str) -> str:
        asked = [*self._said, {"role": "user", "content": text}]
        body = {"model": self.agent, "max_tokens": 1000, "messages": asked, "stream": True}
        heard = await http.ask("POST", "/v1/messages", body, [("anthropic-version", "2023-06-01"), *self.again])
        ended(heard, "message_stop")
        self.session = heard.headers["roost-session"]
        texts = [one["delta"].get("text", "") for _, one in events(heard) if one["type"] == "content_block_delta"]
        self._said = [*asked, {"role": "assistant", "content": "".join(texts)}]
        return "".join(texts)


class Agui(Client):
    """Sends the run again, under its id."""

    async def turn(self, http: Http, text: str) -> str:
        message = {"id": self.key, "role": "user", "content": text}
        body = {"threadId": self.name, "runId": self.key, "messages": [message]}
        heard = await http.ask("POST", f"/ag-ui/{self.agent}", body, [("accept", "text/event-stream")])
        assert ended(heard, "RUN_FINISHED")["outcome"] == {"type": "success"}
        self.session = self.name
        return "".join(one["delta"] for _, one in events(heard) if one["type"] == "TEXT_MESSAGE_CONTENT")


class A2a(Client):
    """Subscribes to the task; without its id it sends the message again, under its id."""

    def __init__(self, *given: str) -> None:
        super().__init__(*given)
        self._task = ""

    def begin(self) -> None:
        self._task = ""

    async def turn(self, http: Http, text: str) -> str:
        if self._task:
            heard = await self._ask(http, f"tasks/{self._task}:subscribe", None)
            if heard.status == 400:  # the task has ended
                shown = good(await http.ask("GET", f"/a2a/{self.agent}/tasks/{self._task}", None, _V1)).json
                assert shown["status"]["state"] == "TASK_STATE_COMPLETED", shown
                return _artifact(shown["artifacts"])
        else:
            message = {"messageId": self.key, "contextId": self.name, "role": "ROLE_USER", "parts": [{"text": text}]}
            heard = await self._ask(http, "message:stream", {"message": message})
        found = [one for _, one in events(good(heard))]
        last: dict[str, Any] = found[-1] if found else {"task": {"status": {"state": "none"}}}
        told = last.get("statusUpdate") or last.get("task")
        if told is None or told["status"]["state"] != "TASK_STATE_COMPLETED":
            raise Cut(heard, f"the stream ended with {heard.body[-300:]!r}")
        if "task" in last:
            return _artifact(last["task"]["artifacts"])
        return _artifact([one["artifactUpdate"]["artifact"] for one in found if "artifactUpdate" in one])

    async def _ask(self, http: Http, path: str, body: Any) -> Heard:
        try:
            heard = await http.ask("POST", f"/a2a/{self.agent}/{path}", body, _V1)
        except Cut as cut:
            self._note(cut.heard)
            raise
        self._note(heard)
        return heard

    def _note(self, heard: Heard) -> None:
        if heard.status < 300 and (found := events(heard)) and "task" in found[0][1]:
            self._task, self.session = found[0][1]["task"]["id"], self.name


_V1 = [("a2a-version", "1.0")]


def _artifact(artifacts: list[Any]) -> str:
    return "".join(part.get("text", "") for one in artifacts for part in one["parts"])


class Mcp(Client):
    """Calls the tool again, with its key."""

    async def turn(self, http: Http, text: str) -> str:
        given = {"message": text, "key": self.key} | ({"session": self.session} if self.session else {})
        tool = f"ask_{self.agent}"
        params: dict[str, Any] = {"name": tool, "arguments": given, "_meta": _MODERN}
        body = {"jsonrpc": "2.0", "id": self.number, "method": "tools/call", "params": params}
        named = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", tool)]
        heard = good(await http.ask("POST", "/mcp", body, [("accept", "application/json, text/event-stream"), *named]))
        found = [one for _, one in events(heard)] if heard.body.startswith((b"event", b"data", b":", b"id")) else []
        answer = found[-1] if found else heard.json
        if answer.get("error", {}).get("code") == -32603:
            raise Cut(heard, str(answer))
        facts = answer["result"]["structuredContent"]
        self.session = facts["session"]
        return facts["answer"]


_MODERN: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Listening(Client):
    """A client that keeps a stream open."""

    def __init__(self, *given: str) -> None:
        super().__init__(*given)
        self._sent = False
        self._stream: Open | None = None

    def begin(self) -> None:
        self._sent = False

    async def say(self, http: Http, text: str) -> str:
        try:
            return await super().say(http, text)
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.leave()


class WebSocket(Listening):
    """Subscribes again behind the last position, and sends the message again under its key."""

    def __init__(self, *given: str) -> None:
        super().__init__(*given)
        self._position = 0
        self._answer, self._ended = "", False
        self._link: Socket | None = None
        self._context: Any = None

    def begin(self) -> None:
        self._answer, self._ended = "", False

    async def turn(self, http: Http, text: str) -> str:
        link = self._link or await self._connect(http)
        message = {"session": self.name, "text": text}
        await link.send({"id": self.key, "op": "inputs.send", "key": self.key, "args": message})
        while not self._ended:
            self._read(await link.read())
        return self._answer

    async def _connect(self, http: Http) -> Socket:
        self._context = http.websocket("/ws", "roost.v1")
        self._link = link = await self._context.__aenter__()
        if not self.session:
            await self._ask(link, "sessions.create", {"agent": self.agent, "id": self.name})
            self.session = self.name
        await self._ask(link, "subscribe", {"session": self.name, "after": self._position})
        return link

    async def _ask(self, link: Socket, op: str, args: dict[str, Any]) -> None:
        await link.send({"id": op, "op": op, "args": args})
        while True:
            got = await link.read()
            if got["type"] == "error" and got["problem"]["code"] == "session_exists":
                return
            self._read(got)
            if got["type"] == "result" and got["id"] == op:
                return

    def _read(self, got: Any) -> None:
        """Follow the log."""
        if got["type"] in ("error", "end"):
            assert got["problem"]["status"] >= 500, got
            raise Cut(Heard(), str(got))
        for one in got["events"] if got["type"] == "events" else ():
            if "seq" not in one:
                continue
            position: int = one["seq"]
            assert position == self._position + 1, (self._position, one)
            self._position = position
            if one["event"]["type"] == "model.completed":
                self._answer = said(one["event"]["parts"])
            elif one["event"]["type"] == "turn.completed":
                self._ended = True

    async def leave(self) -> None:
        context, self._link, self._context = self._context, None, None
        if context is not None:
            await context.__aexit__(None, None, None)


class Managed(Listening):
    """Opens the stream again, and lists what it missed."""

    def __init__(self, *given: str) -> None:
        super().__init__(*given)
        self._environment = ""
        self._known: set[str] = set()
        self._answer = ""

    async def turn(self, http: Http, text: str) -> str:
        if not self.session:
            await self._make(http)
        at = f"/v1/sessions/{self.session}/events"
        missed: list[Any] = []
        if self._stream is None:
            self._stream = await http.open(f"{at}/stream", _MANAGED)
            await self._stream.read()
            missed = await self._missed(http, at) if self._tries or self.number > 1 else []
        if not self._sent:
            event = {"type": "user.message", "content": [{"type": "text", "text": text}]}
            headers = [*_MANAGED, *self.again, ("idempotency-key", self.key)]
            good(await http.ask("POST", at, {"events": [event]}, headers))
            self._sent, missed = True, []
        return await self._until_idle(self._stream, missed)

    async def _make(self, http: Http) -> None:
        """Make what the session needs. A repetition after a cut may leave an environment behind."""
        if not self._environment:
            body = {"name": "e"}
            self._environment = good(await http.ask("POST", "/v1/environments", body, _MANAGED)).json["id"]
        made = {"agent": self.agent, "environment_id": self._environment}
        headers = [*_MANAGED, *self.again, ("idempotency-key", self.name)]
        self.session = good(await http.ask("POST", "/v1/sessions", made, headers)).json["id"]

    async def _until_idle(self, stream: Open, missed: list[Any]) -> str:
        while True:
            for one in missed:
                if one.get("id") is None or one["id"] in self._known:  # a ping
                    continue
                self._known.add(one["id"])
                if one["type"] == "agent.message":
                    self._answer = one["content"][0]["text"]
                elif one["type"] == "user.message":
                    self._answer = ""
                elif one["type"] == "session.status_idle" and self._answer:
                    answer, self._answer = self._answer, ""
                    return answer
            missed = [one for _, one in events(Heard(body=await stream.read()))]

    async def _missed(self, http: Http, at: str) -> list[Any]:
        return good(await http.ask("GET", f"{at}?limit=1000", None, _MANAGED)).json["data"]


_MANAGED = [("anthropic-version", "2023-06-01"), ("anthropic-beta", "managed-agents-2026-04-01")]


class AgentsApi(Listening):
    """Opens the stream again behind the last event that it has."""

    def __init__(self, *given: str) -> None:
        super().__init__(*given)
        self._last = ""
        self._words: dict[str, str] = {}

    def begin(self) -> None:
        super().begin()
        self._words = {}

    async def turn(self, http: Http, text: str) -> str:
        given = [{"role": "user", "content": [{"type": "input_text", "text": text}]}]
        headers = [*self.again, ("idempotency-key", self.key)]
        if not self.session:
            body = {"agent": {"model": self.agent}, "environment": {"type": "none"}, "input": given}
            self.session = good(await http.ask("POST", "/v1/agents/sessions", body, headers)).json["id"]
            self._sent, self._last = True, f"evt_{self.session}_0.0"
        at = f"/v1/agents/sessions/{self.session}/events"
        if self._stream is None:
            self._stream = await http.open(f"{at}?stream=true", [("last-event-id", self._last)])
        if not self._sent:
            event = {"type": "agent.session.input.message", "input": given}
            good(await http.ask("POST", at, {"events": [event]}, headers))
            self._sent = True
        while True:
            for id, one in events(Heard(body=await self._stream.read())):
                assert id != self._last, f"twice: {one}"
                if one["type"] == "error":
                    raise Cut(Heard(), str(one))
                self._last = id
                if one["type"] == "agent.session.turn.output_text.delta":
                    self._words[one["item_id"]] = self._words.get(one["item_id"], "") + one["delta"]
                elif one["type"] == "agent.session.idle" and self._words:
                    return list(self._words.values())[-1]


class Termo(Client):
    """Sends the message again, under its key."""

    async def turn(self, http: Http, text: str) -> str:
        body = {"message": text, "session_key": self.name, "stream": True}
        heard = await http.ask("POST", f"/termo/{self.agent}/api/send", body, [("idempotency-key", self.key)])
        answer = ended(heard, "done")["content"]
        self.session = heard.headers["roost-session"]
        return answer


class AgentRuntime(Client):
    """Has no turns: makes a session, keeps facts in it and reads them back. Each is sent again."""

    async def turn(self, http: Http, text: str) -> str:
        at = "/agentruntime/sessions"
        if not self.session:
            made = await http.ask("POST", at, {"name": "n", "model": self.agent}, [("idempotency-key", self.name)])
            self.session = good(made).json["session_id"]
            good(await http.ask("POST", f"{at}/{self.session}/start"))
        key = f"k{self.number}"
        good(await http.ask("POST", f"{at}/{self.session}/memory", {"key": key, "value": text}))
        heard = good(await http.ask("GET", f"{at}/{self.session}/memory?key={key}"))
        return heard.json["value"]


def said(parts: list[Any]) -> str:
    """Return the text of a message of the log."""
    return "".join(part["text"] for part in parts if "text" in part and part.get("type", "text") == "text")


CLIENTS: dict[str, type[Client]] = {
    "own": Own,
    "openai.chat": Chat,
    "openai.responses": Responses,
    "openai.conversations": Conversation,
    "anthropic": Messages,
    "agui": Agui,
    "a2a": A2a,
    "mcp": Mcp,
    "websocket": WebSocket,
    "managed": Managed,
    "openai_agents": AgentsApi,
    "termo": Termo,
    "agentruntime": AgentRuntime,
}
