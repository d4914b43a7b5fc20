"""The main job and what can happen to it, as in the facade's own tests."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from agentprovision import (
    BudgetExceededError,
    ClosedError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    Platform,
    TenantSuspendedError,
    ToolCall,
    testing,
    tool,
)
from agentprovision import sync as blocking
from agentprovision.model import MessageTool
from support import ON_SERVER, ROOT, agent, answers, calls, home, store_in, until

pytestmark = pytest.mark.anyio


@tool(effect="pure")
async def find_order(id: str) -> dict[str, str]:
    """Finds an order."""
    return {"id": id, "state": "shipped"}


async def test_the_main_job(tmp_path: Path) -> None:
    for store in ["memory://", store_in(tmp_path)]:
        model = calls("find_order", text="Order 1234 is on its way.", id="1234")
        platform = await Platform.open(store, tools=[find_order], models=[model])
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=[find_order], budget={"per_run": {"cost_usd": Decimal("0.05")}})
        run = await platform.runs.start(acme.ctx, made, "Where is 1234?")
        text = "".join([event.text async for event in run.events() if event.event == "text"])
        outcome = await run.wait()
        assert outcome.text == text == "Order 1234 is on its way."
        assert [step.name for step in outcome.chain.steps] == ["m", "find_order", "m"]
        usage = await platform.usage.summary(acme.admin)
        assert usage.cost_usd == outcome.record.cost_usd
        assert isinstance(usage.cost_usd, Decimal)
        events = await platform.events.read(acme.admin, limit=500)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert "agentprovision.run.finished" in {event.event.type for event in events}
        head = await platform.audit.verify(acme.admin)
        last = (await platform.audit.entries(acme.admin, from_=head.size - 1))[0]
        proof = await platform.audit.prove(acme.admin, head.size - 1, head.size)
        assert root_of(bytes.fromhex(last.leaf), proof.seq, head.size, proof.path).hex() == head.root
        assert [record.id for record in await platform.runs.list(acme.ctx)] == [run.id]
        await platform.close()
        await platform.close()
        with pytest.raises(ClosedError):
            await platform.agents.get(acme.ctx, made)

    async with Platform.open(store_in(tmp_path)) as again:
        operator = again.operator("ops@host.example", reason="look")
        tenants = [tenant async for tenant in again.tenants.iterate(operator)]
        assert [tenant.name for tenant in tenants] == ["acme"]
        await again.audit.verify_platform(operator)


def root_of(leaf: bytes, seq: int, size: int, path: list[str]) -> bytes:
    """The root an inclusion proof leads to (RFC 9162, section 2.1.3.2)."""
    node, last, root = seq, size - 1, leaf
    for step in map(bytes.fromhex, path):
        if node % 2 == 1 or node == last:
            root = hashlib.sha256(b"\x01" + step + root).digest()
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            root = hashlib.sha256(b"\x01" + root + step).digest()
        node, last = node >> 1, last >> 1
    assert last == 0
    return root


async def test_an_agent_through_its_life() -> None:
    async with Platform.open(models=[answers("hi")]) as platform:
        acme = await home(platform)
        ctx, agents = acme.ctx, platform.agents
        problems = await agents.validate(ctx, name="desk", model="nobody", tools=["none"])
        assert {problem.field for problem in problems.errors} == {"model", "tools"}, problems
        first = await agents.create(ctx, name="desk", model="m", budget={"per_run": {"steps": 5}}, metadata={"a": "b"})
        spec = await agents.version(ctx, first, first.latest)
        assert (spec.name, spec.metadata, spec.instructions) == ("desk", {"a": "b"}, None)
        copy = await agents.create(ctx, dataclasses.replace(spec, name="copy"))
        assert (await agents.version(ctx, copy, copy.latest)).budget == spec.budget
        assert (await agents.deploy(ctx, first)).state == "running"
        second = await agents.update(ctx, first.id, name="desk", model="m", instructions="Help.")
        assert second.latest != first.latest and second.aliases["live"] == first.latest
        assert (await agents.deploy(ctx, second)).aliases["live"] == second.latest
        assert (await agents.rollback(ctx, second, first.latest)).aliases["live"] == first.latest
        assert (await agents.pause(ctx, first)).state == "paused"
        with pytest.raises(ConflictError):
            await platform.runs.start(ctx, first, "go")
        assert (await agents.resume(ctx, first)).state == "running"
        assert {agent.name for agent in await agents.list(ctx, limit=1)} < {"desk", "copy"}
        assert {agent.name async for agent in agents.iterate(ctx, limit=1)} == {"desk", "copy"}
        assert (await agents.retire(ctx, first)).state == "retired"
        await agents.delete(acme.admin, copy)
        with pytest.raises(NotFoundError):
            await agents.get(ctx, copy)
        operator = platform.operator("ops@host.example", reason="payment")
        await platform.tenants.suspend(operator, acme.tenant)
        with pytest.raises(TenantSuspendedError):
            await agents.list(ctx)
        await platform.tenants.resume(operator, acme.tenant)
        changed = await platform.tenants.update(operator, acme.tenant, plan="gold", settings={"theme": [1, None]})
        assert (changed.plan, changed.settings, changed.revision > 1) == ("gold", {"theme": [1, None]}, True)
        assert (await platform.tenants.update(operator, changed, plan=None)).plan is None
        assert (await platform.tenants.own(acme.admin)).name == "acme"
        assert (await platform.users.update(acme.admin, ctx.user, name="Ada")).name == "Ada"


async def test_a_run_waits_for_a_person() -> None:
    paid = []

    @tool(approval="always")
    def pay(amount: int) -> str:
        paid.append(amount)
        return "paid"

    model = testing.ScriptedModel("m", [testing.tools(("pay", {"amount": 5}))] * 2 + [testing.text("ok")])
    async with Platform.open(tools=[pay], models=[model]) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=[pay])
        run = await platform.runs.start(acme.ctx, made, "pay twice")
        async with run.events() as events:
            asked = await until(events, "approval_requested")
            assert (asked.tool, paid) == ("pay", [])
            assert (await run.record()).status == "waiting"
            await run.approve(asked)
            denied = await until(events, "approval_requested")
            await run.approve(denied, "deny")
        outcome = await run.wait()
        assert (outcome.text, paid) == ("ok", [5])
        # What was denied is no step; the model is told.
        assert [step.name for step in outcome.chain.steps] == ["m", "pay", "m", "m"]
        told = model.requests()[-1].messages[-1]
        assert isinstance(told, MessageTool) and told.is_error


async def test_cancelling_a_run_in_the_middle_of_a_tool() -> None:
    seen: dict[str, Any] = {}
    entered, left = anyio.Event(), anyio.Event()

    @tool
    async def slow() -> None:
        entered.set()
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            seen["async"] = error
            raise
        finally:
            left.set()

    async with Platform.open(tools=[slow], models=[calls("slow")]) as platform:
        acme = await home(platform)
        run = await platform.runs.start(acme.ctx, await agent(platform, acme.ctx, tools=[slow]), "go")
        await entered.wait()
        await run.cancel()
        outcome = await run.wait()
        assert outcome.status == "cancelled"
        await left.wait()
        assert isinstance(seen["async"], anyio.get_cancelled_exc_class())


async def test_cancelling_a_run_in_the_middle_of_a_sync_tool() -> None:
    import threading

    entered, over = threading.Event(), threading.Event()

    @tool
    def busy(call: blocking.ToolCall) -> None:
        entered.set()
        while not call.cancelled:
            entered.wait(0.001)
        over.set()

    async with Platform.open(tools=[busy], models=[calls("busy")]) as platform:
        acme = await home(platform)
        run = await platform.runs.start(acme.ctx, await agent(platform, acme.ctx, tools=[busy]), "go")
        await anyio.to_thread.run_sync(entered.wait)
        await run.cancel()
        assert (await run.wait()).status == "cancelled"
        await anyio.to_thread.run_sync(over.wait)


async def test_a_cancelled_waiter_leaves_the_run_alone() -> None:
    async with Platform.open(models=[testing.ScriptedModel("m", [testing.stall("thinking")])]) as platform:
        acme = await home(platform)
        run = await platform.runs.start(acme.ctx, await agent(platform, acme.ctx), "go")
        with anyio.move_on_after(0.02) as scope:
            await run.wait()
        assert scope.cancelled_caught
        with anyio.move_on_after(0.02) as scope:
            async for _ in run.events():
                pass
        assert scope.cancelled_caught
        assert (await run.record()).status == "running"
        await run.cancel()
        assert (await run.wait()).status == "cancelled"


async def test_a_run_ends_with_its_last_watcher_where_it_was_asked_for() -> None:
    models = [testing.ScriptedModel("m", [testing.stall("thinking")] * 3)]
    async with Platform.open(models=models) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx)
        stream = platform.runs.stream(acme.ctx, made, "go", on_disconnect="cancel")
        async for event in stream:
            if event.event == "text":
                break
        assert stream.run is not None
        first = stream.run.id
        await stream.aclose()
        run = await platform.runs.start(acme.ctx, made, "go", on_disconnect="cancel")
        second = run.id
        with anyio.move_on_after(0.02):
            await run.wait()
        del run
        for id in (first, second):
            outcome = await (await platform.runs.get(acme.ctx, id)).wait()
            assert outcome.status == "cancelled"


async def test_a_budget_is_a_limit() -> None:
    models = [testing.ScriptedModel("m", [testing.stall("thinking")] * 20)]
    async with Platform.open(models=models) as platform:
        acme = await home(platform)
        budget = {"per_run": {"cost_usd": "0.05"}, "total": {"cost_usd": "0.25"}}
        made = await agent(platform, acme.ctx, budget=budget)
        admitted, refused = [], 0

        async def start() -> None:
            nonlocal refused
            try:
                admitted.append(await platform.runs.start(acme.ctx, made, "go"))
            except BudgetExceededError as error:
                assert (error.code, error.http_status) == ("budget_exceeded", 402)
                refused += 1

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(start)
        assert (len(admitted), refused) == (5, 15)
        for run in admitted:
            await run.cancel()
            assert (await run.wait()).status == "cancelled"


async def test_another_tenant_is_not_there() -> None:
    async with Platform.open(models=[answers("hi")]) as platform, Platform.open() as other:
        acme, globex = await home(platform), await home(platform, "globex")
        made = await agent(platform, acme.ctx)
        with pytest.raises(NotFoundError) as caught:
            await platform.agents.get(globex.admin, made)
        assert isinstance(caught.value, LookupError)
        viewer = await platform.users.create(acme.admin, "vic@acme.example", roles=["agent_viewer"])
        ctx = await platform.context(acme.tenant, viewer)
        assert ctx.can("agents:read") and not ctx.can("agents:run")
        with pytest.raises(PermissionDeniedError) as denied:
            await platform.runs.start(ctx, made, "hello")
        assert isinstance(denied.value, PermissionError)
        assert denied.value.operation == "runs.start"
        with pytest.raises(PermissionError):
            await other.agents.get(acme.ctx, made)
        key = await platform.keys.create(acme.ctx, "bot", scopes=["agents:read"])
        assert key.secret not in repr(key) and key.secret.startswith("apk_")
        limited = await platform.authenticate(key.secret, info={"ip_address": "192.0.2.7"})
        assert limited.key == key.record.id and not limited.can("agents:run")
        await platform.keys.revoke(acme.ctx, key.record)
        with pytest.raises(PermissionError):
            await platform.authenticate(key.secret)


async def test_a_session_remembers() -> None:
    model = answers("hello Ada", "you are Ada")
    async with Platform.open(models=[model]) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx, behaviour="conversational")
        session = await platform.sessions.open(acme.ctx, made)
        await (await session.send("I am Ada")).wait()
        again = await platform.sessions.get(acme.ctx, session.id)
        run = await again.send("who am I?", idempotency_key="turn-2")
        assert (await run.wait()).text == "you are Ada"
        assert len(model.requests()[1].messages) == 3
        assert len(await platform.runs.list(acme.ctx, session=session)) == 2


async def test_a_transactional_tool_commits_with_its_step(tmp_path: Path) -> None:
    table = "CREATE TABLE IF NOT EXISTS bookings (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, note BLOB)"
    insert = "INSERT INTO bookings (tenant_id, id, note) VALUES ($1, $2, $3)"
    query = "SELECT id, note FROM bookings WHERE tenant_id = $1 ORDER BY id"

    @tool(effect="transactional")
    async def book(call: ToolCall, id: int) -> list[int]:
        if not ON_SERVER:
            await call.tx.execute(table)
        assert await call.tx.execute(insert, id, b"\x00note") == 1
        rows = await call.tx.query(query)
        assert rows[-1][1] == b"\x00note"
        return [row[0] for row in rows]

    @tool(effect="transactional")
    def fail(call: blocking.ToolCall, id: int) -> None:
        call.tx.execute(insert, id + 1, None)
        raise ValueError("not today")

    @tool(effect="pure")
    def plain(call: blocking.ToolCall, id: int) -> None:
        call.tx.execute("DELETE FROM bookings")

    tools = [book, fail, plain]
    bookings = "CREATE TABLE public.bookings (tenant_id uuid NOT NULL, id bigint NOT NULL, note bytea)"
    store = store_in(tmp_path, f"{bookings}; GRANT ALL ON public.bookings TO agentprovision_app")
    async with Platform.open(store, tools=tools, models=[calls("book", "fail", "plain", "book", id=7)]) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=tools)
        outcome = await (await platform.runs.start(acme.ctx, made, "book")).wait()
        errors = [step.error and (step.error.kind, step.error.message) for step in outcome.chain.steps if step.kind == "tool"]
        unsupported = ("unsupported", "only a transactional tool has a transaction")
        assert errors == [None, ("internal", "not today"), unsupported, None]


def scenario() -> dict[str, Any]:
    golden: dict[str, Any] = json.loads((ROOT / "tests" / "golden" / "scenario.json").read_text())
    return golden


SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
PEPPER = {"pepper_env": "PEPPER", "secrets": {"PEPPER": "0123456789abcdef"}}


def scenario_parts() -> dict[str, Any]:
    @tool(name="find_order", description="Finds an order", effect="pure", input_schema=SCHEMA)
    def find(id: str) -> dict[str, str]:
        return {"id": id, "state": "late"}

    @tool(name="cancel_order", description="Cancels an order", effect="idempotent", input_schema=SCHEMA)
    async def cancel(id: str) -> dict[str, str]:
        return {"cancelled": id}

    order = {"id": "1234"}
    replies = [
        testing.tools(("find_order", order)),
        testing.tools(("cancel_order", order)),
        testing.text("Order 1234 was late and is cancelled."),
    ]
    clock = testing.ManualClock("2026-01-01T00:00:00Z", seed=7)
    return {"tools": [find, cancel], "models": [testing.ScriptedModel("m", replies)], "clock": clock, **PEPPER}


SPEC = {"name": "desk", "instructions": "Help.", "model": "m", "tools": ["find_order", "cancel_order"]}
BUDGET = {"per_run": {"cost_usd": "0.05"}}


def compare(outcome: Any, usage: Any, head: Any) -> None:
    golden = scenario()
    found = {
        "run": outcome.record.id,
        "version": outcome.record.version,
        "status": outcome.status,
        "answer": outcome.text,
        "head": outcome.record.head,
        "audit": {"size": head.size, "root": head.root},
    }
    assert found == {key: golden[key] for key in found}
    chain = golden["chain"]
    assert outcome.chain.trace_id == chain["trace_id"]
    assert str(outcome.chain.summary.total_cost_usd) == chain["summary"]["total_cost_usd"]
    steps = [(step.name, step.cost_usd and str(step.cost_usd), step.input_tokens) for step in outcome.chain.steps]
    assert steps == [(step["name"], step["cost_usd"], step["input_tokens"]) for step in chain["steps"]]
    assert (usage.meters, str(usage.cost_usd)) == (golden["usage"]["meters"], golden["usage"]["cost_usd"])


async def test_the_same_inputs_clock_and_seed_give_the_same_chain_and_audit_root() -> None:
    async with Platform.open("memory://", **scenario_parts()) as platform:
        operator = platform.operator("ops@host.example", reason="scenario")
        acme = await platform.tenants.create(operator, "acme", domain="acme.example")
        root = await platform.tenants.bootstrap_admin(operator, acme, "root@acme.example")
        admin = await platform.context(acme, root)
        user = await platform.users.create(admin, "ada@acme.example", roles=["agent_manager"])
        ada = await platform.context(acme, user)
        desk = await platform.agents.create(ada, {**SPEC, "budget": BUDGET})
        await platform.agents.deploy(ada, desk)
        run = await platform.runs.start(ada, desk, "Order 1234 never arrived", idempotency_key="ticket-77")
        outcome = await run.wait()
        usage = await platform.usage.summary(admin, from_="2020-01-01T00:00:00Z", to="2030-01-01T00:00:00Z")
        compare(outcome, usage, await platform.audit.verify(admin))


def test_and_so_does_the_blocking_twin() -> None:
    with blocking.Platform.open("memory://", **scenario_parts()) as platform:
        operator = platform.operator("ops@host.example", reason="scenario")
        tenant = platform.tenants.create(operator, "acme", domain="acme.example")
        root = platform.tenants.bootstrap_admin(operator, tenant, "root@acme.example")
        admin = platform.context(tenant, root)
        user = platform.users.create(admin, "ada@acme.example", roles=["agent_manager"])
        ada = platform.context(tenant, user)
        desk = platform.agents.create(ada, {**SPEC, "budget": BUDGET})
        platform.agents.deploy(ada, desk)
        outcome = platform.runs.start(ada, desk, "Order 1234 never arrived", idempotency_key="ticket-77").wait()
        usage = platform.usage.summary(admin, from_="2020-01-01T00:00:00Z", to="2030-01-01T00:00:00Z")
        compare(outcome, usage, platform.audit.verify(admin))
