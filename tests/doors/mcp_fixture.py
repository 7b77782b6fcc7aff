"""What the official conformance suite of MCP wants a server to offer, through the real door."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from roost.doors.mcp.catalog import (
    Offer,
    Page,
    PromptArgument,
    PromptInfo,
    ResourceInfo,
    Task,
    TaskBegun,
    TaskInfo,
    TemplateInfo,
    Tool,
    ToolFailed,
    ToolInfo,
    ToolResult,
    text,
)
from roost.doors.mcp.exchange import Ask, Exchange, fits
from roost.doors.mcp.wire import CAPABILITY, Failure, Json

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
SOUND = base64.b64encode(
    b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0"
).decode()
IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}
Run = Callable[[Json, Exchange], Awaitable[ToolResult]]


def said(what: str) -> ToolResult:
    return ToolResult([text(what)])


def elicit(message: str, properties: Json, required: Sequence[str] = ()) -> Ask:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return Ask("elicitation/create", {"mode": "form", "message": message, "requestedSchema": schema})


def sample(prompt: str, most: int = 100) -> Ask:
    content = {"type": "text", "text": prompt}
    return Ask("sampling/createMessage", {"messages": [{"role": "user", "content": content}], "maxTokens": most})


class FixtureTool:
    def __init__(self, name: str, run: Run, schema: Json | None = None) -> None:
        found = schema or {"type": "object", "properties": {}}
        self.info = ToolInfo(name=name, description=f"Fixture {name}.", input_schema=found)
        self._run = run

    async def run(self, arguments: Json, exchange: Exchange) -> ToolResult:
        return await self._run(arguments, exchange)

    async def resume(self, exchange: Exchange) -> ToolResult:
        return await self._run(exchange.params.get("arguments") or {}, exchange)


async def simple(arguments: Json, exchange: Exchange) -> ToolResult:
    return said("This is a simple text response for testing.")


async def image(arguments: Json, exchange: Exchange) -> ToolResult:
    return ToolResult([IMAGE])


async def audio(arguments: Json, exchange: Exchange) -> ToolResult:
    return ToolResult([{"type": "audio", "data": SOUND, "mimeType": "audio/wav"}])


async def embedded(arguments: Json, exchange: Exchange) -> ToolResult:
    found = {"uri": "test://embedded-resource", "mimeType": "text/plain"}
    return ToolResult([{"type": "resource", "resource": {**found, "text": "This is an embedded resource content."}}])


async def several(arguments: Json, exchange: Exchange) -> ToolResult:
    found = {"uri": "test://mixed-content-resource", "mimeType": "application/json"}
    mixed = {"type": "resource", "resource": {**found, "text": '{"test":"data","value":123}'}}
    return ToolResult([text("Multiple content types test:"), IMAGE, mixed])


async def logging(arguments: Json, exchange: Exchange) -> ToolResult:
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await exchange.log("info", message)
        await asyncio.sleep(0.05)
    return said("done")


async def progress(arguments: Json, exchange: Exchange) -> ToolResult:
    for done in (0, 50, 100):
        await exchange.progress(done, 100)
        await asyncio.sleep(0.05)
    return said("done")


async def failing(arguments: Json, exchange: Exchange) -> ToolResult:
    raise ToolFailed("This tool intentionally returns an error for testing")


async def sampling(arguments: Json, exchange: Exchange) -> ToolResult:
    answer = (await exchange.ask({"sample": sample(arguments["prompt"])}))["sample"]
    return said(f"LLM response: {answer['content']['text']}")


async def elicitation(arguments: Json, exchange: Exchange) -> ToolResult:
    properties = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    ask = elicit(arguments.get("message", "Who?"), properties, ("username", "email"))
    answer = (await exchange.ask({"user": ask}))["user"]
    return said(f"User response: action={answer['action']}, content={json.dumps(answer.get('content'))}")


def completed(properties: Json) -> Run:
    async def run(arguments: Json, exchange: Exchange) -> ToolResult:
        answer = (await exchange.ask({"form": elicit("Please fill in", properties)}))["form"]
        return said(f"Elicitation completed: action={answer['action']}, content={json.dumps(answer.get('content'))}")

    return run


DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
ENUMS = {
    "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
    "titledSingle": {
        "type": "string",
        "oneOf": [{"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second"), 1)],
    },
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
    "titledMulti": {
        "type": "array",
        "items": {"anyOf": [{"const": f"value{n}", "title": f"Choice {n}"} for n in (1, 2, 3)]},
    },
}
NAME = elicit("What is your name?", {"name": {"type": "string"}}, ["name"])
ROOTS = Ask("roots/list", {})


async def input_elicitation(arguments: Json, exchange: Exchange) -> ToolResult:
    answer = (await exchange.ask({"user_name": NAME}))["user_name"]
    return said(f"Hello, {(answer.get('content') or {}).get('name', 'stranger')}!")


async def input_sampling(arguments: Json, exchange: Exchange) -> ToolResult:
    ask = sample("What is the capital of France?")
    answer = (await exchange.ask({"capital_question": ask}))["capital_question"]
    return said(f"It says: {answer['content']['text']}")


async def input_roots(arguments: Json, exchange: Exchange) -> ToolResult:
    answer = (await exchange.ask({"client_roots": ROOTS}))["client_roots"]
    return said("Roots: " + ", ".join(root["uri"] for root in answer["roots"]))


async def input_state(arguments: Json, exchange: Exchange) -> ToolResult:
    confirm = elicit("Please confirm", {"ok": {"type": "boolean"}}, ["ok"])
    await exchange.ask({"confirm": confirm})
    return said("state-ok")


async def input_several(arguments: Json, exchange: Exchange) -> ToolResult:
    asks = {"user_name": NAME, "greeting": sample("Generate a greeting", 50), "client_roots": ROOTS}
    answers = await exchange.ask(asks)
    return said(f"All answered: {', '.join(answers)}")


async def input_rounds(arguments: Json, exchange: Exchange) -> ToolResult:
    first = elicit("Step 1: What is your name?", {"name": {"type": "string"}}, ["name"])
    await exchange.ask({"step1": first})
    second = elicit("Step 2: What is your favorite color?", {"color": {"type": "string"}}, ["color"])
    answer = (await exchange.ask({"step2": second}))["step2"]
    return said(f"Your color is {(answer.get('content') or {}).get('color')}.")


async def input_capabilities(arguments: Json, exchange: Exchange) -> ToolResult:
    asks = {"name": NAME, "greeting": sample("Generate a greeting"), "roots": ROOTS}
    await exchange.ask({key: ask for key, ask in asks.items() if exchange.can(ask)})
    return said("answered")


async def streaming(arguments: Json, exchange: Exchange) -> ToolResult:
    await exchange.log("info", "asking")
    return await input_elicitation(arguments, exchange)


async def slow_stream(arguments: Json, exchange: Exchange) -> ToolResult:
    await exchange.keep(began=True)
    await asyncio.sleep(0.1)
    return said("Reconnection test completed successfully.")


class FixtureTask:
    """A task in memory. asks: what it asks before it works. seconds: how long it works."""

    def __init__(self, seconds: float, end: Json, asks: Mapping[str, Ask] | None = None) -> None:
        self.id = secrets.token_hex(8)
        self._until, self._end, self._asks = time.monotonic() + seconds, end, dict(asks or {})
        self._cancelled = False

    async def read(self) -> TaskInfo:
        now = datetime.now(UTC).isoformat()
        info = TaskInfo(task_id=self.id, status="working", created_at=now, last_updated_at=now, ttl_ms=None)
        if self._cancelled:
            return msgspec.structs.replace(info, status="cancelled")
        if self._asks:
            asks = {key: {"method": one.method, "params": one.params} for key, one in self._asks.items()}
            return msgspec.structs.replace(info, status="input_required", input_requests=asks)
        return msgspec.structs.replace(info, **self._end) if time.monotonic() >= self._until else info

    async def update(self, answers: Json) -> None:
        self._asks = {key: one for key, one in self._asks.items() if not fits(one, answers.get(key))}

    async def cancel(self) -> None:
        if (await self.read()).status in ("working", "input_required"):
            self._cancelled = True


TASKS: dict[str, FixtureTask] = {}


async def begin(exchange: Exchange, task: FixtureTask) -> ToolResult:
    if not exchange.tasks:
        required = {"requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
        raise Failure(CAPABILITY, "this tool works as a task", required)
    TASKS[task.id] = task
    raise TaskBegun(await task.read())


async def greet(arguments: Json, exchange: Exchange) -> ToolResult:
    return said(f"Hello, {arguments.get('name')}!")


async def slow_compute(arguments: Json, exchange: Exchange) -> ToolResult:
    if not exchange.tasks:
        await asyncio.sleep(arguments.get("seconds", 0))
        return said("done")
    return await begin(exchange, FixtureTask(arguments.get("seconds", 0), DONE))


async def ask_and_work(arguments: Json, exchange: Exchange) -> ToolResult:
    answer = (await exchange.ask({"user_name": NAME}))["user_name"]
    done = {"status": "completed", "result": said(f"Done for {answer['content']['name']}.")}
    return await begin(exchange, FixtureTask(0.1, done))


async def failing_job(arguments: Json, exchange: Exchange) -> ToolResult:
    failed = {"status": "completed", "result": ToolResult([text("failed")], is_error=True)}
    return await begin(exchange, FixtureTask(1.0, failed))


async def protocol_error_job(arguments: Json, exchange: Exchange) -> ToolResult:
    error = {"code": -32603, "message": "it broke"}
    return await begin(exchange, FixtureTask(0.1, {"status": "failed", "error": error}))


async def confirm_delete(arguments: Json, exchange: Exchange) -> ToolResult:
    return await begin(exchange, FixtureTask(0, DONE, {"confirm": elicit("Delete it?", {"ok": {"type": "boolean"}})}))


async def multi_input(arguments: Json, exchange: Exchange) -> ToolResult:
    asks = {"one": NAME, "two": elicit("And the color?", {"color": {"type": "string"}})}
    return await begin(exchange, FixtureTask(0, DONE, asks))


DONE: Json = {"status": "completed", "result": said("done")}
HEADED = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
SCHEMA_2020 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
TOOLS: dict[str, tuple[Run, Json | None]] = {
    "test_simple_text": (simple, None),
    "test_image_content": (image, None),
    "test_audio_content": (audio, None),
    "test_embedded_resource": (embedded, None),
    "test_multiple_content_types": (several, None),
    "test_tool_with_logging": (logging, None),
    "test_logging_tool": (logging, None),
    "test_tool_with_progress": (progress, None),
    "test_error_handling": (failing, None),
    "test_sampling": (sampling, {"type": "object", "properties": {"prompt": {"type": "string"}}}),
    "test_missing_capability": (input_sampling, None),
    "test_elicitation": (elicitation, {"type": "object", "properties": {"message": {"type": "string"}}}),
    "test_elicitation_sep1034_defaults": (completed(DEFAULTS), None),
    "test_elicitation_sep1330_enums": (completed(ENUMS), None),
    "test_input_required_result_elicitation": (input_elicitation, None),
    "test_input_required_result_sampling": (input_sampling, None),
    "test_input_required_result_list_roots": (input_roots, None),
    "test_input_required_result_request_state": (input_state, None),
    "test_input_required_result_tampered_state": (input_state, None),
    "test_input_required_result_multiple_inputs": (input_several, None),
    "test_input_required_result_multi_round": (input_rounds, None),
    "test_input_required_result_capabilities": (input_capabilities, None),
    "test_streaming_elicitation": (streaming, None),
    "test_reconnection": (slow_stream, None),
    "greet": (greet, None),
    "slow_compute": (slow_compute, None),
    "failing_job": (failing_job, None),
    "test_tool_with_task": (ask_and_work, None),
    "protocol_error_job": (protocol_error_job, None),
    "confirm_delete": (confirm_delete, None),
    "multi_input": (multi_input, None),
    "test_custom_header": (simple, HEADED),
    "json_schema_2020_12_tool": (simple, SCHEMA_2020),
}


def user(content: Json) -> Json:
    return {"role": "user", "content": content}


class Fixture(Offer):
    """Tools, resources and prompts of the suite."""

    prompting = True

    def __init__(self) -> None:
        self._tools: list[Tool] = [FixtureTool(name, run, schema) for name, (run, schema) in TOOLS.items()]

    async def tools(self) -> Sequence[Tool]:
        return self._tools

    async def task(self, id: str, exchange: Exchange) -> Task | None:
        return TASKS.get(id)

    async def resources(self, cursor: str | None) -> Page:
        return Page(
            [
                ResourceInfo(name=name, description=f"The {name}.", uri=f"test://{name}", mime_type=kind)
                for name, kind in (
                    ("static-text", "text/plain"),
                    ("static-binary", "image/png"),
                    ("watched-resource", "text/plain"),
                )
            ]
        )

    def templates(self) -> Sequence[TemplateInfo]:
        uri = "test://template/{id}/data"
        return [
            TemplateInfo(name="template", description="A template.", uri_template=uri, mime_type="application/json")
        ]

    async def read(self, uri: str) -> Sequence[Json] | None:
        match uri.removeprefix("test://").split("/"):
            case ["static-text"]:
                return [_text(uri, "This is the content of the static text resource.")]
            case ["watched-resource"]:
                return [_text(uri, "watched")]
            case ["static-binary"]:
                return [{"uri": uri, "mimeType": "image/png", "blob": PIXEL}]
            case ["template", id, "data"]:
                found = {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}
                return [{"uri": uri, "mimeType": "application/json", "text": json.dumps(found)}]
            case _:
                return None

    def watch(self, uri: str) -> AsyncIterator[None] | None:
        return self._never() if uri.startswith("test://") else None

    async def _never(self) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    def prompts(self) -> Sequence[PromptInfo]:
        def argument(name: str) -> PromptArgument:
            return PromptArgument(name=name, description=f"The {name}.", required=True)

        return [
            PromptInfo(name="test_simple_prompt", description="Simple."),
            PromptInfo(
                name="test_prompt_with_arguments",
                description="With arguments.",
                arguments=(argument("arg1"), argument("arg2")),
            ),
            PromptInfo(
                name="test_prompt_with_embedded_resource",
                description="With a resource.",
                arguments=(argument("resourceUri"),),
            ),
            PromptInfo(name="test_prompt_with_image", description="With an image."),
            PromptInfo(name="test_input_required_result_prompt", description="Asks first."),
        ]

    async def prompt(self, name: str, arguments: Mapping[str, str], exchange: Exchange) -> Json | None:
        match name:
            case "test_simple_prompt":
                messages = [user(text("This is a simple prompt for testing."))]
            case "test_prompt_with_arguments":
                one, two = arguments.get("arg1"), arguments.get("arg2")
                messages = [user(text(f"Prompt with arguments: arg1='{one}', arg2='{two}'"))]
            case "test_prompt_with_embedded_resource":
                found = _text(arguments.get("resourceUri", ""), "Embedded resource content for testing.")
                embed = {"type": "resource", "resource": found}
                messages = [user(embed), user(text("Please process the embedded resource above."))]
            case "test_prompt_with_image":
                messages = [user(IMAGE), user(text("Please analyze the image above."))]
            case "test_input_required_result_prompt":
                asked = "What context should the prompt use?"
                ask = elicit(asked, {"context": {"type": "string"}}, ["context"])
                answer = (await exchange.ask({"user_context": ask}))["user_context"]
                messages = [user(text(f"Use this context: {(answer.get('content') or {}).get('context')}"))]
            case _:
                return None
        return {"messages": messages}

    async def complete(self, where: str, argument: str, value: str) -> Sequence[str] | None:
        known = [prompt.name for prompt in self.prompts()]
        known += [template.uri_template for template in self.templates()]
        return [one for one in ("paris", "park", "party") if one.startswith(value)] if where in known else None


def _text(uri: str, content: str) -> dict[str, Any]:
    return {"uri": uri, "mimeType": "text/plain", "text": content}
