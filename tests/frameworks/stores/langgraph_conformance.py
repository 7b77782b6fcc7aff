"""Run LangGraph's own conformance suite on the saver of the session's log: `python langgraph_conformance.py RUNNER`.

After each write the saver is closed and read again from what the log would have."""

import asyncio
import json
import sys

sys.path.insert(0, sys.argv[1])

from langgraph.checkpoint.conformance import checkpointer_test, validate
from roost_bridge.langgraph_saver import session_saver


def reopened(kind):
    class Reopened(kind):
        def _reopen(self):
            items = json.loads(json.dumps(self.kept(newest=False)))
            for kept in (self.storage, self.writes, self.blobs):
                kept.clear()
            self.load(items)

        async def aput(self, *given, **named):
            found = await super().aput(*given, **named)
            self._reopen()
            return found

        async def aput_writes(self, *given, **named):
            await super().aput_writes(*given, **named)
            self._reopen()

        async def adelete_thread(self, *given, **named):
            await super().adelete_thread(*given, **named)
            self._reopen()

    return Reopened()


@checkpointer_test(name="SessionSaver")
async def saver():
    yield reopened(type(session_saver([])))


report = asyncio.run(validate(saver))
report.print_report()
assert report.passed_all_base()
