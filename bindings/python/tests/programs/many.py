"""Many runs in one process: `many.py STORE RUNS`. Prints what the process holds after each tenth."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import sys
from pathlib import Path

from agentprovision import ChatRequest, Context, ModelAnswer, Platform, model, tool
from agentprovision.model import MessageTool

STORE, RUNS = sys.argv[1], int(sys.argv[2])
TOGETHER = min(1000, RUNS // 10)


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    return a + b


@model("m")
async def script(ctx: Context, request: ChatRequest) -> str | ModelAnswer:
    last = request.messages[-1]
    if isinstance(last, MessageTool):
        return f"it is {last.content}"
    return {"tool_calls": [{"id": "call_1", "name": "add", "arguments": '{"a": 1, "b": 2}'}]}


def figures() -> dict[str, int]:
    """What the process holds, with nothing left to collect and nothing kept by the allocator."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    threads, handles = len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
    return {"threads": threads, "handles": handles, "resident_kib": resident, "objects": len(gc.get_objects())}


async def main() -> None:
    engine = {"max_runs": 64}
    async with Platform.open(STORE, tools=[add], models=[script], engine=engine) as platform:
        operator = platform.operator("ops@host.example", reason="many")
        tenant = await platform.tenants.create(operator, "acme")
        root = await platform.tenants.bootstrap_admin(operator, tenant, "root@acme.example")
        ctx = await platform.context(tenant, root)
        agent = await platform.agents.create(ctx, name="desk", model="m", tools=[add])
        await platform.agents.deploy(ctx, agent)

        async def one() -> None:
            run = await platform.runs.start(ctx, agent, "1 + 2")
            assert (await run.wait()).text == "it is 3"

        await asyncio.gather(*(one() for _ in range(TOGETHER)))
        found = [figures()]
        for _ in range(RUNS // TOGETHER - 1):
            await asyncio.gather(*(one() for _ in range(TOGETHER)))
            found.append(figures())
        print(json.dumps(found))


asyncio.run(main())
