"""Waiting for an operation: in an event loop (asyncio or trio), or in a thread."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from . import _native


def in_trio() -> bool:
    """Whether the caller is a task of trio."""
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())


async def settle(op: _native.Op) -> Any:
    """Waits for an operation. Cancelling the waiter drops the operation, and never a run."""
    if in_trio():
        from . import _trio

        return await _trio.settle(op)
    ready = op.try_now()
    if ready is not None:
        return ready[0]
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def done(ok: bool, value: Any) -> None:
        try:
            loop.call_soon_threadsafe(_resolve, future, ok, value)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.

    op.start(done)
    try:
        return await future
    except BaseException:
        op.cancel()
        raise


def _resolve(future: asyncio.Future[Any], ok: bool, value: Any) -> None:
    if future.done():
        return
    if ok:
        future.set_result(value)
    elif isinstance(value, StopIteration):
        # asyncio refuses it: it would end the generator that awaits.
        future.set_exception(RuntimeError(f"the host's function raised {value!r}"))
    else:
        future.set_exception(value)


def block(op: _native.Op) -> Any:
    """Blocks the thread until an operation ends; Ctrl-C interrupts it."""
    return op.block()
