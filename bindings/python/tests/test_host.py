"""Functions of the host: models, authorizers, subscribers, and the exceptions they raise."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from agentprovision import (
    Authorization,
    ChatRequest,
    Context,
    Decision,
    NumberedEvent,
    PermissionDeniedError,
    Platform,
    Run,
    ToolCall,
    UnavailableError,
    model,
    testing,
    tool,
)
from agentprovision import sync as blocking
from agentprovision.model import ChatEvent, ContentText, MessageUser, ModelAnswer
from support import agent, answers, blocking_agent, blocking_home, calls, home

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who")


class Whole:
    """A model as a class, with a whole answer."""

    name = "whole"
    price = {"input": "1", "output": "2"}

    async def complete(self, ctx: Context, request: ChatRequest) -> ModelAnswer:
        await anyio.lowlevel.checkpoint()
        said = request.messages[-1]
        assert isinstance(said, MessageUser)
        part = said.content[0]
        assert isinstance(part, ContentText)
        text = part.text
        return {"text": f"{ctx.user[:4]} said {text}", "usage": {"input_tokens": 1_000_000, "output_tokens": 500_000}}


class Pieces:
    """A model as a class that streams."""

    name = "pieces"

    async def stream(self, ctx: Context, request: ChatRequest) -> AsyncIterator[str | ChatEvent]:
        for word in ["one ", "two ", "three"]:
            yield word
        yield {"type": "usage", "input_tokens": 3, "output_tokens": 4}


@model("sync")
def sync_model(ctx: Context, request: ChatRequest) -> str:
    return "from a thread"


@model("generator")
def generator_model(ctx: Context, request: ChatRequest) -> Iterator[str]:
    yield "from "
    yield "a generator"


@model("broken")
async def broken_model(ctx: Context, request: ChatRequest) -> str:
    raise UnavailableError("the model is away", retry_after=1)


@model("nothing")
async def nothing_model(ctx: Context, request: ChatRequest) -> str:
    return None  # type: ignore[return-value]


@pytest.mark.anyio
async def test_models_of_the_host() -> None:
    models = [Whole(), Pieces(), sync_model, generator_model, nothing_model]
    async with Platform.open(models=models) as platform:
        acme = await home(platform)
        assert set(platform.models.names()) >= {"whole", "pieces", "sync", "generator"}

        async def ask(name: str) -> Any:
            made = await agent(platform, acme.ctx, name=name, model=name)
            return await (await platform.runs.start(acme.ctx, made, "hello")).wait()

        whole = await ask("whole")
        assert whole.text == "usr_ said hello"
        assert str(whole.record.cost_usd) == "2"
        pieces = await ask("pieces")
        assert pieces.text == "one two three" and pieces.record.totals.output_tokens == 4
        assert (await ask("sync")).text == "from a thread"
        assert (await ask("generator")).text == "from a generator"
        nothing = await ask("nothing")
        assert nothing.status == "failed" and "None" in nothing.record.error.message


@pytest.mark.anyio
async def test_a_streaming_model_is_told_when_nobody_listens() -> None:
    ended = anyio.Event()

    @model("m")
    async def endless(ctx: Context, request: ChatRequest) -> AsyncIterator[str]:
        try:
            while True:
                yield "word "
                await anyio.sleep(0)
        finally:
            ended.set()

    async with Platform.open(models=[endless]) as platform:
        acme = await home(platform)
        run = await platform.runs.start(acme.ctx, await agent(platform, acme.ctx), "go")
        async for event in run.events():
            if event.event == "text":
                break
        await run.cancel()
        assert (await run.wait()).status == "cancelled"
        await ended.wait()


class Mine(Exception):
    """An exception of the host's own."""


@pytest.mark.anyio
async def test_an_exception_of_an_authorizer_comes_back_as_itself() -> None:
    for kind in (Mine, ValueError, KeyError):
        thrown = kind("of my own")

        async def refuse(ctx: Context, asked: Authorization) -> None:
            if asked.permission == "agents:read":
                raise thrown

        def refuse_in_a_thread(ctx: Context, asked: Authorization) -> None:
            if asked.permission == "agents:read":
                raise thrown

        for authorizer in (refuse, refuse_in_a_thread):
            async with Platform.open(models=[answers("hi")], authorizer=authorizer) as platform:
                acme = await home(platform)
                made = await agent(platform, acme.ctx)
                with pytest.raises(kind) as caught:
                    await platform.agents.get(acme.ctx, made)
                assert caught.value is thrown
                assert any(entry.name.startswith("refuse") for entry in caught.traceback)


@pytest.mark.anyio
async def test_authorizers_decide() -> None:
    asked_of: list[Authorization] = []
    verdict: Any = None

    def decide(ctx: Context, asked: Authorization) -> Any:
        asked_of.append(asked)
        return verdict if asked.permission == "agents:read" else None

    async with Platform.open(models=[answers("hi")], authorizer=decide) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx)
        viewer = await platform.users.create(acme.admin, "vic@acme.example", roles=["auditor"])
        ctx = await platform.context(acme.tenant, viewer)
        assert (await platform.agents.get(acme.ctx, made)).id == made.id
        assert asked_of[-1] == Authorization("agents:read", "agents", made.id, Decision(True))
        for verdict, allowed in [(True, True), (Decision(True), True), (False, False), (Decision(False, "not now"), False)]:
            try:
                await platform.agents.list(acme.ctx)
                assert allowed, verdict
            except PermissionDeniedError as error:
                assert not allowed and ("not now" in str(error)) == isinstance(verdict, Decision)
        verdict = "yes"
        with pytest.raises(TypeError, match="`str`"):
            await platform.agents.list(ctx)


@pytest.mark.anyio
async def test_subscribers_get_every_event_in_order_and_again_after_a_failure() -> None:
    taken: list[int] = []
    failures = [Mine("not yet"), Mine("not yet")]
    enough = anyio.Event()

    async def take(events: list[NumberedEvent]) -> None:
        if failures:
            raise failures.pop()
        taken.extend(event.seq for event in events)
        if any(event.event.type == "agentprovision.run.finished" for event in events):
            enough.set()

    threads: list[str] = []
    called = threading.Event()

    def in_a_thread(events: list[NumberedEvent]) -> None:
        threads.append(threading.current_thread().name)
        called.set()

    async with Platform.open(models=[answers("hi")], subscribers=[take, in_a_thread]) as platform:
        acme = await home(platform)
        await (await platform.runs.start(acme.ctx, await agent(platform, acme.ctx), "go")).wait()
        await enough.wait()
        await anyio.to_thread.run_sync(called.wait)
        count = len(await platform.events.read(acme.admin, limit=500))
        assert sorted(set(taken)) == list(range(1, count + 1))
        followed = []
        async for event in platform.events.subscribe(acme.admin):
            followed.append(event.seq)
            if event.event.type == "agentprovision.run.finished":
                break
        assert followed == list(range(1, len(followed) + 1))
    assert threads and set(threads) == {"agentprovision-host"}


@pytest.mark.anyio
async def test_tools_run_where_they_belong() -> None:
    seen: dict[str, Any] = {}
    WHO.set("the opener")
    here = threading.get_ident()

    @tool(effect="pure")
    async def in_the_loop(call: ToolCall) -> str:
        seen["loop"] = (threading.get_ident() == here, WHO.get())
        WHO.set("somebody else")
        return call.ctx.user

    @tool(effect="pure")
    def in_a_thread(call: blocking.ToolCall, default: int = 5) -> Any:
        seen["thread"] = (threading.get_ident() == here, WHO.get())
        assert call.deadline > clock_start and call.step == 3 and len(call.idempotency_key) == 64
        return {"ctx": call.ctx.tenant, "default": default}

    from datetime import datetime, timezone

    clock_start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    tools = [in_the_loop, in_a_thread]
    scripted = calls("in_the_loop", "in_a_thread")
    async with Platform.open(tools=tools, models=[scripted], clock=testing.ManualClock(clock_start)) as platform:
        acme = await home(platform)
        outcome = await (await platform.runs.start(acme.ctx, await agent(platform, acme.ctx, tools=tools), "go")).wait()
        assert all(step.error is None for step in outcome.chain.steps)
    assert seen == {"loop": (True, "the opener"), "thread": (False, "the opener")}
    assert WHO.get() == "the opener"


def test_the_blocking_twin_runs_async_functions_in_loops_of_their_own() -> None:
    loops: list[Any] = []

    @tool(effect="pure")
    async def alone(call: ToolCall) -> str:
        assert WHO.get() == "the blocking opener"
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return "ok"

    @tool(effect="pure", timeout=0.05)
    async def late() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            loops.append("cancelled")
            raise

    WHO.set("the blocking opener")
    thrown = Mine("of my own")

    async def authorize(ctx: Context, asked: Authorization) -> None:
        if asked.permission == "users:delete":
            raise thrown

    models = [calls("alone", "late"), sync_model]
    with blocking.Platform.open(tools=[alone, late], models=models, authorizer=authorize) as platform:
        acme = blocking_home(platform)
        made = blocking_agent(platform, acme.ctx, tools=[alone, late])
        with platform.runs.stream(acme.ctx, made, "go") as stream:
            assert [event.event for event in stream][-1] == "finished"
        assert stream.run is not None
        outcome = stream.run.wait()
        assert outcome.text == "done"
        error = outcome.chain.steps[3].error
        assert error is not None and error.kind == "deadline_exceeded"
        assert len(loops) == 2 and loops[1] == "cancelled"
        with pytest.raises(Mine) as caught:
            platform.users.delete(acme.admin, acme.ctx.user)
        assert caught.value is thrown


@pytest.mark.anyio
async def test_what_only_the_platform_holds_is_kept() -> None:
    """Functions nobody else refers to, and a platform somebody only has a run of."""

    async def begin() -> Run:
        def count(n: int) -> int:
            return n + 1

        platform = await Platform.open(tools=[count], models=[calls("count", n=1)])
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=["count"])
        return await platform.runs.start(acme.ctx, made, "go")

    run = await begin()
    gc.collect()
    outcome = await run.wait()
    assert outcome.text == "done" and outcome.chain.steps[1].error is None
    assert (await run.record()).status == "completed"
    await run._platform.close()


@pytest.mark.anyio
async def test_a_tool_that_blocks_the_loop_delays_only_the_loop() -> None:
    """The platform's own threads go on: a sync tool of the same answer comes to its end meanwhile."""
    released = threading.Event()

    @tool(effect="pure")
    async def blocks() -> bool:
        return released.wait(20)

    @tool(effect="pure")
    def releases() -> None:
        released.set()

    replies = [testing.tools(("blocks", {}), ("releases", {})), testing.text("done")]
    async with Platform.open(tools=[blocks, releases], models=[testing.ScriptedModel("m", replies)]) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=[blocks, releases])
        outcome = await (await platform.runs.start(acme.ctx, made, "go")).wait()
        assert outcome.text == "done" and all(step.error is None for step in outcome.chain.steps)
