"""Values on their way: specifications that come back, times, parameters of statements, and records that people read."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from agentprovision import ChatRequest, Context, InvalidInputError, Platform, ToolCall, UsageSummary, model, testing, tool
from agentprovision._types import Chain, ChainStep, ChainSummary, StepError
from support import ON_SERVER, agent, calls, home, store_in

pytestmark = pytest.mark.anyio

WHEN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def step(number: int, name: str, **fields: Any) -> ChainStep:
    given: dict[str, Any] = {
        "attempts": 1,
        "cost_usd": None,
        "duration_ms": 5,
        "error": None,
        "input_tokens": None,
        "kind": "tool",
        "name": name,
        "output_tokens": None,
        "step": number,
        "step_type": "tool_execution",
        "success": True,
        "timestamp": WHEN,
        "waited_ms": 0,
    }
    return ChainStep(**{**given, **fields})


CHAIN = """\
step  kind   name          ms       in      out      cost USD  result
   0  model  m            120       10        4      0.000018  ok
   1  tool   search         5        -        -             -  deadline_exceeded after 3 attempts
   2  tool   wait           5        -        -             -  …
running in 130 ms: 3 steps, 10 + 4 tokens, cost 0.000018 USD"""

USAGE = """\
tokens                          14
model_requests                   1
cost (USD)                0.000018
requests without price           2"""


async def test_records_are_written_out_as_the_crate_does() -> None:
    steps = [
        step(0, "m", kind="model", duration_ms=120, input_tokens=10, output_tokens=4, cost_usd=Decimal("0.000018")),
        step(1, "search", error=StepError("deadline_exceeded", "too late"), success=False, attempts=3),
        step(2, "wait", success=None),
    ]
    summary = ChainSummary(success_per_mille=500, total_cost_usd=Decimal("0.000018"), total_steps=3, total_tokens=14)
    chain = Chain(status="running", steps=steps, summary=summary, total_duration_ms=130, trace_id="run_1")
    assert str(chain) == CHAIN
    usage = UsageSummary(cost_usd=Decimal("0.000018"), meters={"tokens": 14, "model_requests": 1}, unpriced_requests=2)
    assert str(usage) == USAGE


async def test_a_specification_comes_back_as_it_was_given() -> None:
    @model("mine", price={"input": "1", "output": "2"})
    def mine(ctx: Context, request: ChatRequest) -> str:
        return "hi"

    @tool
    def look() -> None: ...

    other = testing.ScriptedModel("other", [testing.text("hi")], price={"input": "1", "output": "2"})
    async with Platform.open(models=[mine, other], tools=[look]) as platform:
        acme = await home(platform)
        made = await platform.agents.create(
            acme.ctx,
            name="desk",
            model=mine,
            fallbacks=[other],
            tools=[look],
            budget={"per_run": {"cost_usd": Decimal("0.05"), "steps": 9}},
            limits={"timeout_ms": 1000},
            metadata={"team": "support"},
            output_schema={"type": "object", "properties": {"a": {"default": None}}},
        )
        spec = await platform.agents.version(acme.ctx, made, made.latest)
        assert (spec.model, spec.fallbacks, spec.tools) == ("mine", ["other"], ["look"])
        assert spec.output_schema["properties"]["a"] == {"default": None}
        again = await platform.agents.update(acme.ctx, made, spec)
        assert again.latest == made.latest
        assert (await platform.agents.update(acme.ctx, made, {"name": "desk", "model": mine})).latest != made.latest


async def test_times_beyond_the_calendar_are_refused() -> None:
    async with Platform.open(models=[calls()]) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx)
        for time in [
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        ]:
            with pytest.raises(InvalidInputError, match="beyond"):
                await platform.runs.start(acme.ctx, made, "go", deadline=time)


async def test_statements_take_what_a_store_holds(tmp_path: Path) -> None:
    table = "CREATE TABLE IF NOT EXISTS t (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (tenant_id, id))"
    refused: list[str] = []

    @tool(effect="transactional")
    async def ask(call: ToolCall) -> list[list[Any]]:
        if not ON_SERVER:
            await call.tx.execute(table)
        odd: list[Any] = [{"$bytes": "AA=="}, [1], Decimal("1"), WHEN, {1}, bytearray(b"a")]
        for value in odd:
            try:
                await call.tx.query("SELECT $2", value)
            except InvalidInputError as error:
                refused.append(str(error))
        # Bytes and absent values take the type of their place, so a place has one there.
        texts = "SELECT $2::text, $3, $4, $5::bytea" if ON_SERVER else "SELECT $2, $3, $4, $5"
        rows = await call.tx.query(texts, None, 7, "text", b"bytes")
        assert rows == [[None, 7, "text", b"bytes"]], rows
        return []

    async with Platform.open(store_in(tmp_path), tools=[ask], models=[calls("ask")]) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=[ask])
        outcome = await (await platform.runs.start(acme.ctx, made, "go")).wait()
        assert outcome.chain.steps[1].error is None
    assert len(refused) == 6 and all("`$2`" in text for text in refused)


async def test_a_platform_that_is_not_open_says_so() -> None:
    opening: Any = Platform.open()
    for name in ("agents", "operator", "close"):
        with pytest.raises(AttributeError, match="await Platform.open"):
            getattr(opening, name)
    with pytest.raises(AttributeError, match="^nothing$"):
        opening.nothing
    await (await opening).close()
