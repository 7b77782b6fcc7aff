"""Check a Gemini request as strictly as Google does, for tests."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any, cast

from roost.stub.dialects.checks import need, need_dict, need_list

_KEYS = {
    "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "cachedContent",
    "labels", "serviceTier",
}  # fmt: skip
_CONFIG = {
    "temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "responseMimeType",
    "responseSchema", "responseJsonSchema", "seed", "presencePenalty", "frequencyPenalty", "thinkingConfig",
    "responseModalities", "mediaResolution", "speechConfig", "imageConfig", "logprobs", "responseLogprobs",
}  # fmt: skip
_DATA = {"text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult"}
_BESIDE = {"thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution"}
_SCHEMA = {
    "$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems",
    "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties", "required",
    "propertyOrdering",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
UNSIGNED = "skip_thought_signature_validator"
Json = dict[str, Any]
Signed = Callable[[Json], str]


def check_gemini_request(body: Json, signed: Signed | None = None, *, insists: bool = False) -> None:
    """Raise `AssertionError` with the reason. `signed`: returns the signature that a part must have if it has any.
    `insists`: the first call of each step of the running turn must have one, as the newest models require."""
    need(not set(body) - _KEYS, f'Unknown name "{sorted(set(body) - _KEYS)}": Cannot find field.')
    if (system := body.get("systemInstruction")) is not None:
        parts = need_list(need_dict(system).get("parts"))
        need(all(need_dict(part).get("text") for part in parts) and bool(parts), "systemInstruction: empty text")
    _check_config(need_dict(body.get("generationConfig")))
    _check_tools(body)
    contents = [need_dict(content) for content in need_list(body.get("contents"))]
    need(bool(contents), "contents is not specified")
    for at, content in enumerate(contents):
        _check_content(content, f"contents[{at}]", signed)
    _check_turns(contents)
    if insists:
        _check_signatures(contents)


def _check_config(config: Json) -> None:
    need(not set(config) - _CONFIG, f"generation_config: cannot find field {sorted(set(config) - _CONFIG)}")
    need(len(config.get("stopSequences", ())) <= 5, "stop_sequences: at most 5")
    need(0 <= config.get("temperature", 0) <= 2, "temperature must be in the range [0.0, 2.0]")
    need(config.get("maxOutputTokens", 1) > 0, "max_output_tokens must be positive")
    thinking = need_dict(config.get("thinkingConfig"))
    both = {"thinkingLevel", "thinkingBudget"} <= set(thinking)
    need(not both, "You can only set only one of thinking budget and thinking level.")
    level = str(thinking.get("thinkingLevel", "LOW")).upper()
    need(level in ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"), f"thinking_level: invalid value {level}")
    if "responseJsonSchema" in config or "responseSchema" in config:
        need(config.get("responseMimeType") == "application/json", "response_schema needs a JSON response_mime_type")
    _check_schema(config.get("responseJsonSchema"))


def _check_tools(body: Json) -> None:
    names: list[str] = []
    for tool in map(need_dict, need_list(body.get("tools", []))):
        for declared in map(need_dict, need_list(tool.get("functionDeclarations", []))):
            names.append(str(declared.get("name")))
            need(_NAME.fullmatch(names[-1]) is not None, f"Invalid function name {names[-1]!r}")
            need("parameters" not in declared or "parametersJsonSchema" not in declared, "two kinds of parameters")
            _check_schema(declared.get("parametersJsonSchema"))
    need(len(names) == len(set(names)), "Duplicate function declaration found")
    mode = need_dict(need_dict(body.get("toolConfig")).get("functionCallingConfig")).get("mode", "AUTO")
    need(mode in ("AUTO", "ANY", "NONE", "VALIDATED"), f"function_calling_config.mode: invalid value {mode}")
    need(mode != "ANY" or bool(names), "Function calling mode ANY without function declarations")


def _check_schema(schema: Any) -> None:
    if not isinstance(schema, dict):
        return
    node = cast("Json", schema)
    need(not set(node) - _SCHEMA, f"the schema has unknown fields {sorted(set(node) - _SCHEMA)}")
    if "$ref" in node:
        need(all(key.startswith("$") for key in node), "a schema with $ref must not have other fields")
    for value in node.get("enum", ()):
        need(isinstance(value, str | int | float) and not isinstance(value, bool), "enum: only strings and numbers")
    for key in ("properties", "$defs"):
        for inner in need_dict(node.get(key)).values():
            _check_schema(inner)
    for key in ("anyOf", "oneOf", "prefixItems"):
        for inner in need_list(node.get(key, [])):
            _check_schema(inner)
    _check_schema(node.get("items"))
    _check_schema(node.get("additionalProperties"))


def _check_content(content: Json, where: str, signed: Signed | None) -> None:
    need(content.get("role", "user") in ("user", "model"), "Please use a valid role: user, model.")
    parts = need_list(content.get("parts"))
    need(bool(parts), f"{where}.parts must not be empty")
    for part in map(need_dict, parts):
        data = set(part) & _DATA
        need(not set(part) - _DATA - _BESIDE, f"{where}: cannot find field {sorted(set(part) - _DATA - _BESIDE)}")
        need(len(data) == 1, f"{where}: required oneof field 'data' must have one initialized field")
        if (media := need_dict(part.get("inlineData") or part.get("fileData"))) or data & {"inlineData", "fileData"}:
            # The server reads both spellings of a field; Google's own client mixes them.
            kind, at = media.get("mimeType") or media.get("mime_type"), media.get("fileUri") or media.get("file_uri")
            need(bool(kind) and bool(media.get("data") or at), f"{where}: no media")
        for key in data & {"functionCall", "functionResponse"}:
            call = need_dict(part[key])
            need(_NAME.fullmatch(str(call.get("name"))) is not None, f"{where}.{key}.name: invalid")
            inner = call.get("args" if key == "functionCall" else "response", {})
            need(isinstance(inner, dict), f"{where}.{key}: a struct was expected")
            need((content.get("role") == "model") == (key == "functionCall"), f"{where}: {key} in the wrong role")
        if (proof := part.get("thoughtSignature")) is not None:
            _check_proof(part, str(proof), signed)


def _check_proof(part: Json, proof: str, signed: Signed | None) -> None:
    if proof == UNSIGNED:
        return
    plain = proof.replace("-", "+").replace("_", "/")
    try:
        base64.b64decode(plain, validate=True)
    except binascii.Error:
        need(False, "thought_signature: Base64 decoding failed")
    need(signed is None or plain == signed(part), "Corrupted thought signature.")


def _check_turns(contents: list[Json]) -> None:
    """Check the rules of function calling. Contents of one role have been joined as the server joins them."""
    calls: list[tuple[str, Any]] = []
    before = ""
    for content in contents:
        parts, model = content["parts"], content.get("role") == "model"
        made = [
            (part["functionCall"]["name"], part["functionCall"].get("id")) for part in parts if "functionCall" in part
        ]
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        count = "the number of function response parts is equal to the number of function call parts"
        need(len(results) == len(calls), f"Please ensure that {count} of the function call turn.")
        for (name, call), result in zip(calls, results, strict=True):
            need(result["name"] == name and result.get("id") == call, "a function response does not fit its call")
        need(not made or before == "user", "function call turn comes immediately after a user turn")
        calls, before = made, "model" if model else "user"
    need(not calls, "a function call without its response")
    need(before == "user", "the conversation must end with a user turn")


def _check_signatures(contents: list[Json]) -> None:
    for content in reversed(contents):
        kinds = {key for part in content["parts"] for key in part}
        if content.get("role") == "user" and "functionResponse" not in kinds and "text" in kinds:
            return
        first = next((part for part in content["parts"] if "functionCall" in part), None)
        need(first is None or "thoughtSignature" in first, "Function call is missing a thought_signature")
