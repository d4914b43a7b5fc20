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
from ._codec import decode, dumps, load
from ._threads import Threads
from ._types import ChatRequest, NumberedEvent
from ._wait import in_trio
from .connector import Connector
from .context import Authorization, Decision
from .error import AgentProvisionError, InvalidInputError, UnavailableError, _kind_of
from .tool import Tool

Cancel = Callable[[], object]

_TOOLS = 32
"""Sync tools of one platform that run at a time; more wait for their turn."""
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

    def interrupted(self, error: BaseException) -> bool:
        """Whether the task at hand, which ends by a cancellation, was cancelled from outside."""
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

    def interrupted(self, error: BaseException) -> bool:
        try:
            cancelling = getattr(asyncio.current_task(), "cancelling", None)
        except RuntimeError:
            return True
        # Python 3.10 does not tell.
        return cancelling is None or bool(cancelling())


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
    def what(self) -> str:
        """`tool`, `operation`, `model`, `authorizer` or `subscriber`."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether calling it only makes a coroutine."""
        ...


class WrongAnswer(InvalidInputError, TypeError):
    """A function of the host returned what it must not."""


class Within:
    """A call under way, for the code it runs."""

    __slots__ = ("bridge", "over")

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.over = False


WITHIN: contextvars.ContextVar[Within | None] = contextvars.ContextVar("agentprovision_within", default=None)
"""The call the code at hand belongs to."""


class Bridge:
    """What the platform calls."""

    def __init__(self, loop: Loop | None) -> None:
        self._loop = loop
        self._variables = contextvars.copy_context()
        # Tools may wait for the platform, which may ask an authorizer or a model first: these never queue behind tools.
        self._tools, self._others = Threads(_TOOLS), Threads()
        self._functions: list[HostFunction] = []
        # Of the calls under way in a loop; the platform's thread reads it.
        self._running: dict[int, Cancel] = {}
        # Of those that no thread has taken yet.
        self._queued: dict[int, _native.Call] = {}
        # Of those nobody will ever answer: an answer is what letting go of one would be.
        self._left: list[_native.Call] = []

    def add(self, function: HostFunction) -> int:
        """The number the platform calls it by."""
        self._functions.append(function)
        return len(self._functions) - 1

    def begin(self, number: int, call: _native.Call) -> None:
        """The platform calls a function."""
        function = self._functions[number]
        if function.is_async and self._loop is not None:
            self._in_loop(function, function, call)
            return
        threads = self._tools if function.what == "tool" else self._others
        self._queued[call.id] = call
        if not threads.submit(lambda: self._in_thread(function, call.id)):
            self._queued.pop(call.id, None)
            _fail(call, UnavailableError("the platform is closing"))

    def gone(self, number: int) -> None:
        """Nobody waits for a call any more."""
        queued = self._queued.pop(number, None)
        if queued is not None:
            queued.fail_cancelled()
        # A task that is cancelled before it begins has no chance to take itself out.
        self._running.pop(number, _nothing)()

    def close(self) -> None:
        """Lets go of the threads."""
        self._tools.close()
        self._others.close()
        self._left.clear()

    @property
    def within(self) -> bool:
        """Whether the caller is one of the functions, during a call."""
        within = WITHIN.get()
        return within is not None and within.bridge is self and not within.over

    def _enter(self) -> tuple[contextvars.Context, Within]:
        """The variables of a call, and its place among them."""
        variables, within = self._variables.copy(), Within(self)
        variables.run(WITHIN.set, within)
        return variables, within

    def _in_loop(self, function: HostFunction, start: Callable[[_native.Call], Any], call: _native.Call) -> None:
        assert self._loop is not None
        if not self._loop.post(self._await, function, start, call):
            _fail(call, UnavailableError("the event loop the platform was opened in is gone"))

    def _await(self, function: HostFunction, start: Callable[[_native.Call], Any], call: _native.Call) -> None:
        """In the loop: makes the call a task."""
        loop = self._loop
        if loop is None or call.cancelled:
            call.fail_cancelled()
            return
        # Before the task, which may be over by the time it is made.
        self._running[call.id] = _nothing
        variables, within = self._enter()
        cancel = loop.task(self._answer(loop, function, start, call, within), variables)
        if call.id in self._running:
            # Cancelling is for the loop's own thread.
            self._running[call.id] = lambda: loop.post(cancel)
        if call.cancelled:
            self._running.pop(call.id, None)
            cancel()

    async def _answer(
        self,
        loop: Loop,
        function: HostFunction,
        start: Callable[[_native.Call], Any],
        call: _native.Call,
        within: Within,
    ) -> None:
        try:
            call.done(await start(call))
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            _fail(call, error, function.what)
            if not isinstance(error, Exception):
                raise
        except BaseException as error:
            # Cancellation is for the loop, not for whoever waits for the answer. Where the loop comes to its end, nobody
            # knows what the function has done: whoever recovers the run is to see a call that was begun and no more.
            ending = isinstance(error, GeneratorExit) or loop.interrupted(error)
            if ending and not call.cancelled and function.what in ("tool", "operation", "model"):
                self._left.append(call)
            else:
                call.fail_cancelled()
            raise
        finally:
            within.over = True
            self._running.pop(call.id, None)

    def _in_thread(self, function: HostFunction, number: int) -> None:
        call = self._queued.pop(number, None)
        if call is None:
            return
        if call.cancelled:
            call.fail_cancelled()
            return
        variables, within = self._enter()
        try:
            answer = variables.run(function, call)
            if inspect.isawaitable(answer):
                if self._loop is None:
                    variables.run(asyncio.run, self._alone(answer, call))
                else:
                    self._in_loop(function, lambda _: answer, call)
            else:
                call.done(answer)
        except asyncio.CancelledError:
            call.fail_cancelled()
        except BaseException as error:
            _fail(call, error, function.what)
        finally:
            within.over = True

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
        if call.cancelled:
            # `gone` may have come before there was anything to cancel.
            task.cancel()
        try:
            call.done(await answer)
        finally:
            self._running.pop(call.id, None)


def _fail(call: _native.Call, error: BaseException, what: str | None = None) -> None:
    """Ends a call with what was raised: kind and text for the platform, the object for whoever is to get it back.

    A model reads what a tool or an operation raised. What other functions of the host raise is stored where tenants read it, and may
    hold a secret: only errors made for them say what happened.
    """
    after = None
    if what in (None, "tool", "operation") or isinstance(error, AgentProvisionError):
        try:
            message = str(error) or type(error).__name__
        except Exception:
            message = type(error).__name__
    else:
        message = f"the host's {what} failed: {type(error).__name__}"
    message = message[:_LONGEST].encode("utf-8", "backslashreplace").decode()
    if isinstance(error, AgentProvisionError):
        after = error.retry_after
    try:
        call.fail(_kind_of(error), message, after, error)
    except (TypeError, ValueError):
        # Its fields are not what they should be.
        call.fail("internal", message, None, error)


class ToolFunction:
    """A tool."""

    what = "tool"

    def __init__(self, tool: Tool[..., Any]) -> None:
        self._tool = tool
        self.is_async = tool.is_async

    def __call__(self, call: _native.Call) -> str | Awaitable[str]:
        given = json.loads(call.take_input() or "{}")
        args, named = self._tool.bind(call, given)
        result = self._tool(*args, **named)
        return self._later(result) if inspect.isawaitable(result) else self._text(result)

    async def _later(self, result: Awaitable[Any]) -> str:
        return self._text(await result)

    def _text(self, result: Any) -> str:
        return _plain(result, f"what the tool `{self._tool.name}` returned")


def _plain(result: Any, what: str) -> str:
    """JSON text of what a function returned, a model that describes itself among it."""
    if hasattr(result, "model_dump") and not isinstance(result, type):
        result = result.model_dump(mode="json")
    return dumps(result, what)


class ConnectorFunction:
    """The operations of a connector."""

    what = "operation"

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._operations = connector.operations()
        # A thread makes the call where one of them may block; it hands what is to be awaited to the loop.
        self.is_async = all(operation.is_async for operation in self._operations.values())

    def __call__(self, call: _native.Call) -> str | Awaitable[str]:
        name = json.loads(call.operation())["operation"]
        result = self._operations[name].begin(self._connector, call, json.loads(call.take_input() or "{}"))
        what = f"what the operation `{name}` returned"
        return self._later(result, what) if inspect.isawaitable(result) else _plain(result, what)

    @staticmethod
    async def _later(result: Awaitable[Any], what: str) -> str:
        return _plain(await result, what)


class ModelFunction:
    """A chat model: whole answers, or pieces."""

    what = "model"

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
            raise WrongAnswer(f"the model `{self._name}` returned None; return text or an answer")
        return dumps(answer, f"what the model `{self._name}` returned")


class AuthorizerFunction:
    """An authorizer."""

    what = "authorizer"

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
            raise WrongAnswer(f"an authorizer returns None, a bool or a Decision, not a `{type(answer).__name__}`")
        return dumps(answer, "the authorizer's decision")


class SubscriberFunction:
    """A subscriber to events."""

    what = "subscriber"

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
