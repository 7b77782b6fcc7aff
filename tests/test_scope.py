"""Scopes: cut once, on demand or by time, and never in place of somebody's cancellation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from roost.scope import Allowed, Scope


async def guarded(work: Callable[[Scope], Awaitable[str]], seconds: float | None = None) -> str:
    scope = Scope(seconds)
    try:
        return await work(scope)
    except asyncio.CancelledError:
        if scope.leave():
            return "cut"
        raise
    finally:
        scope.leave()


async def forever(scope: Scope) -> str:
    await asyncio.Event().wait()
    return "never"


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_its_time_cuts() -> None:
    assert await guarded(forever, 0.01) == "cut"
    assert cancelling() == 0


async def test_no_time_is_left_after_it() -> None:
    async def quick(scope: Scope) -> str:
        return "done"

    assert await guarded(quick, 0.01) == "done"
    await asyncio.sleep(0.05)
    assert cancelling() == 0


@pytest.mark.parametrize("seconds", [None, 60.0])
async def test_a_cut_from_elsewhere(seconds: float | None) -> None:
    async def work(scope: Scope) -> str:
        asyncio.get_running_loop().call_soon(scope.cut)
        asyncio.get_running_loop().call_soon(scope.cut)
        return await forever(scope)

    assert await guarded(work, seconds) == "cut"
    assert cancelling() == 0
    await asyncio.sleep(0)


async def test_a_cut_by_the_task_itself_does_not_reach_what_comes_after() -> None:
    async def work(scope: Scope) -> str:
        scope.cut()
        return "done"

    assert await guarded(work) == "done"
    await asyncio.sleep(0)
    assert cancelling() == 0


async def test_a_cancellation_from_outside_is_not_taken_for_a_cut() -> None:
    task = asyncio.create_task(guarded(forever, 60.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@pytest.mark.parametrize("cut_first", [True, False])
async def test_a_cancellation_together_with_a_cut_wins(cut_first: bool) -> None:
    scopes: list[Scope] = []

    async def work(scope: Scope) -> str:
        scopes.append(scope)
        return await forever(scope)

    task = asyncio.create_task(guarded(work))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    if cut_first:
        scopes[0].cut()
        loop.call_soon(task.cancel)
    else:
        task.cancel()
        scopes[0].cut()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_an_earlier_cancellation_stays_counted() -> None:
    async def main() -> tuple[str, int]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await guarded(forever, 0.01), cancelling()
        return "", 0

    task = asyncio.create_task(main())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == ("cut", 1)


async def test_scopes_in_each_other() -> None:
    async def inner(scope: Scope) -> str:
        asyncio.get_running_loop().call_soon(scope.cut)
        return await guarded(forever)

    async def outer(scope: Scope) -> str:
        said = await guarded(forever, 0.01)
        assert said == "cut"
        await asyncio.sleep(0)
        return "went on"

    assert await guarded(inner) == "cut"
    assert await guarded(outer) == "went on"
    assert cancelling() == 0


async def test_work_that_ends_although_it_was_cut() -> None:
    async def swallows(scope: Scope) -> str:
        try:
            return await forever(scope)
        except asyncio.CancelledError:
            return "in time"

    async def fails(scope: Scope) -> str:
        try:
            return await forever(scope)
        except asyncio.CancelledError:
            raise ValueError("while it cleaned up") from None

    assert await guarded(swallows, 0.01) == "in time"
    assert cancelling() == 0
    with pytest.raises(ValueError):
        await guarded(fails, 0.01)
    assert cancelling() == 0


async def bounded(work: Awaitable[str], seconds: float) -> str:
    allowed = Allowed(seconds)
    try:
        return await allowed.over(work)
    except asyncio.CancelledError:
        if allowed.leave():
            return "late"
        raise
    finally:
        allowed.leave()


async def slow() -> str:
    await asyncio.sleep(0)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
    return "never"


async def test_work_that_takes_too_long_is_cut_and_may_clean_up() -> None:
    assert await bounded(slow(), 0.01) == "late"
    assert cancelling() == 0


async def test_work_that_never_pauses_sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def quick() -> str:
        return "done"

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", None)
    assert await bounded(quick(), 0.01) == "done"


async def test_time_that_the_work_took_before_it_paused_counts() -> None:
    async def busy() -> str:
        time.sleep(0.05)
        await asyncio.Event().wait()
        return "never"

    assert await bounded(busy(), 0.04) == "late"


@pytest.mark.parametrize("kind", ["future", "task"])
async def test_any_awaitable_has_its_result_and_its_error(kind: str) -> None:
    async def works(error: Exception | None) -> str:
        await asyncio.sleep(0)
        if error is not None:
            raise error
        return "done"

    def awaitable(error: Exception | None) -> Awaitable[str]:
        if kind == "task":
            return asyncio.ensure_future(works(error))
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if error is None:
            asyncio.get_running_loop().call_soon(future.set_result, "done")
        else:
            asyncio.get_running_loop().call_soon(future.set_exception, error)
        return future

    assert await bounded(awaitable(None), 60.0) == "done"
    with pytest.raises(ValueError, match="no"):
        await bounded(awaitable(ValueError("no")), 60.0)


async def test_a_cancellation_from_outside_is_not_its_time() -> None:
    task = asyncio.create_task(bounded(slow(), 60.0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
