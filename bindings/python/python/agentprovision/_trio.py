"""The parts that need trio; imported only where it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context as Variables
from typing import Any

import trio

from . import _native


async def settle(op: _native.Op) -> Any:
    """As `agentprovision._wait.settle`."""
    await trio.lowlevel.checkpoint()
    ready = op.try_now()
    if ready is not None:
        return ready[0]
    token = trio.lowlevel.current_trio_token()
    event = trio.Event()
    answer: list[Any] = []

    def done(ok: bool, value: Any) -> None:
        answer.extend((ok, value))
        try:
            token.run_sync_soon(event.set)
        except trio.RunFinishedError:
            pass  # Nobody waits any more.

    op.start(done)
    try:
        await event.wait()
    except BaseException:
        op.cancel()
        raise
    ok, value = answer
    if ok:
        return value
    raise value


async def event(when_done: Callable[[Callable[[], object]], None], through: float | None) -> None:
    """Waits until something is done, as `agentprovision._wait.Pending` has it."""
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()

    def wake() -> None:
        try:
            token.run_sync_soon(done.set)
        except trio.RunFinishedError:
            pass  # Nobody waits any more.

    when_done(wake)
    if through is None:
        await done.wait()
    else:
        with trio.move_on_after(through) as scope:
            scope.shield = True
            await done.wait()


class TrioLoop:
    """The trio run a platform was opened in."""

    def __init__(self) -> None:
        self.token = trio.lowlevel.current_trio_token()

    def post(self, function: Callable[..., object], *args: object) -> bool:
        try:
            self.token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            return False
        return True

    def task(self, coroutine: Coroutine[Any, Any, None], variables: Variables) -> Callable[[], object]:
        """Runs a coroutine that raises nothing but cancellation; gives what cancels it."""
        scope = trio.CancelScope()

        async def run() -> None:
            with scope:
                try:
                    await coroutine
                except (SystemExit, KeyboardInterrupt, asyncio.CancelledError):
                    # The call has failed of it; out of a task of trio's own it would be a crash of trio.
                    pass

        trio.lowlevel.spawn_system_task(run, context=variables)
        return scope.cancel

    def interrupted(self, error: BaseException) -> bool:
        """Only trio makes its cancellations."""
        return not isinstance(error, asyncio.CancelledError)
