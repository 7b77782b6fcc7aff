"""The daemon under test: the real server around a journal that may kill the process, in a process of its own.

python -m tests.harness.crash.daemon '{"home": …, "model": …, "witness": …}'
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
from tests.harness.crash.killing import When

from roost.errors import RoostError
from roost.kernel.config import KernelConfig

PARTS = (
    "roost.server.daemon",
    "roost.server.logs",
    "roost.stores.sqlite",
    "roost.stores.postgres",
    "tests.harness.crash.actions",
    "aiohttp",
    "asyncpg",
    "uvloop",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.auto",
)
"""What it will import: see `tests.harness.warm_fork`."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`at`, `when`, `only`, `session`: as of `KillingStore`; `trace` is the file that gets the name of the fatal
    commit. `action` is that whose agents there are, by its name.
    `tools`: least and most seconds that a tool takes. `clock` is a file with seconds to add to the wall clock.
    `store` and `snapshots`: as of `roost up`."""

    home: Path
    model: str
    witness: Path
    at: int | None = None
    when: When = "after"
    only: str = ""
    action: str = "turn"
    session: str | None = None
    trace: Path | None = None
    tools: tuple[float, float] = (0.0, 0.02)
    clock: Path | None = None
    store: str | None = None
    snapshots: str | None = None
    linger: float = 0.3
    lease: float = 6.0

    @property
    def argument(self) -> str:
        return msgspec.json.encode(self, enc_hook=str).decode()


def main(argument: str) -> None:
    settings = msgspec.json.decode(argument, type=Settings, dec_hook=lambda kind, text: kind(text))
    if settings.clock is not None:
        _wind(settings.clock)
    from roost.server.daemon import run
    from roost.server.logs import log_to_stderr

    log_to_stderr()
    try:
        run(_serve(settings))
    except RoostError as error:
        sys.exit(f"{error.code}: {error}")


async def _serve(settings: Settings) -> None:
    from tests.harness.crash.actions import ACTIONS
    from tests.harness.crash.killing import KillingStore
    from tests.harness.crash.plans import agents

    from roost.server.daemon import Options, serve
    from roost.stores.open import open_store

    team = ACTIONS[settings.action].team(settings.model, settings.witness)

    def trace(name: str) -> None:
        if settings.trace is not None:
            settings.trace.write_text(name)

    journal = None
    if settings.store is None or settings.at is not None:
        journal = KillingStore(
            await open_store(settings.store or settings.home / "roost.db"),
            at=settings.at,
            when=settings.when,
            session=settings.session,
            only=settings.only,
            on_strike=trace,
        )
    await serve(
        Options(home=settings.home, port=0, grace=1.0, store=settings.store, snapshots=settings.snapshots),
        agents=agents(settings.model, settings.witness, delay=settings.tools) if settings.action == "turn" else team,
        config=KernelConfig(linger=settings.linger, lease=settings.lease, scan=0.5),
        store=journal,
    )


def _wind(clock: Path) -> None:
    """The wall clock of this process is off by what the file says, from one look to the next."""
    real = time.time

    def time_off() -> float:
        try:
            return real() + float(clock.read_text() or 0.0)
        except (OSError, ValueError):
            return real()

    time.time = time_off


if __name__ == "__main__":
    main(sys.argv[1])
