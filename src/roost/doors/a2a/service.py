"""Answer A2A's operations, by JSON-RPC (`POST /a2a/AGENT`) and by HTTP+JSON (`/a2a/AGENT/message:send` and so on)."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from roost.agent.definition import Agent
from roost.authority import current
from roost.doors import approvals
from roost.doors.a2a.answers import answers_of
from roost.doors.a2a.cards import Cards
from roost.doors.a2a.errors import refusal, rpc_error
from roost.doors.a2a.push_configs import PushConfig, PushConfigs, new_config
from roost.doors.a2a.shapes import GetTask, ListTasks, Message, NamedConfig, SendMessage, status, user_parts
from roost.doors.a2a.task_list import TaskList
from roost.doors.a2a.tasks import Task, TaskId, is_message, no_task, read_task, task_id
from roost.doors.a2a.updates import TaskStream, Work
from roost.doors.approvals import Answer
from roost.doors.conversations import Conversations
from roost.doors.open_calls import Asked, OpenCalls, open_calls
from roost.doors.talk import Talk
from roost.doors.threads import session_of
from roost.doors.whole_reply import WholeReply
from roost.errors import Conflict, Invalid, NotFound, RoostError
from roost.kernel.sessions import check_message
from roost.kernel.turn_watch import find_turn
from roost.server.app_state import Api
from roost.server.door import Handler, Methods, needs
from roost.server.problems import Problem, problem_of
from roost.server.request_body import check_values, header, read_body
from roost.server.responses import Reply, ReplyCall, json
from roost.server.sessions import check_room

BODY_BYTES = 16 * 1024 * 1024
"""Most bytes of a request."""
_MESSAGE_ID = 256
_MEDIA = "application/a2a+json"
T = TypeVar("T")
Wrap = Callable[[str, Any], Any]


class _Ask(NamedTuple):
    """A request: the agent that is asked, and how the binding wraps an answer."""

    agent: Agent
    wrap: Wrap


class Service:
    def __init__(self, name: str, api: Api) -> None:
        self._name, self._api, self._sessions, self._runtime = name, api, api.sessions, api.runtime
        self._agents = api.runtime.agents
        self._configs = PushConfigs(api.runtime.node.store.documents, api.runtime.node.sealing())
        self._cards = Cards(api.runtime.node.store.coordination)
        self._conversations = Conversations(name, api.runtime, self._agents.get)
        self._methods: dict[str, Callable[[_Ask, Any], Awaitable[Any]]] = {
            "SendMessage": self._send,
            "SendStreamingMessage": self._stream,
            "GetTask": self._get,
            "ListTasks": self._list,
            "CancelTask": self._cancel,
            "SubscribeToTask": self._subscribe,
            "CreateTaskPushNotificationConfig": self._push_create,
            "GetTaskPushNotificationConfig": self._push_get,
            "ListTaskPushNotificationConfigs": self._push_list,
            "DeleteTaskPushNotificationConfig": self._push_delete,
        }

    def routes(self) -> Mapping[str, Methods]:
        root = "/a2a/{agent}"
        push = f"{root}/tasks/{{task}}/pushNotificationConfigs"
        return {
            "/a2a": {"GET": self.agents},
            "/a2a/jwks.json": {"GET": self.keys},
            root: {"POST": self.rpc},
            f"{root}/.well-known/agent-card.json": {"GET": self.card},
            f"{root}/message:send": {"POST": self._rest("SendMessage")},
            f"{root}/message:stream": {"POST": self._rest("SendStreamingMessage")},
            f"{root}/tasks": {"GET": self._rest("ListTasks")},
            f"{root}/tasks/{{task}}": {"GET": self._task, "POST": self._task},
            push: {
                "GET": self._rest("ListTaskPushNotificationConfigs"),
                "POST": self._rest("CreateTaskPushNotificationConfig"),
            },
            f"{push}/{{config}}": {
                "GET": self._rest("GetTaskPushNotificationConfig"),
                "DELETE": self._rest("DeleteTaskPushNotificationConfig"),
            },
            f"{root}/extendedAgentCard": {"GET": self.extended},
        }

    @needs("read")
    async def agents(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, {"agents": [await self._cards.card(agent, scope) for agent in self._agents.all()]})

    @needs("read")
    async def card(self, scope: Scope, receive: Receive) -> ReplyCall:
        card = await self._cards.card(self._agent(scope), scope)
        return json(200, card, headers=[(b"cache-control", b"no-store")])

    @needs("read")
    async def extended(self, scope: Scope, receive: Receive) -> ReplyCall:
        _check_version(scope)
        card = await self._cards.card(self._agent(scope), scope, extended=True)
        return json(200, card, headers=[(b"cache-control", b"no-store")])

    @needs("read")
    async def keys(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, await self._cards.keys())

    def _agent(self, scope: Scope) -> Agent:
        name = scope["path_params"]["agent"]
        if (agent := self._agents.find(name)) is None:
            raise NotFound(f"there is no agent {name[:200]!r}; GET /a2a lists them", code="unknown_agent")
        return agent

    @needs("read")
    async def rpc(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Answer a call of JSON-RPC. Its errors, too, have the status 200."""
        agent, id = self._agent(scope), None

        def wrap(kind: str, value: Any) -> Any:
            return {"jsonrpc": "2.0", "id": id, kind: value}

        def refused(problem: Problem) -> Reply:
            return json(200, wrap("error", rpc_error(problem)))

        data = await read_body(scope, receive, limit=BODY_BYTES)
        try:
            call = _decoded(data)
            found = call.get("id")
            id = found if isinstance(found, str | int) else None
            method = call.get("method")
            if call.get("jsonrpc") != "2.0" or not isinstance(method, str):
                raise Invalid("a request of JSON-RPC 2.0 has `jsonrpc`, `method` and `id`", code="invalid_rpc")
            _check_version(scope)
            if method == "GetExtendedAgentCard":
                return json(200, wrap("result", await self._cards.card(agent, scope, extended=True)))
            if method not in self._methods:
                raise NotFound(f"there is no method {method[:100]!r} in A2A 1.0", code="method_not_found")
            made = await self._methods[method](_Ask(agent, wrap), call.get("params") or {})
        except RoostError as error:
            return refused(problem_of(error, f"POST {scope['path']}"))
        return self._reply(made, wrap, refused, "application/json")

    def _rest(self, method: str) -> Handler:
        @needs("read")
        async def handler(scope: Scope, receive: Receive) -> ReplyCall:
            path = scope["path_params"]
            named = {"taskId": path["task"]} if "task" in path else {}
            named |= {"id": path["config"]} if "config" in path else {}
            return await self._answer(method, scope, {**await self._params(scope, receive), **named})

        return handler

    @needs("read")
    async def _task(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Answer at `/tasks/ID`, `/tasks/ID:cancel` and `/tasks/ID:subscribe`."""
        name, params = scope["path_params"]["task"], await self._params(scope, receive)
        for verb, method in ((":cancel", "CancelTask"), (":subscribe", "SubscribeToTask")):
            if name.endswith(verb):
                if verb == ":cancel" and scope["method"] != "POST":
                    break
                return await self._answer(method, scope, {**params, "id": name.removesuffix(verb)})
        if scope["method"] != "GET":
            raise no_task(name)
        return await self._answer("GetTask", scope, {**params, "id": name})

    async def _params(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        if scope["method"] == "GET":
            return dict(parse_qsl(scope["query_string"].decode("latin-1")))
        data = await read_body(scope, receive, limit=BODY_BYTES)
        return _decoded(data) if data else {}

    async def _answer(self, method: str, scope: Scope, params: dict[str, Any]) -> ReplyCall:
        def wrap(kind: str, value: Any) -> Any:
            return value if kind == "result" else {"error": value}

        agent = self._agent(scope)
        _check_version(scope)
        made = await self._methods[method](_Ask(agent, wrap), params)
        return self._reply(made, wrap, lambda problem: refusal(problem, []), _MEDIA)

    def _reply(self, made: Any, wrap: Wrap, refused: Callable[[Problem], Reply], media: str) -> ReplyCall:
        if isinstance(made, TaskStream):
            return made
        if not isinstance(made, Work):
            return json(200, wrap("result", made))

        async def work() -> Reply:
            async for _ in made.pieces(deltas=False):
                pass
            return json(200, wrap("result", {"task": (await made.task()).shape(history=made.history)}))

        return WholeReply(self._api, work, refused, lambda sent: made.close())

    async def _send(self, ask: _Ask, params: Any) -> Any:
        given = _convert(params, SendMessage)
        work = await self._enter(ask.agent, given)
        if not given.configuration.return_immediately:
            return work
        try:
            return {"task": (work.fresh or await work.task()).shape(history=work.history)}
        finally:
            work.close()

    async def _stream(self, ask: _Ask, params: Any) -> TaskStream:
        return await self._told(await self._enter(ask.agent, _convert(params, SendMessage)), ask)

    async def _told(self, work: Work, ask: _Ask) -> TaskStream:
        try:
            return TaskStream(work, work.fresh or await work.task(), ask.wrap)
        except BaseException:
            work.close()
            raise

    async def _get(self, ask: _Ask, params: Any) -> dict[str, Any]:
        given = _convert(params, GetTask)
        return (await self._known(ask.agent, given.id)).shape(history=given.history_length)

    async def _cancel(self, ask: _Ask, params: Any) -> dict[str, Any]:
        task = await self._known(ask.agent, _convert(params, GetTask).id)
        if task.ended:
            raise Conflict(f"task {str(task.id)!r} has ended: {task.state.lower()}", code="task_not_cancelable")
        if task.begun:
            await self._sessions.control(task.id.session, "cancel", input=task.id.item)
        else:
            raise Conflict(f"task {str(task.id)!r} waits behind another one", code="task_not_cancelable")
        now = await read_task(self._runtime, task.id, task.context)
        if not now.ended:  # the order is accepted, and takes effect
            return {**now.shape(), "status": status("CANCELED", now.at)}
        return now.shape()

    async def _subscribe(self, ask: _Ask, params: Any) -> TaskStream:
        check_room(self._api)
        task = await self._known(ask.agent, _convert(params, GetTask).id)
        if task.ended:
            raise Conflict(f"task {str(task.id)!r} has ended: get it", code="unsupported_operation")
        follower = self._sessions.listen(task.id.session)
        try:
            head = (await self._sessions.get(task.id.session)).head
            begun = await find_turn(self._sessions, task.id.session, task.id.item)
        except BaseException:
            follower.close()
            raise
        follower.after = begun if begun is not None else head
        follower.behind = True
        work = Work(self._api, task.id, task.context, follower, OpenCalls())
        return await self._told(work, ask)

    async def _known(self, agent: Agent, id: str) -> Task:
        """Return a task of this agent that came through this door. Raises `NotFound`."""
        name = task_id(id)
        task = await read_task(self._runtime, name, await self._context(name.session))
        info = await self._sessions.get(name.session)
        if info.agent != agent.name or not is_message(task.source, self._name):
            raise no_task(id)
        return task

    async def _context(self, session: str) -> str:
        """Return the context that a session stands for, as its client called it."""
        try:
            return (await self._sessions.get(session)).labels.get(f"{self._name}.context", session)
        except NotFound:
            raise no_task(session) from None

    async def _enter(self, agent: Agent, given: SendMessage) -> Work:
        """Put the message into the inbox of its context, once, or answer what its task waits for."""
        message = given.message
        if not 0 < len(message.message_id) <= _MESSAGE_ID:
            raise Invalid(f"message.messageId: between 1 and {_MESSAGE_ID} characters name it")
        check_room(self._api)
        parts = user_parts(message)
        push = given.configuration.task_push_notification_config
        if message.task_id:
            known = await self._known(agent, message.task_id)
            if push is not None:
                await self._push(agent, known.id, known.context, push)
            work = await self._go_on(agent, message, known)
            work.history = given.configuration.history_length
            return work
        check_message(parts)  # before a session is made for it
        context = message.context_id or _context_of(agent.name, message)
        session = session_of(context)
        if push is not None:  # refused before the message is accepted
            await new_config(push, TaskId(session, 0), context, agent.name)
        talk = Talk(
            agent=agent.name,
            user="",
            before=[],
            parts=parts,
            instructions=None,
            session=session,
            key=message.message_id,
            labels={self._name: agent.name, f"{self._name}.context": context},
        )
        entered = await self._conversations.enter(talk)
        id = TaskId(session, entered.item)
        if push is not None:
            try:
                await self._push(agent, id, context, push)
            except BaseException:
                entered.follower.close()
                raise
        history, tail = given.configuration.history_length, entered.tail
        return Work(self._api, id, context, entered.follower, OpenCalls(), parts, history=history, tail=tail)

    async def _go_on(self, agent: Agent, message: Message, task: Task) -> Work:
        """Answer the approvals that a task waits for. A repeated answer follows the task."""
        if message.context_id and session_of(message.context_id) != task.id.session:
            raise Invalid(f"message.contextId: the task {str(task.id)!r} is of another context")
        calls, decided = await open_calls(self._sessions, task.id.session, task.id.item)
        source = f"{self._name}:{message.message_id}"
        given = answers_of(message)
        if isinstance(given, Answer):
            own = [asked for asked, one in decided.items() if one.source == source]
            open_ = [Asked(call, question.at) for call, question in calls.asked.items()]
            if open_ and not own and (decided or not calls.wait):
                why = "nobody knows which of its questions this answers: name it by data, as its status says"
                raise Conflict(f"task {str(task.id)!r} has asked more than once; {why}", code="unclear_answer")
            answers = dict.fromkeys(own or open_, given)
        else:
            answers = given
        if not answers or not (calls.asked or decided):
            why = "has ended: send a message to its context, without a task" if task.ended else "waits for nothing"
            raise Conflict(f"task {str(task.id)!r} {why}", code="unsupported_operation")
        follower, still = await approvals.answer(self._api.runtime, task.id.session, task.id.item, answers, source)
        return Work(self._api, task.id, task.context, follower, still, resumed=True)

    async def _push(self, agent: Agent, task: TaskId, context: str, params: Any) -> PushConfig:
        current().demand("use")
        config = await new_config(params, task, context, agent.name)
        await self._configs.put(task, config)
        return config

    async def _push_create(self, ask: _Ask, params: Any) -> dict[str, Any]:
        task = await self._known(ask.agent, _convert(params, NamedConfig).task_id)
        if task.ended:
            raise Conflict(f"task {str(task.id)!r} has ended: get it", code="unsupported_operation")
        return (await self._push(ask.agent, task.id, task.context, params)).shape()

    async def _push_get(self, ask: _Ask, params: Any) -> dict[str, Any]:
        named = _convert(params, NamedConfig)
        task = await self._known(ask.agent, named.task_id)
        return (await self._configs.get(task.id, named.id)).shape()

    async def _push_list(self, ask: _Ask, params: Any) -> dict[str, Any]:
        task = await self._known(ask.agent, _convert(params, NamedConfig).task_id)
        return {"configs": [one.shape() for one in await self._configs.of(task.id)], "nextPageToken": ""}

    async def _push_delete(self, ask: _Ask, params: Any) -> dict[str, Any]:
        current().demand("use")
        named = _convert(params, NamedConfig)
        task = await self._known(ask.agent, named.task_id)
        await self._configs.remove(task.id, named.id)
        return {}

    async def _list(self, ask: _Ask, params: Any) -> dict[str, Any]:
        return await TaskList(self._name, self._runtime, ask.agent.name, _convert(params, ListTasks)).page()


def _check_version(scope: Scope) -> None:
    asked = header(scope, b"a2a-version") or "1.0"
    if asked.partition(".")[0] != "1":
        raise Conflict(f"A2A {asked[:20]!r} is not spoken here; 1.0 is", code="version_not_supported")


def _context_of(agent: str, message: Message) -> str:
    """Return the name of a context that begins with this message: the same when the message is sent again."""
    said = msgspec.json.encode((agent, message.message_id, message.parts))
    return f"a2a_{hashlib.blake2b(said, digest_size=12).hexdigest()}"


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        check_values(data)
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(found, dict):
        raise Invalid("the body is a JSON object", code="invalid_rpc")
    return cast("dict[str, Any]", found)


def _convert(params: Any, shape: type[T]) -> T:
    try:
        return msgspec.convert(params, shape, strict=False)  # numbers of a query are text
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from None
