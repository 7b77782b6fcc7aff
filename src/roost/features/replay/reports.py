"""Results of replays: for people, as JSON, and as JUnit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from roost.features.replay.suite import Result
from roost.terminal_text import clean

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Return the results for programs."""
    return {
        "passed": all(one.good for one in results),
        "replays": [
            {
                "name": one.name,
                "verdict": one.verdict,
                "failures": one.failures,
                "error": one.error or None,
                "skipped": one.skipped or None,
                "replay": one.found,
            }
            for one in results
        ],
    }


def junit(results: Sequence[Result]) -> str:
    """Return the results as a JUnit file, which every CI reads."""
    verdicts = [one.verdict for one in results]
    counts = (
        f'tests="{len(results)}" failures="{verdicts.count("diverged") + verdicts.count("failed")}" '
        f'errors="{verdicts.count("error")}" skipped="{verdicts.count("skipped")}" '
        f'time="{sum(one.found.seconds for one in results if one.found is not None):.3f}"'
    )
    cases = "".join(_case(one) for one in results)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites {counts}>\n<testsuite name="roost replay" {counts}>\n{cases}</testsuite>\n</testsuites>\n'
    )


def _case(result: Result) -> str:
    found = result.found
    agent, seconds = ("", 0.0) if found is None else (found.agent, found.seconds)
    head = f'<testcase classname={_quoted(agent or "replay")} name={_quoted(result.name)} time="{seconds:.3f}"'
    match result.verdict:
        case "passed":
            return f"{head}/>\n"
        case "skipped":
            return f"{head}><skipped message={_quoted(result.skipped)}/></testcase>\n"
        case "error":
            return f"{head}><error message={_quoted(result.error)}/></testcase>\n"
        case verdict:
            reasons = reasons_of(result)
            body = escape(_xml("\n".join(reasons)))
            return (
                f"{head}><failure type={_quoted(verdict)} message={_quoted(reasons[0])}>{body}</failure></testcase>\n"
            )


def reasons_of(result: Result) -> list[str]:
    """Return why a replay did not pass: the first difference with its diff, then the assertions that failed."""
    found, reasons = result.found, list[str]()
    if found is not None and (one := found.divergence) is not None:
        reasons.append(f"turn {one.turn}, step {one.step}, event {one.position}: {one.summary}")
        if one.diff:
            reasons.append(one.diff)
    return [*reasons, *result.failures]


def line_of(result: Result) -> str:
    """Return the line of a result, for people."""
    found = result.found
    if found is None:
        return f"{result.verdict:8} {clean(result.name)}: {clean(result.error or result.skipped)}"
    cost = "price unknown" if found.cost is None else f"${found.cost:.4f}"
    counts = f"{found.steps} steps, {found.calls} calls, {cost}"
    return f"{result.verdict:8} {clean(result.name)} ({clean(found.agent)}, {clean(found.model)}): {counts}"


def _quoted(text: str) -> str:
    return quoteattr(_xml(text))


def _xml(text: str) -> str:
    """Replace characters that no XML file may have."""
    return _NOT_XML.sub("\ufffd", text)
