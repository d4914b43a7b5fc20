"""Waiting for an operation: in an event loop (asyncio or trio), or in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable
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


class Pending:
    """An operation that goes on when who waits for it is cancelled. Any number may wait, in event loops and threads."""

    def __init__(self, op: _native.Op, then: Callable[[], object] | None = None) -> None:
        """Begins it; `then` is called once it has succeeded, before anybody is told."""
        self._then = then
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], object]] = []
        self._answer: tuple[bool, Any] | None = None
        self._taken = False
        ready = op.try_now()
        if ready is None:
            op.start(self._done)
        else:
            self._done(True, ready[0])

    def _done(self, ok: bool, value: Any) -> None:
        if ok and self._then is not None:
            self._then()
        with self._lock:
            self._answer = (ok, value)
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def _when_done(self, wake: Callable[[], object]) -> None:
        with self._lock:
            if self._answer is None:
                self._waiting.append(wake)
                return
        wake()

    @property
    def failed(self) -> bool:
        """Whether it has failed."""
        return self._answer is not None and not self._answer[0]

    def take(self) -> bool:
        """Whether the caller is the first to ask: of those who wait, one gets what can be had once."""
        with self._lock:
            taken, self._taken = self._taken, True
        return not taken

    def _result(self) -> Any:
        if self._answer is None:
            return None
        ok, value = self._answer
        if ok:
            return value
        raise value

    async def settle(self, *, through: float | None = None) -> Any:
        """Waits for it; `through` waits so many seconds also where the scope around is cancelled already."""
        if in_trio():
            from . import _trio

            await _trio.event(self._when_done, through)
        elif self._answer is None:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()

            def wake() -> None:
                try:
                    loop.call_soon_threadsafe(_resolve, future, True, None)
                except RuntimeError:
                    pass  # The loop is closed: nobody waits any more.

            self._when_done(wake)
            # A task of asyncio is cancelled once, but scopes of anyio do it again and again.
            anyio = None if through is None else sys.modules.get("anyio")
            with contextlib.nullcontext() if anyio is None else anyio.move_on_after(through, shield=True):
                await future
        return self._result()

    def block(self, *, through: float | None = None) -> Any:
        """Blocks the thread until it ends; Ctrl-C interrupts that."""
        event = threading.Event()
        self._when_done(event.set)
        while not event.wait(0.5):
            pass
        return self._result()
