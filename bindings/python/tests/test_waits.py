"""Waits that are cancelled, streams and platforms that are closed at bad moments."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from agentprovision import ChatRequest, ConflictError, Context, Platform, UnavailableError, model, testing, tool
from agentprovision import sync as blocking
from support import agent, answers, blocking_agent, blocking_home, calls, home, store_in

pytestmark = pytest.mark.anyio


async def test_cancelled_waits_lose_no_event_and_start_no_second_run(tmp_path: Path) -> None:
    @model("m")
    async def pieces(ctx: Context, request: ChatRequest) -> AsyncIterator[str]:
        for number in range(50):
            await anyio.sleep(0)
            yield f"{number} "

    async with Platform.open(store_in(tmp_path), models=[pieces]) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx)
        stream = platform.runs.stream(acme.ctx, made, "go")
        got: list[Any] = []
        gave_up, patience = 0, 0.0
        while True:
            try:
                with anyio.move_on_after(patience) as scope:
                    got.append(await anext(stream))
            except StopAsyncIteration:
                break
            gave_up += scope.cancelled_caught
            patience = 0.0 if scope.cancelled_caught and patience else 0.002
        assert gave_up > 0 and stream.run is not None
        runs = await platform.runs.list(acme.ctx)
        assert [run.id for run in runs] == [stream.run.id]
        again = [event async for event in stream.run.events()]
        assert await stream.run.journal() == await platform.runs.journal(acme.ctx, stream.run)
        assert "".join(event.text for event in got if event.event == "text") == "".join(f"{n} " for n in range(50))
        assert [e.event for e in got if e.event != "text"] == [e.event for e in again if e.event != "text"]


async def test_a_stream_closed_while_it_opens_is_closed(tmp_path: Path) -> None:
    models = [testing.ScriptedModel("m", [testing.stall("thinking")])]
    async with Platform.open(store_in(tmp_path), models=models) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx)
        stream = platform.runs.stream(acme.ctx, made, "go", on_disconnect="cancel")
        got: list[Any] = []
        waiting = anyio.Event()

        async def follow() -> None:
            waiting.set()
            got.extend([event async for event in stream])

        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await waiting.wait()
            await stream.aclose()
        assert got == []
        del stream
        for run in await platform.runs.list(acme.ctx):
            assert (await (await platform.runs.get(acme.ctx, run)).wait()).status == "cancelled"


async def test_everybody_waits_for_the_same_close(tmp_path: Path) -> None:
    platform = await Platform.open(store_in(tmp_path))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await platform.close()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(platform.close)
    assert platform.closed
    await platform.close()


async def test_a_close_that_failed_can_be_asked_for_again() -> None:
    class Broken:
        def close(self) -> Broken:
            return self

        def try_now(self) -> None:
            return None

        def start(self, callback: Any) -> None:
            callback(False, UnavailableError("the store is away"))

    platform: Any = await Platform.open()
    native, platform._native = platform._native, Broken()
    with pytest.raises(UnavailableError):
        await platform.close()
    assert not platform.closed
    platform._native = native
    await platform.close()
    assert platform.closed


async def test_a_cancelled_scope_closes_its_platform(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with Platform.open(store_in(tmp_path)) as platform:
            scope.cancel()
            await anyio.sleep_forever()
    assert platform.closed


async def test_a_tool_cannot_close_the_platform_that_waits_for_it() -> None:
    opened: list[Any] = []

    @tool(effect="pure")
    async def later() -> None:
        await opened[0].close()

    @tool(effect="pure")
    def now() -> None:
        opened[1].close()

    async with Platform.open(tools=[later], models=[calls("later")]) as platform:
        opened.append(platform)
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=[later])
        outcome = await (await platform.runs.start(acme.ctx, made, "go")).wait()
        error = outcome.chain.steps[1].error
        assert error is not None and error.kind == ConflictError.code

    def in_a_thread() -> None:
        with blocking.Platform.open(tools=[now], models=[calls("now")]) as platform:
            opened.append(platform)
            acme = blocking_home(platform)
            made = blocking_agent(platform, acme.ctx, tools=[now])
            error = platform.runs.start(acme.ctx, made, "go").wait().chain.steps[1].error
            assert error is not None and error.kind == ConflictError.code

    await anyio.to_thread.run_sync(in_a_thread)


def test_threads_wait_for_the_same_close() -> None:
    platform = blocking.Platform.open(models=[answers()])
    threads = [threading.Thread(target=platform.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert platform.closed
