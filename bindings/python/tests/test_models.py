"""Models without an agent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from agentprovision import (
    BudgetExceededError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    Platform,
    RoutingConfig,
    UnavailableError,
    testing,
)
from agentprovision import sync as blocking
from agentprovision.model import ModelPrice
from agentprovision.models import MessageDict, ModelEventFinished, ModelEventSpent, ModelEventText, ToolDefinitionDict
from support import answers, blocking_home, home, store_in

pytestmark = pytest.mark.anyio

PRICE: ModelPrice = {"input": "1", "output": "2"}
# What type checkers would refuse too.
CHEAPEST: Any = {"strategy": "cheapest"}
MISSPELT: Any = {"fallback": []}


def scripted(name: str, *replies: testing.Reply) -> testing.ScriptedModel:
    return testing.ScriptedModel(name, replies, price=PRICE)


async def test_an_answer_has_what_was_spent_and_it_is_counted(tmp_path: Path) -> None:
    for store in ["memory://", store_in(tmp_path)]:
        model = scripted("m", testing.fail(UnavailableError("down")), testing.text("On its way."))
        async with Platform.open(store, models=[model], routing={"backoff_ms": 0}) as platform:
            acme = await home(platform)
            answered = await platform.models.complete(acme.ctx, "m", "Where is it?", temperature=0.5, max_tokens=99)
            assert answered.answer.text == "On its way."
            assert [attempt.end for attempt in answered.attempts] == ["failed", "answered"]
            assert isinstance(answered.cost_usd, Decimal) and answered.cost_usd > 0
            assert answered.usage == answered.answer.usage
            usage = await platform.usage.summary(acme.admin)
            assert usage.cost_usd == answered.cost_usd
            assert usage.meters["llm.requests"] == 1
            asked = model.requests()[-1]
            assert (asked.temperature, asked.max_tokens) == (0.5, 99)


async def test_a_conversation_is_given_as_messages_and_tools_are_the_callers() -> None:
    model = scripted("m", testing.tools(("find", {"id": 1})))
    async with Platform.open(models=[model]) as platform:
        acme = await home(platform)
        tool: ToolDefinitionDict = {"name": "find", "description": "Finds it", "input_schema": {"type": "object"}}
        messages: list[MessageDict] = [
            {"role": "system", "text": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Where is it?"}]},
        ]
        answered = await platform.models.complete(acme.ctx, "m", messages, tools=[tool], tool_choice={"tool": "find"})
        (call,) = answered.answer.tool_calls or []
        assert (call.name, call.arguments) == ("find", '{"id":1}')
        assert [message.role for message in model.requests()[0].messages] == ["system", "user"]


async def test_a_stream_ends_with_what_was_spent() -> None:
    async with Platform.open(models=[scripted("m", testing.text("one two"))]) as platform:
        acme = await home(platform)
        events = [event async for event in platform.models.stream(acme.ctx, "m", "Count.")]
        assert [event.text for event in events if isinstance(event, ModelEventText)] == ["one ", "two"]
        finished = next(event for event in events if event.type == "finished")
        assert isinstance(finished, ModelEventFinished) and finished.reason == "stop"
        spent = events[-1]
        assert isinstance(spent, ModelEventSpent)
        assert (await platform.usage.summary(acme.admin)).cost_usd == spent.cost_usd


async def test_an_error_has_what_was_spent_and_a_stream_says_it_before() -> None:
    down = UnavailableError("down")
    model = scripted("m", testing.fail(down), testing.broken("one ", down))
    async with Platform.open(models=[model], routing={"max_attempts": 1}) as platform:
        acme = await home(platform)
        with pytest.raises(UnavailableError) as failed:
            await platform.models.complete(acme.ctx, "m", "Count.")
        spent = failed.value.spent
        assert isinstance(spent, ModelEventSpent)
        assert [(attempt.model, attempt.end) for attempt in spent.attempts] == [("m", "failed")]
        events = []
        with pytest.raises(UnavailableError) as failed:
            async for event in platform.models.stream(acme.ctx, "m", "Count."):
                events.append(event)
        assert events[-1] == failed.value.spent
        assert isinstance(events[-1], ModelEventSpent) and (events[-1].cost_usd or 0) > 0
        with pytest.raises(NotFoundError) as nobody:
            await platform.models.complete(acme.ctx, "x", "Count.")
        assert nobody.value.spent is None


async def test_a_request_that_is_cancelled_ends_and_what_it_used_counts(tmp_path: Path) -> None:
    async with Platform.open(store_in(tmp_path), models=[scripted("m", testing.stall("and "), testing.stall("so"))]) as platform:
        acme = await home(platform)
        async with platform.models.stream(acme.ctx, "m", "Go on.") as stream:
            assert (await anext(stream)).type == "text"
        with anyio.move_on_after(0.05) as scope:
            await platform.models.complete(acme.ctx, "m", "Go on.")
        assert scope.cancelled_caught
    async with Platform.open(store_in(tmp_path)) as again:
        admin = await again.context(acme.tenant, acme.admin.user)
        assert (await again.usage.summary(admin)).meters["llm.requests"] == 2


async def test_vectors_and_rankings() -> None:
    async with Platform.open(models=[scripted("m")]) as platform:
        acme = await home(platform)
        embedded = await platform.models.embed(acme.ctx, "m", ["one", "two"], purpose="query", dimensions=4)
        assert [len(vector) for vector in embedded.answer.vectors] == [4, 4]
        ranked = await platform.models.rerank(acme.ctx, "m", "order", ["a bill", "an order"], top_n=1)
        assert [result.index for result in ranked.answer.results] == [1]
        assert (await platform.usage.summary(acme.admin)).meters["llm.requests"] == 2


async def test_routes_fall_over_and_say_why() -> None:
    models = [testing.ScriptedModel("a", []), scripted("b", testing.text("from b"))]
    routing: RoutingConfig = {"routes": {"Chat": {"targets": ["a", "b"]}}, "retries": 0}
    async with Platform.open(models=models, routing=routing) as platform:
        acme = await home(platform)
        decision = await platform.models.explain(acme.ctx, "Chat", "Hello.")
        assert [candidate.target for candidate in decision.candidates] == ["a", "b"]
        answered = await platform.models.complete(acme.ctx, "Chat", "Hello.")
        assert [attempt.model for attempt in answered.attempts] == ["a", "b"]
        entries = await platform.models.list(acme.ctx)
        assert [(entry.kind, entry.name) for entry in entries][0] == ("route", "Chat")
        assert entries[0].targets == ["a", "b"]
        assert platform.models.names() == ["a", "b"]


async def test_prices_and_budgets_are_settings() -> None:
    price = {"format": 1, "unit": "usd_per_million_tokens"}
    priced = price | {"providers": {"openai": {"models": {"gpt-4o": {"price": {"input": "7", "output": "8"}}}}}}
    budgets = {"limits": [{"of": {"scope": "tenant"}, "per": "day", "requests": 1}]}
    opened = Platform.open(
        models=[scripted("m", testing.text("one"))],
        providers=["openai"],
        secrets={"OPENAI_API_KEY": "sk-none"},
        catalog=priced,
        layers={"budgets": budgets},
    )
    async with opened as platform:
        acme = await home(platform)
        entries = {entry.name: entry for entry in await platform.models.list(acme.ctx)}
        price_of = entries["openai/gpt-4o"].info.price
        assert price_of is not None and price_of.input == 7_000_000
        await platform.models.complete(acme.ctx, "m", "Hello.")
        with pytest.raises(BudgetExceededError):
            await platform.models.complete(acme.ctx, "m", "Hello.")
    with pytest.raises(InvalidInputError, match="did you mean `providers`"):
        await Platform.open(catalog=price | {"provider": {}})
    with pytest.raises(InvalidInputError, match="did you mean `minute`"):
        await Platform.open(layers={"budgets": {"limits": [{"of": {"scope": "tenant"}, "per": "minut", "requests": 1}]}})


async def test_models_side_by_side() -> None:
    models = [scripted("wrong", testing.text("It is 5.")), scripted("right", testing.text("It is 4."))]
    async with Platform.open(models=models) as platform:
        acme = await home(platform)
        compared = await platform.models.compare(acme.ctx, ["wrong", "right"], "2 + 2?", score={"contains": ["4"]})
        assert compared.recommendation is not None and compared.recommendation.model == "right"
        assert [model.score for model in compared.models] == [0, 1000]
        assert isinstance(compared.models[0].cost, Decimal)
        assert (await platform.usage.summary(acme.admin)).meters["llm.requests"] == 2


async def test_bad_input_names_what_is_wrong() -> None:
    with pytest.raises(InvalidInputError, match="there is no strategy `cheapest`"):
        await Platform.open(models=[answers()], routing=CHEAPEST)
    async with Platform.open(models=[answers("hello")]) as platform:
        acme = await home(platform)
        with pytest.raises(InvalidInputError, match="a text or a list of messages is needed"):
            await platform.models.complete(acme.ctx, "m", 7)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="unknown field `fallback`"):
            await platform.models.complete(acme.ctx, "m", "Hello.", route=MISSPELT)
        with pytest.raises(NotFoundError, match="`n`"):
            await platform.models.complete(acme.ctx, "n", "Hello.")
        viewer = await platform.users.create(acme.admin, "eve@acme.example", roles=["agent_viewer"])
        eve = await platform.context(acme.tenant, viewer)
        with pytest.raises(PermissionDeniedError):
            await platform.models.complete(eve, "m", "Hello.")
        assert (await platform.models.list(eve))[0].name == "m"


def test_the_blocking_form() -> None:
    with blocking.Platform.open(models=[scripted("m", testing.text("one two"), testing.text("three"))]) as platform:
        acme = blocking_home(platform)
        kinds = [event.type for event in platform.models.stream(acme.ctx, "m", "Count.")]
        assert kinds[0] == "text" and kinds[-1] == "spent"
        assert platform.models.complete(acme.ctx, "m", "Count.").answer.text == "three"
