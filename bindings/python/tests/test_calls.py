"""Calls of the host's functions that go wrong: too many, cancelled, interrupted, with exceptions of every kind."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import anyio
import pytest
import trio
from agentprovision import (
    Authorization,
    ChatRequest,
    Context,
    InvalidInputError,
    Platform,
    RateLimitedError,
    ToolCall,
    model,
    testing,
    tool,
)
from agentprovision import sync as blocking
from agentprovision._host import Bridge
from support import agent, answers, blocking_agent, blocking_home, calls, home, store_in, until

P = ParamSpec("P")
R = TypeVar("R")

def test_sync_tools_never_hold_up_what_they_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentprovision._host._TOOLS", 2)
    together = threading.Barrier(2, timeout=20)
    given: list[Any] = []

    @tool(effect="pure")
    def look() -> str:
        together.wait()
        platform, ctx, made = given
        return str(platform.agents.get(ctx, made).name)

    def authorize(ctx: Context, asked: Authorization) -> None:
        return None

    models = [testing.ScriptedModel("m", [testing.tools(("look", {}), ("look", {})), testing.text("done")])]
    with blocking.Platform.open(tools=[look], models=models, authorizer=authorize) as platform:
        acme = blocking_home(platform)
        made = blocking_agent(platform, acme.ctx, tools=[look])
        given += [platform, acme.ctx, made]
        outcome = platform.runs.start(acme.ctx, made, "go").wait()
        assert outcome.text == "done" and all(step.error is None for step in outcome.chain.steps)


@pytest.mark.anyio
async def test_a_queued_tool_does_not_run_once_its_run_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentprovision._host._TOOLS", 1)
    release, begun = threading.Event(), threading.Event()
    ran: list[str] = []

    @tool
    def pay(call: blocking.ToolCall) -> None:
        ran.append(call.run)
        begun.set()
        release.wait(20)

    models = [testing.ScriptedModel("m", [testing.tools(("pay", {})), testing.tools(("pay", {})), testing.text("done")])]
    async with Platform.open(tools=[pay], models=models) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=[pay])
        first = await platform.runs.start(acme.ctx, made, "go")
        await anyio.to_thread.run_sync(begun.wait)
        second = await platform.runs.start(acme.ctx, made, "go")
        async with second.events() as events:
            while (await until(events, "step_started")).kind != "tool":
                pass
        await second.cancel()
        assert (await second.wait()).status == "cancelled"
        release.set()
        assert (await first.wait()).text == "done"
    assert ran == [first.id]


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_tool_its_loop_ends_under_is_left_open_for_recovery(tmp_path: Path, loop: str) -> None:
    begun: list[Any] = []

    @tool
    async def pay() -> None:
        begun[0].set()
        await anyio.sleep_forever()

    async def main() -> tuple[Platform, str, str, str]:
        begun.append(anyio.Event())
        platform = await Platform.open(store_in(tmp_path), tools=[pay], models=[calls("pay")])
        acme = await home(platform)
        run = await platform.runs.start(acme.ctx, await agent(platform, acme.ctx, tools=[pay]), "go")
        await begun[0].wait()
        return platform, acme.tenant.id, acme.ctx.user, run.id

    platform, tenant, user, run = anyio.run(main, backend=loop)
    assert len(platform._bridge._left) == 1
    with blocking.Platform.open(store_in(tmp_path), tools=[pay], models=[answers()]) as other:
        record = other.runs.record(other.context(tenant, user), run)
        assert record.status == "running"
        paid = [step for step in other.runs.chain(other.context(tenant, user), run).steps if step.name == "pay"]
        assert [step.success for step in paid] == [None]
    platform._end()
    platform._closed = True


def traced(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.anyio
async def test_a_tool_gets_the_call_it_is_annotated_with() -> None:
    given: list[type] = []

    @tool(effect="pure")
    @traced
    async def later(call: ToolCall) -> None:
        given.append(type(call))

    @tool(effect="pure")
    @traced
    def now(call: blocking.ToolCall) -> None:
        given.append(type(call))

    async with Platform.open(tools=[later, now], models=[calls("later", "now")]) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=[later, now])
        outcome = await (await platform.runs.start(acme.ctx, made, "go")).wait()
        assert all(step.error is None for step in outcome.chain.steps)
    assert given == [ToolCall, blocking.ToolCall]


def test_a_call_a_tool_could_not_use_is_refused() -> None:
    async def later(call: blocking.ToolCall) -> None: ...

    def now(call: ToolCall) -> None: ...

    refused: list[tuple[Callable[..., Any], str]] = [
        (later, "agentprovision.ToolCall"),
        (now, "agentprovision.sync.ToolCall"),
    ]
    for function, hint in refused:
        for given in (function, traced(function)):
            with pytest.raises(InvalidInputError, match=hint):
                tool(given)
            with pytest.raises(InvalidInputError, match=hint):
                tool(input_schema={"type": "object"})(given)


class Mine(Exception):
    """An exception of the host's own."""


RAISED: list[tuple[BaseException, str]] = [
    (Mine("said"), "internal"),
    (ValueError("said"), "internal"),
    (LookupError("said"), "internal"),
    (PermissionError("said"), "internal"),
    (TimeoutError("said"), "deadline_exceeded"),
    (asyncio.TimeoutError("said"), "deadline_exceeded"),
    (asyncio.CancelledError("said"), "cancelled"),
    (RateLimitedError("said"), "rate_limited"),
]


@pytest.mark.anyio
async def test_only_errors_of_the_platform_keep_their_kind() -> None:
    raised: BaseException = Mine()

    @tool(effect="pure")
    def thread() -> None:
        raise raised

    @tool(effect="pure")
    async def loop() -> None:
        raise raised

    @model("broken")
    def broken(ctx: Context, request: ChatRequest) -> str:
        raise raised

    tools = [thread, loop]
    replies = [testing.tools(("thread", {}), ("loop", {})), testing.text("done")] * len(RAISED)
    async with Platform.open(tools=tools, models=[testing.ScriptedModel("m", replies), broken]) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=tools)
        other = await agent(platform, acme.ctx, name="other", model="broken")
        for raised, kind in RAISED:
            outcome = await (await platform.runs.start(acme.ctx, made, "go")).wait()
            errors = [step.error for step in outcome.chain.steps if step.kind == "tool"]
            assert [error and error.kind for error in errors] == [kind, kind], raised
            if kind != "cancelled":
                assert [error and error.message for error in errors] == ["said", "said"]
            if kind == "rate_limited":
                continue
            found = (await (await platform.runs.start(acme.ctx, other, "go")).wait()).record.error
            assert found is not None and "said" not in found.message, found
            if kind != "cancelled":
                assert found.message == f"the host's model failed: {type(raised).__name__}"


@pytest.mark.anyio
async def test_an_exception_with_fields_that_make_no_sense_still_ends_its_call() -> None:
    @tool(effect="pure")
    def later() -> None:
        error = RateLimitedError("later")
        error.retry_after = "soon"  # type: ignore[assignment]
        raise error

    async with Platform.open(tools=[later], models=[calls("later")]) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=[later])
        outcome = await (await platform.runs.start(acme.ctx, made, "go")).wait()
        error = outcome.chain.steps[1].error
        assert error is not None and error.message == "later"


def test_an_exit_in_a_tool_fails_its_call_and_leaves_trio_alone() -> None:
    @tool(effect="pure")
    async def leave() -> None:
        raise SystemExit(3)

    async def main() -> None:
        async with Platform.open(tools=[leave], models=[calls("leave")]) as platform:
            acme = await home(platform)
            made = await agent(platform, acme.ctx, tools=[leave])
            outcome = await (await platform.runs.start(acme.ctx, made, "go")).wait()
            error = outcome.chain.steps[1].error
            assert outcome.text == "done" and error is not None and error.kind == "internal"

    trio.run(main)


def test_a_cancellation_before_the_loop_of_a_call_is_there_is_not_lost() -> None:
    class Call:
        id = 1
        cancelled = True
        done = print

    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    bridge: Any = Bridge(None)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(bridge._alone(never(), Call()))
    assert not bridge._running
