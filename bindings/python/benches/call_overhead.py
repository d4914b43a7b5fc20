"""What a call from Python costs over the same call made in Rust, in the same process and against the same platform.

    python bindings/python/benches/call_overhead.py

Prints microseconds per call, and as its last lines `added <name> <value>` and `ratio <name> <value>`.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agentprovision import Context, Platform, _native, _options, testing, tool
from agentprovision import sync as blocking
from agentprovision._host import Bridge, running_loop
from agentprovision._wait import settle

ROUNDS = 7
RUNS = 200
TIMES = {"can": 200_000, "get": 4_000, "get_sync": 4_000, "get_sqlite": 2_000, "run": RUNS}
AIMS: dict[str, float] = {"can": 2, "get": 50, "get_sqlite": 50}
"""Microseconds the project aims to add at most."""

Timed = Callable[[int], Awaitable[None]]


@tool(effect="pure")
async def bench_python(text: str) -> dict[str, str]:
    """Gives back its input."""
    return {"text": text}


def script(name: str, called: str) -> testing.ScriptedModel:
    replies = [testing.tools((called, {"text": "x"})), testing.text("done")]
    return testing.ScriptedModel(name, replies * (RUNS * (ROUNDS + 1)))


@dataclass
class World:
    """A platform with an agent whose runs call a tool of Python's, and one whose runs call a native one."""

    bridge: Bridge
    native: _native.Platform
    platform: Platform
    ctx: Context
    ours: str
    theirs: str

    async def reference(self, what: str, times: int) -> float:
        """Microseconds per call made in Rust."""
        agent = self.theirs if what == "run" else self.ours
        return float(await settle(self.native._bench(self.ctx, what, agent, times))) / 1000


async def world(store: str) -> World:
    bridge = Bridge(running_loop())
    models = [script("python", "bench_python"), script("rust", "bench_native")]
    native, opening = _options.start(bridge, store, (), [bench_python], models, None, (), None, None, None, {}, bench=True)
    await settle(opening)
    platform = Platform(native, bridge)
    operator = platform.operator("bench", reason="bench")
    tenant = await platform.tenants.create(operator, "bench")
    root = await platform.tenants.bootstrap_admin(operator, tenant, "root@bench.example")
    ctx = await platform.context(tenant, root)
    agents = []
    for name, called in (("python", "bench_python"), ("rust", "bench_native")):
        made = await platform.agents.create(ctx, name=name, model=name, tools=[called])
        agents.append((await platform.agents.deploy(ctx, made)).id)
    return World(bridge, native, platform, ctx, *agents)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        memory, sqlite = await world("memory://"), await world(f"sqlite://{folder}/bench.db")
        platform, ctx, ours = memory.platform, memory.ctx, memory.ours
        # The same platform behind the blocking skin.
        twin = blocking.Platform(memory.native, memory.bridge)

        async def can(times: int) -> None:
            for _ in range(times):
                ctx.can("agents:run")

        async def get(times: int) -> None:
            for _ in range(times):
                await platform.agents.get(ctx, ours)

        async def get_sync(times: int) -> None:
            for _ in range(times):
                twin.agents.get(ctx, ours)

        async def get_sqlite(times: int) -> None:
            for _ in range(times):
                await sqlite.platform.agents.get(sqlite.ctx, sqlite.ours)

        async def run(times: int) -> None:
            for _ in range(times):
                await (await platform.runs.start(ctx, ours, "go")).wait()

        lines: list[str] = []
        for call in (can, get, get_sync, get_sqlite, run):
            name, times = call.__name__, TIMES[call.__name__]
            where = sqlite if name == "get_sqlite" else memory
            what = name.split("_")[0]
            await timed(call, times)
            await where.reference(what, times)
            python, rust = [], []
            # In turns, so that what else the machine does falls on both.
            for _ in range(1, ROUNDS):
                python.append(await timed(call, times))
                rust.append(await where.reference(what, times))
            here, there = statistics.median(python), statistics.median(rust)
            print(f"{name:<10} {here:>10.3f} µs from Python {there:>10.3f} µs from Rust")
            aim = f" (aim {AIMS[name]})" if name in AIMS else ""
            lines += [f"added python_{name} {here - there:.3f} µs{aim}", f"ratio python_{name} {here / there:.2f}"]
        twin._closed = True
        twin._end.detach()
        await platform.close()
        await sqlite.platform.close()
    print("\n".join(sorted(lines)))


async def timed(call: Timed, times: int) -> float:
    """Microseconds per call made in Python."""
    start = time.perf_counter()
    await call(times)
    return (time.perf_counter() - start) / times * 1e6


if __name__ == "__main__":
    asyncio.run(main())
