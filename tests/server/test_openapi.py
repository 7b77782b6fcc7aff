"""The document is true: generated requests against a live daemon meet what it says."""

from __future__ import annotations

import contextlib
from urllib.parse import urlencode

import hypothesis
import msgspec
import pytest
import schemathesis
from schemathesis.checks import CHECKS
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.modes import GenerationMode

from roost.server.app import table
from roost.server.app_state import Api


def test_every_route_is_in_the_document_and_answers(shared):
    paths = shared.get("/openapi.json")["paths"]
    listed = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    routed = {
        (endpoint.method, endpoint.path.replace(":path}", "}"))
        for endpoint in table(Api(shared.daemon._runtime, lambda: None))
    }
    assert listed == routed
    assert ("POST", "/sessions/{session}/messages") in listed
    for path, operations in paths.items():
        for method, operation in operations.items():
            problems = operation["responses"]["422"]["content"]["application/problem+json"]["schema"]
            assert problems == {"$ref": "#/components/schemas/Problem"}, (method, path)


def test_events_are_described_by_their_types(shared):
    schemas = shared.get("/openapi.json")["components"]["schemas"]
    assert {"TurnCompleted", "ModelCompleted", "InputReceived", "SessionInfo", "Problem"} <= set(schemas)
    assert "turn.completed" in msgspec.json.encode(schemas["TurnCompleted"]).decode()


CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)

TOO_MUCH = ["408", "413"]
"""Refusals of a body before it is read: what is wrong in a very long one is never looked at."""


def is_sent(case) -> bool:
    """Whether the query is sent as it was made, what holds nothing being left out of it, and is read: of an address of
    64 KiB the parser of HTTP says what it thinks before it is one of ours."""
    query = case.query or {}
    written = urlencode(query, doseq=True, errors="replace")
    return len(written) < 60_000 and not any(value in (None, [], {}) for value in query.values())


def token(case, served) -> dict[str, str]:
    """Not where nothing is wrong but that it is missing."""
    wrong = {part for part, made in case.meta.components.items() if made.mode is GenerationMode.NEGATIVE}
    return served.headers() if wrong != {ParameterLocation.HEADER} or "Authorization" in (case.headers or {}) else {}


def attack(served, document, mode, examples=7) -> int:
    """Send generated requests of every operation. Raises when an answer is not as the document says."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=served.url)
    rejects = schema.config.checks.negative_data_rejection
    rejects.expected_statuses = [*rejects.expected_statuses, *TOO_MUCH]
    checks = CHECKS.get_by_names(list(CHECKED))
    count = 0
    for result in schema.get_all_operations():
        cases = result.ok().as_strategy(generation_mode=mode)

        @hypothesis.seed(7)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=cases)
        def check(case):
            nonlocal count
            hypothesis.assume(is_sent(case))
            count += 1
            if "session" in case.path_parameters and count % 2:
                case.path_parameters["session"] = "0"
            case.call_and_validate(headers=token(case, served), checks=checks, timeout=60)

        with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # there is nothing about it that could be wrong
            check()
    return count


def attackable(served):
    document = served.get("/openapi.json")
    del document["paths"]["/shutdown"], document["paths"]["/drain"]
    del document["paths"]["/sessions/{session}/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    served.session(id="0")
    return document


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_generated_requests_find_no_lie(serve, mode):
    served = serve(durability="relaxed")
    assert attack(served, attackable(served), mode) > 80


def test_a_lie_would_be_found(serve):
    served = serve(durability="relaxed")
    document = attackable(served)
    document["components"]["schemas"]["AgentInfo"]["properties"]["tools"] = {"type": "string"}
    with pytest.raises((schemathesis.errors.FailureGroup, ExceptionGroup)):  # suppress() of 3.12 rebuilds the group
        attack(served, document, GenerationMode.POSITIVE, examples=1)
