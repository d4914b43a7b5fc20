"""Types of tools' arguments: their schemas, and the values that arrive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any, NewType, TypedDict
from uuid import UUID

import pytest
from agentprovision import Platform, tool
from pydantic import BaseModel
from support import agent, calls, home

pytestmark = pytest.mark.anyio

Customer = NewType("Customer", str)


class Line(BaseModel):
    item: str


class Order(BaseModel):
    first: Line
    lines: list[Line] = []


@dataclass
class Node:
    value: int
    children: list[Node] = field(default_factory=list)
    next: Node | None = None


class Tree(TypedDict):
    leaves: list[Tree]


def others() -> type[BaseModel]:
    class Line(BaseModel):
        price: int

    class Basket(BaseModel):
        line: Line

    return Basket


Basket = others()


async def run(function: Any, **arguments: Any) -> Any:
    """Has a model call a tool."""
    made = tool(effect="pure")(function)
    async with Platform.open(tools=[made], models=[calls(made.name, **arguments)]) as platform:
        acme = await home(platform)
        desk = await agent(platform, acme.ctx, tools=[made])
        return (await (await platform.runs.start(acme.ctx, desk, "go")).wait()).chain.steps[1].error


async def test_models_within_models() -> None:
    given: list[Any] = []

    def buy(order: Order, again: Order | None = None, basket: Basket | None = None) -> None:  # type: ignore[valid-type]
        given.append((order, basket))

    made = tool(buy)
    assert len(made.input_schema["$defs"]) == 2
    assert "$defs" not in made.input_schema["properties"]["order"]
    order, basket = {"first": {"item": "a"}, "lines": [{"item": "b"}]}, {"line": {"price": 3}}
    assert await run(buy, order=order, basket=basket) is None
    assert given == [(Order.model_validate(order), Basket.model_validate(basket))]
    error = await run(buy, order={"first": {"price": 1}})
    assert error is not None and error.kind == "invalid_input"


async def test_types_that_hold_themselves() -> None:
    given: list[Any] = []

    def walk(node: Node, tree: Tree, other: Node | None = None) -> None:
        given.append((node, tree, other))

    assert set(tool(walk).input_schema["$defs"]) == {"Node", "Tree"}
    node = {"value": 1, "children": [{"value": 2}], "next": {"value": 3, "next": None}}
    tree: Any = {"leaves": [{"leaves": []}]}
    assert await run(walk, node=node, tree=tree, other={"value": 4}) is None
    assert given == [(Node(1, [Node(2)], Node(3)), tree, Node(4))]
    error = await run(walk, node={"value": 1, "children": [{"value": "x"}]}, tree=tree)
    assert error is not None and error.kind == "invalid_input" and len(given) == 1


async def test_types_that_json_has_not() -> None:
    given: list[Any] = []

    def book(
        at: datetime, day: date, price: Decimal, id: UUID, tags: set[str], places: frozenset[int], who: Customer, seen: Iterable[date]
    ) -> dict[str, Any]:
        given.extend([at, day, price, id, tags, places, who, seen])
        return {"day": day, "id": id, "price": price}

    id = "0190a3f2-6d2b-7c3e-8d4f-5a6b7c8d9e0f"
    arguments: dict[str, Any] = {
        "at": "2026-01-02T03:04:05Z",
        "day": "2026-01-02",
        "price": "1.10",
        "id": id,
        "tags": ["a", "b"],
        "places": [1, 2],
        "who": "c",
        "seen": ["2026-01-03"],
    }
    assert await run(book, **arguments) is None
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    assert given == [at, date(2026, 1, 2), Decimal("1.10"), UUID(id), {"a", "b"}, frozenset({1, 2}), "c", [date(2026, 1, 3)]]
    for name, bad in [("at", "soon"), ("day", "2026-02-30"), ("price", "1e"), ("id", "x"), ("tags", ["a", "a"])]:
        error = await run(book, **{**arguments, name: bad})
        assert error is not None and error.kind == "invalid_input", (name, error)
