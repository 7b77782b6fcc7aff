"""An agent that begins calls without end, and never waits for one."""

from roost_bridge import gate


def _flood(size):
    channel, arguments, number = gate._state["channel"], '{"x": "' + "x" * size + '"}', 0
    while True:
        number += 1
        said = {"type": "tool.begin", "n": 10_000 + number, "name": "pay", "scope": "", "call_id": ""}
        channel.say({**said, "arguments": f"{arguments[:-2]}{number}{arguments[-2:]}"})


def small(text, history):
    _flood(100)


def medium(text, history):
    _flood(900_000)


def large(text, history):
    _flood(15_000_000)
