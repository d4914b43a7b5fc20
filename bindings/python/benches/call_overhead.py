"""What a call from Python costs over the same call made in Rust, in the same process and against the same platform.

    python bindings/python/benches/call_overhead.py

Prints microseconds per call, and as its last lines `added <name> <value>` and `ratio <name> <value>`.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from agentprovision import Platform, _options, testing, tool
from agentprovision import sync as blocking
from agentprovision._host import Bridge, running_loop
from agentprovision._wait import settle

ROUNDS = 7
TIMES = {"can": 200_000, "get": 4_000, "get_sync": 4_000, "run": 200}
AIMS: dict[str, float] = {"can": 2, "get": 50}
"""Microseconds the project aims to add at most."""

Timed = Callable[[int], Awaitable[None]]


@tool(effect="pure")
async def bench_python(text: str) -> dict[str, str]:
    """Gives back its input."""
    return {"text": text}


def script(name: str, called: str) -> testing.ScriptedModel:
    replies = [testing.tools((called, {"text": "x"})), testing.text("done")]
    return testing.ScriptedModel(name, replies * (TIMES["run"] * (ROUNDS + 1)))


async def main() -> None:
    bridge = Bridge(running_loop())
    models = [script("python", "bench_python"), script("rust", "bench_native")]
    parts: tuple[Any, ...] = (None, (), [bench_python], models, None, (), None, None, {})
    native, opening = _options.start(bridge, *parts, bench=True)
    await settle(opening)
    async with Platform(native, bridge) as platform:
        operator = platform.operator("bench", reason="bench")
        tenant = await platform.tenants.create(operator, "bench")
        root = await platform.tenants.bootstrap_admin(operator, tenant, "root@bench.example")
        ctx = await platform.context(tenant, root)

        async def agent(name: str, called: str) -> str:
            made = await platform.agents.create(ctx, name=name, model=name, tools=[called])
            return (await platform.agents.deploy(ctx, made)).id

        ours, theirs = await agent("python", "bench_python"), await agent("rust", "bench_native")
        # The same platform behind the blocking skin.
        twin = blocking.Platform(native, bridge)

        async def can(times: int) -> None:
            for _ in range(times):
                ctx.can("agents:run")

        async def get(times: int) -> None:
            for _ in range(times):
                await platform.agents.get(ctx, ours)

        async def get_sync(times: int) -> None:
            for _ in range(times):
                twin.agents.get(ctx, ours)

        async def run(times: int) -> None:
            for _ in range(times):
                await (await platform.runs.start(ctx, ours, "go")).wait()

        async def reference(what: str, times: int) -> float:
            agent = theirs if what == "run" else ours
            return float(await settle(native._bench(ctx, what.removesuffix("_sync"), agent, times))) / 1000

        measured: dict[str, Timed] = {"can": can, "get": get, "get_sync": get_sync, "run": run}
        lines: list[str] = []
        for name, times in TIMES.items():
            await timed(measured[name], times)
            await reference(name, times)
            python, rust = [], []
            # In turns, so that what else the machine does falls on both.
            for _ in range(1, ROUNDS):
                python.append(await timed(measured[name], times))
                rust.append(await reference(name, times))
            here, there = statistics.median(python), statistics.median(rust)
            print(f"{name:<8} {here:>10.3f} µs from Python {there:>10.3f} µs from Rust")
            aim = f" (aim {AIMS[name]})" if name in AIMS else ""
            lines += [f"added python_{name} {here - there:.3f} µs{aim}", f"ratio python_{name} {here / there:.2f}"]
        twin._closed = True
        twin._end.detach()
        print("\n".join(sorted(lines)))


async def timed(call: Timed, times: int) -> float:
    """Microseconds per call."""
    start = time.perf_counter()
    await call(times)
    return (time.perf_counter() - start) / times * 1e6


if __name__ == "__main__":
    asyncio.run(main())
