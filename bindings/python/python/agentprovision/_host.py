"""The platform's way into the host's functions.

`Bridge.begin` is called in the platform's own thread and must not block: async functions become tasks of the event loop
the platform was opened in, sync ones go to a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from . import _native
from ._blocking import ToolCall as BlockingCall
from ._call import ToolCall
from ._codec import decode, dumps, load
from ._threads import Threads
from ._types import ChatRequest, NumberedEvent
from ._wait import in_trio
from .context import Authorization, Decision
from .error import AgentProvisionError, UnavailableError, _kind_of
from .tool import Tool

Cancel = Callable[[], object]

_LONGEST = 8192
"""Characters of an exception's text that are passed on."""


def _nothing() -> None:
    """Cancels nothing."""


class Loop(Protocol):
    """The event loop a platform was opened in."""

    def post(self, function: Callable[..., object], *args: object) -> bool:
        """Has the loop call a function soon; false when the loop is gone."""
        ...

    def task(self, coroutine: Coroutine[Any, Any, None], variables: contextvars.Context) -> Cancel:
        """Runs a coroutine that raises nothing but cancellation; gives what cancels it. In the loop only."""
        ...


class AsyncioLoop:
    """A loop of asyncio."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def post(self, function: Callable[..., object], *args: object) -> bool:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return False
        return True

    def task(self, coroutine: Coroutine[Any, Any, None], variables: contextvars.Context) -> Cancel:
        task: asyncio.Task[None] = variables.run(self._loop.create_task, coroutine)
        return task.cancel


def running_loop() -> Loop:
    """The loop the caller runs in."""
    if in_trio():
        from ._trio import TrioLoop

        return TrioLoop()
    return AsyncioLoop()


class HostFunction(Protocol):
    """A function of the host: takes a call, and gives the answer as JSON text, or an awaitable of it."""

    def __call__(self, call: _native.Call) -> str | Awaitable[str]: ...

    @property
    def is_async(self) -> bool:
        """Whether calling it only makes a coroutine."""
        ...


class Bridge:
    """What the platform calls."""

    def __init__(self, loop: Loop | None) -> None:
        self._loop = loop
        self._variables = contextvars.copy_context()
        self._threads = Threads()
        self._functions: list[HostFunction] = []
        # Of the calls under way in a loop; the platform's thread reads it.
        self._running: dict[int, Cancel] = {}

    def add(self, function: HostFunction) -> int:
        """The number the platform calls it by."""
        self._functions.append(function)
        return len(self._functions) - 1

    def begin(self, number: int, call: _native.Call) -> None:
        """The platform calls a function."""
        function = self._functions[number]
        if function.is_async and self._loop is not None:
            self._in_loop(self._await, function, call)
        elif not self._threads.submit(lambda: self._in_thread(function, call)):
            _fail(call, UnavailableError("the platform is closing"))

    def gone(self, call: int) -> None:
        """Nobody waits for a call any more."""
        # A task that is cancelled before it begins has no chance to take itself out.
        self._running.pop(call, _nothing)()

    def close(self) -> None:
        """Lets go of the threads."""
        self._threads.close()

    def _in_loop(self, start: Callable[..., object], *args: Any) -> None:
        assert self._loop is not None
        if not self._loop.post(start, *args):
            _fail(args[-1], UnavailableError("the event loop the platform was opened in is gone"))

    def _await(self, function: Callable[[_native.Call], Any], call: _native.Call) -> None:
        """In the loop: makes the call a task."""
        loop = self._loop
        if loop is None or call.cancelled:
            return
        # Before the task, which may be over by the time it is made.
        self._running[call.id] = _nothing
        cancel = loop.task(self._answer(function, call), self._variables.copy())
        if call.id in self._running:
            # Cancelling is for the loop's own thread.
            self._running[call.id] = lambda: loop.post(cancel)
        if call.cancelled:
            self._running.pop(call.id, None)
            cancel()

    async def _answer(self, function: Callable[[_native.Call], Any], call: _native.Call) -> None:
        try:
            call.done(await function(call))
        except Exception as error:
            _fail(call, error)
        except BaseException:
            # Cancellation and the end of the program are for the loop, not for whoever waits for the answer.
            call.fail_cancelled()
            raise
        finally:
            self._running.pop(call.id, None)

    def _in_thread(self, function: HostFunction, call: _native.Call) -> None:
        try:
            variables = self._variables.copy()
            answer = variables.run(function, call)
            if inspect.isawaitable(answer):
                if self._loop is None:
                    variables.run(asyncio.run, self._alone(answer, call))
                else:
                    self._in_loop(self._await, lambda _: answer, call)
            else:
                call.done(answer)
        except asyncio.CancelledError:
            call.fail_cancelled()
        except BaseException as error:
            _fail(call, error)

    async def _alone(self, answer: Awaitable[str], call: _native.Call) -> None:
        """Awaits in a loop of this thread's own, where nobody else has one."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:
                pass  # It has just ended.

        self._running[call.id] = cancel
        try:
            call.done(await answer)
        finally:
            self._running.pop(call.id, None)


def _fail(call: _native.Call, error: BaseException) -> None:
    """Ends a call with what was raised: kind and text for the platform, the object for whoever is to get it back."""
    try:
        message = str(error) or type(error).__name__
    except Exception:
        message = type(error).__name__
    message = message[:_LONGEST].encode("utf-8", "backslashreplace").decode()
    after = error.retry_after if isinstance(error, AgentProvisionError) else None
    call.fail(_kind_of(error), message, after, error)


class ToolFunction:
    """A tool."""

    def __init__(self, tool: Tool[..., Any]) -> None:
        self._tool = tool
        self.is_async = tool.is_async

    def __call__(self, call: _native.Call) -> str | Awaitable[str]:
        given = json.loads(call.take_input() or "{}")
        made = ToolCall(call) if self.is_async else BlockingCall(call)
        args, named = self._tool.bind(made, given)
        result = self._tool(*args, **named)
        return self._later(result) if inspect.isawaitable(result) else self._text(result)

    async def _later(self, result: Awaitable[Any]) -> str:
        return self._text(await result)

    def _text(self, result: Any) -> str:
        if hasattr(result, "model_dump") and not isinstance(result, type):
            result = result.model_dump(mode="json")
        return dumps(result, f"what the tool `{self._tool.name}` returned")


class ModelFunction:
    """A chat model: whole answers, or pieces."""

    def __init__(self, name: str, answer: Callable[..., Any]) -> None:
        self._name = name
        self._answer = answer
        self.is_async = inspect.iscoroutinefunction(answer) or inspect.isasyncgenfunction(answer)

    def __call__(self, call: _native.Call) -> str | Awaitable[str]:
        request = decode(ChatRequest, call.take_input() or "{}")
        result = self._answer(call.ctx, request)
        if inspect.isasyncgen(result) or hasattr(result, "__aiter__"):
            return self._pieces(result, call)
        if inspect.isawaitable(result):
            return self._later(result)
        if inspect.isgenerator(result):
            for piece in result:
                if not call.push(self._text(piece)):
                    result.close()
                    break
            return "null"
        return self._text(result)

    async def _later(self, result: Awaitable[Any]) -> str:
        return self._text(await result)

    async def _pieces(self, pieces: Any, call: _native.Call) -> str:
        try:
            async for piece in pieces:
                if not call.push(self._text(piece)):
                    break
        finally:
            if hasattr(pieces, "aclose"):
                await pieces.aclose()
        return "null"

    def _text(self, answer: object) -> str:
        if answer is None:
            raise TypeError(f"the model `{self._name}` returned None; return text or an answer")
        return dumps(answer, f"what the model `{self._name}` returned")


class AuthorizerFunction:
    """An authorizer."""

    def __init__(self, decide: Callable[..., Any]) -> None:
        self._decide = decide
        self.is_async = inspect.iscoroutinefunction(decide)

    def __call__(self, call: _native.Call) -> str | Awaitable[str]:
        given = json.loads(call.take_input() or "{}")
        resource, default = given["resource"], Decision(**given["default"])
        asked = Authorization(given["permission"], resource["kind"], resource["id"], default)
        result = self._decide(call.ctx, asked)
        return self._later(result) if inspect.isawaitable(result) else self._text(result)

    async def _later(self, result: Awaitable[Any]) -> str:
        return self._text(await result)

    @staticmethod
    def _text(answer: object) -> str:
        if answer is not None and not isinstance(answer, (bool, Decision)):
            raise TypeError(f"an authorizer returns None, a bool or a Decision, not a `{type(answer).__name__}`")
        return dumps(answer, "the authorizer's decision")


class SubscriberFunction:
    """A subscriber to events."""

    def __init__(self, take: Callable[..., Any]) -> None:
        self._take = take
        self.is_async = inspect.iscoroutinefunction(take)

    def __call__(self, call: _native.Call) -> str | Awaitable[str]:
        events: list[NumberedEvent] = load(list[NumberedEvent], json.loads(call.take_input() or "[]"))
        result = self._take(events)
        return self._later(result) if inspect.isawaitable(result) else "null"

    async def _later(self, result: Awaitable[Any]) -> str:
        await result
        return "null"
