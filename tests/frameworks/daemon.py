"""The daemon whose process is killed, with one hosted agent.

python -m tests.frameworks.daemon HOME FRAMEWORK
"""

from __future__ import annotations

import sys
from pathlib import Path

PARTS = ("roost.server.daemon", "roost.server.logs", "roost.stores.sqlite", "aiohttp", "asyncio", "uvloop")
"""What it will import: see `tests.harness.warm_fork`."""


def main(home: str, framework: str) -> None:
    from roost.agent.definition import Agent
    from roost.kernel.config import KernelConfig
    from roost.server.daemon import Options, run, serve
    from tests.frameworks.hosting import hosted

    run(
        serve(
            Options(home=Path(home), port=0, grace=1.0),
            agents=[Agent("coder", model="one/m", **hosted(framework))],
            config=KernelConfig(linger=0.3, lease=6.0, scan=0.5),
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
