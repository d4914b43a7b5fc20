"""A process that drives a run and may be killed in the middle of it: `victim.py STORE EFFECTS PROGRAM [RUN]`.

Without a run it starts one and tells its id; the tools write into EFFECTS what they do, and the one that PROGRAM names
kills the process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from agentprovision import ChatRequest, Context, ModelAnswer, Platform, ToolCall, model, tool
from agentprovision import sync as blocking
from agentprovision.model import MessageTool

STORE, EFFECTS, FATAL, *RUN = sys.argv[1:]
TOOLS = ["look", "keep", "write", "pay"]


def effect(name: str, call: ToolCall | blocking.ToolCall) -> str:
    with open(EFFECTS, "a") as file:
        file.write(f"{name} {call.idempotency_key}\n")
    if FATAL == name:
        os.kill(os.getpid(), signal.SIGKILL)
    return name


@tool(effect="pure")
def look(call: blocking.ToolCall) -> str:
    return effect("look", call)


@tool(effect="idempotent")
async def keep(call: ToolCall) -> str:
    return effect("keep", call)


@tool(effect="transactional")
async def write(call: ToolCall) -> int:
    if STORE.startswith("sqlite:"):
        await call.tx.execute("CREATE TABLE IF NOT EXISTS kept (tenant_id BLOB NOT NULL, id TEXT NOT NULL)")
    await call.tx.execute("INSERT INTO kept (tenant_id, id) VALUES ($1, $2)", call.idempotency_key)
    effect("write", call)
    rows = await call.tx.query("SELECT count(*) FROM kept WHERE tenant_id = $1")
    return int(rows[0][0])


@tool
async def pay(call: ToolCall) -> str:
    return effect("pay", call)


@model("m", price={"input": "1", "output": "1"})
async def script(ctx: Context, request: ChatRequest) -> str | ModelAnswer:
    """What comes next depends on the conversation alone."""
    done = [message.content for message in request.messages if isinstance(message, MessageTool)]
    if len(done) == len(TOOLS):
        return " ".join(done)
    name = TOOLS[len(done)]
    return {"tool_calls": [{"id": f"call_{name}", "name": name, "arguments": "{}"}], "usage": {"input_tokens": 10}}


async def main() -> None:
    tools = [look, keep, write, pay]
    engine = {"lease_ms": 500, "poll_ms": 50}
    async with Platform.open(STORE, tools=tools, models=[script], engine=engine) as platform:
        operator = platform.operator("ops@host.example", reason="crash")
        if RUN:
            tenant = (await platform.tenants.list(operator)).items[0]
            ctx = await platform.context(tenant, RUN[1])
            run = await platform.runs.get(ctx, RUN[0])
        else:
            tenant = await platform.tenants.create(operator, "acme")
            root = await platform.tenants.bootstrap_admin(operator, tenant, "root@acme.example")
            ctx = await platform.context(tenant, root)
            agent = await platform.agents.create(ctx, name="desk", model="m", tools=tools)
            await platform.agents.deploy(ctx, agent)
            run = await platform.runs.start(ctx, agent, "go")
            print(run.id, ctx.user, flush=True)
        outcome = await run.wait()
        head = await platform.audit.verify(ctx)
        assert head.size > 0
        await platform.runs.journal(ctx, run)
        print("text", outcome.text, flush=True)
        for step in outcome.chain.steps:
            print("step", step.name, step.error.kind if step.error else "ok", flush=True)


asyncio.run(main())
