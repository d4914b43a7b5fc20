"""One tool of each effect class, and one that a person must agree to.

    python examples/python/custom_tool.py
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import Annotated

from agentprovision import Platform, ToolCall, sync, testing, tool

Order = Annotated[int, "The order's number."]


@tool(effect="pure")
def price(id: Order) -> int:
    """The price of an order. It reads and computes: after a crash it is simply called again."""
    return id * 10


@tool(effect="idempotent", timeout=5)
async def reserve(call: ToolCall, id: Order) -> str:
    """Reserves an order's goods.

    The key is the same for every attempt, so that the other side can tell a repetition.
    """
    await asyncio.sleep(0)
    return f"reserved {id} under {call.idempotency_key[:8]}"


@tool(effect="transactional")
def book(call: sync.ToolCall, id: Order) -> str:
    """Books an order.

    What is written through `tx` commits together with the step's result, or not at all.
    """
    call.tx.execute(
        "CREATE TABLE IF NOT EXISTS bookings"
        " (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (tenant_id, id))"
    )
    call.tx.execute("INSERT INTO bookings (tenant_id, id) VALUES ($1, $2)", id)
    rows = call.tx.query("SELECT count(*) FROM bookings WHERE tenant_id = $1")
    return f"{rows[0][0]} booked"


@tool(approval="always")
async def refund(id: Order) -> str:
    """Pays a deposit back.

    Unsafe, and approved by a person first: it is called at most once, with exactly the arguments that were approved.
    """
    return f"refunded order {id}"


async def main() -> None:
    order = {"id": 7}
    script = [testing.tools((name, order)) for name in ("price", "reserve", "book", "refund")]
    model = testing.ScriptedModel(
        "scripted", [*script, testing.text("Order 7 is booked, and its deposit is paid back.")]
    )
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite://{folder}/tools.db"
        async with Platform.open(store, tools=[price, reserve, book, refund], models=[model]) as platform:
            operator = platform.operator("ops@host.example", reason="example")
            acme = await platform.tenants.create(operator, "acme", domain="acme.example")
            root = await platform.tenants.bootstrap_admin(operator, acme, "root@acme.example")
            ctx = await platform.context(acme, root)
            agent = await platform.agents.create(
                ctx, name="booking", model="scripted", tools=[price, reserve, book, refund]
            )
            await platform.agents.deploy(ctx, agent)
            run = await platform.runs.start(ctx, agent, "Book order 7 and pay its deposit back.")
            async for event in run.events():
                print(event, end="")
                if event.event == "approval_requested":
                    await run.approve(event)
            print(f"\n{(await run.wait()).chain}")


if __name__ == "__main__":
    asyncio.run(main())
