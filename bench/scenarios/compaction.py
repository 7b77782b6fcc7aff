"""What it costs to make a full context smaller."""

from __future__ import annotations

from typing import Any

from bench.contest import Contestant, Played, contest, rounds
from bench.numbers import figure, median
from bench.report import Section, Table
from bench.settings import Settings
from bench.workers.compaction import full

ABOUT = """\
A context that fills its window with turns of one tool call each (outputs of about 4 KB) is brought down to half of \
it: by leaving outputs out, and by a summary by rule. Planning, the event and its meaning to the state, on one core; a \
model's summary takes as long as the model beside it. The peers have the same conversation in their own shapes, and \
keep nothing of what they did, so that they do it before every call of a model: LangChain's `trim_messages` drops the \
oldest messages down to half of the window, OpenAI Agents' `ToolOutputTrimmer` cuts the outputs of the older half of \
the turns. The ratio is that of the peer's time and of Roost's for the like of it, in the same round."""
_PEERS = {
    "LangChain, trim_messages": ("langchain_core", "langchain"),
    "OpenAI Agents, ToolOutputTrimmer": ("agents", "agents"),
}


def run(settings: Settings) -> Section:
    section = Section("Compaction", ABOUT)
    contestants: list[Contestant] = []
    own: dict[str, str] = {}
    for tokens in (32_000, 200_000):
        order: dict[str, Any] = {"tokens": tokens, "times": settings.pick(20, 2)}
        roost = f"{tokens:,} tokens, Roost"
        contestants.append(Contestant(roost, "bench.workers.compaction", **order))
        turns = len(full(tokens).entries) // 4
        for title, (module, library) in _PEERS.items() if settings.peers else ():
            name = f"{tokens:,} tokens, {title}"
            own[name] = roost
            contestants.append(
                Contestant(name, "bench.workers.peer_compaction", peer=module, library=library, turns=turns, **order)
            )
    with contest(contestants) as (ready, absent):
        played = rounds(ready, settings.pick(5, 1))
    section.notes += [f"{name}: {why}" for name, why in absent.items()]
    section.tables.append(_table(played, own))
    section.data = dict(played)
    return section


def _table(played: Played, own: dict[str, str]) -> Table:
    table = Table(
        ["context", "outputs left out or cut, ms", "against Roost's", "summary by rule or messages dropped, ms"]
    )
    for name, answers in played.items():
        good = [answer for answer in answers if "error" not in answer]
        if not good:
            table.rows.append([name, f"failed: {answers[0]['error']}"])
        elif name not in own:
            costs = [median([answer[kind] for answer in good]) for kind in ("elided_ms", "plain_ms")]
            table.rows.append([name, figure(costs[0]), "1 ×", figure(costs[1])])
        else:
            cost = median([answer["trimmed_ms"] for answer in good])
            cuts = "Trimmer" in name
            kind = "elided_ms" if cuts else "plain_ms"
            pairs = zip(answers, played[own[name]], strict=False)
            ratio = median([one["trimmed_ms"] / other[kind] for one, other in pairs if "error" not in one])
            shown = f"{figure(ratio)} ×"
            row = [figure(cost), shown, "–"] if cuts else ["–", shown, figure(cost)]
            table.rows.append([name, *row])
    return table
