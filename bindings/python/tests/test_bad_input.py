"""Whatever is given: the right exception, never a panic, a hang or a lost run."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Optional, TypedDict, Union

import anyio
import pytest
from agentprovision import (
    AgentProvisionError,
    ClosedError,
    InvalidInputError,
    Platform,
    TooLargeError,
    ToolCall,
    UnavailableError,
    _native,
    error,
    testing,
    tool,
)
from agentprovision import sync as blocking
from agentprovision.model import MessageTool
from support import agent, answers, blocking_agent, blocking_home, calls, home, until

SURROGATE = "\ud800"


def test_every_kind_of_error_has_a_class() -> None:
    assert list(error.KINDS) == _native.error_kinds()
    for code, kind in error.KINDS.items():
        made = kind("it went wrong", retry_after=2.5, operation="a.b", context={"key": "value"})
        again = pickle.loads(pickle.dumps(made))
        assert isinstance(made, AgentProvisionError) and type(again) is kind
        for found in (made, again):
            assert (found.code, str(found), found.retryable, found.retry_after) == (code, "it went wrong", True, 2.5)
            assert (found.operation, found.context) == ("a.b", {"key": "value"})


@pytest.mark.anyio
async def test_what_is_given_to_open() -> None:
    for given, options, named in [
        ("mysql://x", {}, "sqlite"),
        (7, {}, "`int`"),
        ({"stroe": "memory://"}, {}, "did you mean `store`"),
        (None, {"pepper": "x"}, "pepper"),
        (None, {"store_": "x"}, "store_"),
        (None, {"engine": {"lease": 1}}, "lease"),
        (None, {"engine": {"lease_ms": -1}}, "lease_ms"),
        (None, {"engine": {"max_runs": 2**70}}, "64 bits"),
        (None, {"providers": ["nobody"]}, "nobody"),
        (None, {"providers": "openai"}, "list"),
        (None, {"tools": print_it}, "`tools` is a list"),
        (None, {"tools": None}, "`tools` is a list"),
        (None, {"models": None}, "`models` is a list"),
        (None, {"subscribers": print_it}, "`subscribers` is a list"),
        (None, {"providers": [{"type": "openai", "key_env": "NOT_SET_ANYWHERE"}]}, "NOT_SET_ANYWHERE"),
        (None, {"secrets": {"A": 1}}, "secrets"),
        (None, {"tools": [7]}, "`int`"),
        (None, {"models": [7]}, "`int`"),
        (None, {"authorizer": 7}, "`int`"),
        (None, {"clock": 7}, "`int`"),
        ({"store": "memory://"}, {"store_url": 1, "providers": []}, "store_url"),
    ]:
        with pytest.raises(InvalidInputError) as caught:
            await Platform.open(given, **options)  # type: ignore[arg-type]
        assert named in str(caught.value), (given, options, str(caught.value))
    secret = {"PEPPER": "short"}
    with pytest.raises(InvalidInputError) as caught:
        await Platform.open(pepper_env="PEPPER", secrets=secret)
    assert "short" not in str(caught.value)
    for bad in [dict(tools=[tool(print_it), tool(print_it)]), dict(tools=[tool(name="a b")(print_it)])]:
        with pytest.raises(AgentProvisionError) as found:
            await Platform.open(**bad)  # type: ignore[arg-type]
        assert found.value.code in ("already_exists", "invalid_input")


def print_it(text: str = "") -> None:
    """Prints."""


@pytest.mark.anyio
async def test_what_is_given_to_operations() -> None:
    async with Platform.open(models=[answers("hi")]) as platform:
        acme = await home(platform)
        ctx: Any = acme.ctx
        made = await agent(platform, ctx)
        circle: dict[str, Any] = {}
        circle["self"] = circle
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        start, create = platform.runs.start, platform.agents.create
        bad: list[tuple[Any, str]] = [
            (lambda: start(ctx, made, None), "`input` is None"),
            (lambda: start(ctx, None, "x"), "`agent` is None"),  # type: ignore[arg-type]
            (lambda: start(ctx, 7, "x"), "`int`"),  # type: ignore[arg-type]
            (lambda: start(None, made, "x"), "`Context`"),  # type: ignore[arg-type]
            (lambda: start(platform, made, "x"), "`Platform`"),  # type: ignore[arg-type]
            (lambda: start(ctx, "agt_x", "x"), "agt_x"),
            (lambda: start(ctx, made, SURROGATE), "surrogate"),
            (lambda: start(ctx, made, "x", on_disconnect="stop"), "stop"),  # type: ignore[arg-type]
            (lambda: start(ctx, made, "x", deadline="tomorrow"), "tomorrow"),
            (lambda: create(ctx, {"name": 7, "model": "m"}), "name"),
            (lambda: create(ctx, {"model": "m"}), "name"),
            (lambda: create(ctx, None), "name"),
            (lambda: create(ctx, {"name": "x", "modle": "m"}), "did you mean `model`"),
            (lambda: create(ctx, {"name": "x", "model": "m", "temperature": float("nan")}), "finite"),
            (lambda: create(ctx, {"name": "x", "model": "m", "max_tokens": 2**64}), "64 bits"),
            (lambda: create(ctx, {"name": "x", "model": "m", "max_tokens": 10**5000}), "64 bits"),
            (lambda: create(ctx, {"name": "x", "model": "m", "max_tokens": 1.5}), "max_tokens"),
            (lambda: create(ctx, {"name": "x", "model": "m", "metadata": {"a": SURROGATE}}), "surrogate"),
            (lambda: create(ctx, {"name": "x", "model": "m", "metadata": {1, 2}}), "`set`"),
            (lambda: create(ctx, {"name": "x", "model": "m", "metadata": {(1, 2): "a"}}), "keys"),
            (lambda: create(ctx, {"name": "x", "model": "m", "input_schema": circle}), "itself"),
            (lambda: create(ctx, {"name": "x", "model": "m", "input_schema": deep}), "deep"),
            (lambda: create(ctx, {"name": "x"}, name="y"), "not both"),
            (lambda: create(ctx, ["x"]), "`list`"),  # type: ignore[arg-type]
            (lambda: create(ctx, {"name": "x", "model": "m", "budget": {"per_run": {"cost_usd": Decimal("NaN")}}}), "NaN"),
            (lambda: platform.users.create(acme.admin, "x@y.example", roles="admin"), "roles"),
            (lambda: platform.users.update(acme.admin, ctx.user, active=None), "active"),  # type: ignore[arg-type]
            (lambda: platform.users.list(acme.admin, limit=0), "1 to 100"),
            (lambda: platform.users.list(acme.admin, limit=2**63), "limit"),
            (lambda: platform.users.list(acme.admin, after="?"), "after"),
            (lambda: platform.audit.prove(acme.admin, -1, 5), "seq"),
            (lambda: platform.context(None, None), "`tenant` is None"),  # type: ignore[arg-type]
            (lambda: platform.authenticate(12345), "not a value of type `int`"),  # type: ignore[arg-type]
            (lambda: platform.context(acme.tenant, ctx.user, info={"ip": "1"}), "ip"),  # type: ignore[arg-type]
        ]
        for call, named in bad:
            with pytest.raises(InvalidInputError) as caught:
                print(named, await call())
            assert named in str(caught.value), str(caught.value)
            assert isinstance(caught.value, ValueError)
        with pytest.raises(AgentProvisionError) as large:
            await start(ctx, made, "x" * 50_000_000)
        assert isinstance(large.value, TooLargeError)
        assert not (await platform.runs.list(ctx)).items, "a run was begun"
        for permission in ["agents:rum", "", "\x00", SURROGATE, 7]:
            with pytest.raises((InvalidInputError, UnicodeEncodeError, TypeError)):
                ctx.can(permission)
        with pytest.raises(InvalidInputError):
            platform.operator("", reason="x")
        with pytest.raises(error.UnauthenticatedError):
            await platform.authenticate("apk_nothing")


@pytest.mark.anyio
async def test_after_the_end() -> None:
    ask = tool(name="ask", approval="always")(print_it)
    platform = await Platform.open(tools=[ask], models=[calls("ask", text="x")])
    acme = await home(platform)
    run = await platform.runs.start(acme.ctx, await agent(platform, acme.ctx, tools=[ask]), "go")
    await until(run.events(), "approval_requested")
    ended: list[BaseException] = []

    async def waiter() -> None:
        try:
            await run.wait()
        except AgentProvisionError as closed:
            ended.append(closed)

    async with anyio.create_task_group() as group:
        group.start_soon(waiter)
        await anyio.lowlevel.checkpoint()
        await platform.close()
    assert [type(closed) for closed in ended] == [ClosedError]
    assert platform.closed and "closed" in repr(platform)
    for call in [run.wait, run.record, lambda: platform.agents.list(acme.ctx), lambda: anext(run.events())]:
        with pytest.raises(ClosedError):
            await call()  # type: ignore[no-untyped-call]
    with pytest.raises(ClosedError):
        platform.operator("ops", reason="x")
    with pytest.raises(ClosedError):
        platform.models.names()


def test_an_event_loop_that_is_gone() -> None:
    """The platform outlives the loop it was opened in: what needs that loop fails, the rest goes on."""

    @tool
    async def needs_the_loop() -> str:
        return "never"

    @tool
    def needs_none() -> str:
        return "here"

    async def open_it() -> Platform:
        return await Platform.open(tools=[needs_the_loop, needs_none], models=[model])

    async def use(platform: Platform) -> Any:
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=[needs_the_loop, needs_none])
        outcome = await (await platform.runs.start(acme.ctx, made, "go")).wait()
        await platform.close()
        return outcome

    model = calls("needs_the_loop", "needs_none")
    platform = asyncio.run(open_it())
    outcome = asyncio.run(use(platform))
    step = outcome.chain.steps[1]
    assert outcome.text == "done" and step.error.kind == UnavailableError.code
    assert "event loop" in step.error.message

    # And one that ends while something is under way.
    async def leave() -> None:
        ask = tool(name="ask", approval="always")(print_it)
        platform = await Platform.open(tools=[ask], models=[calls("ask", text="x")])
        acme = await home(platform)
        run = await platform.runs.start(acme.ctx, await agent(platform, acme.ctx, tools=[ask]), "go")
        await until(run.events(), "approval_requested")
        task = asyncio.ensure_future(run.wait())
        await asyncio.sleep(0)
        leftovers.extend((platform, task))

    leftovers: list[Any] = []
    asyncio.run(leave())
    asyncio.run(leftovers[0].close())


class Color(Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    fast: bool


@pytest.mark.anyio
async def test_tools_that_misbehave() -> None:
    circle: list[Any] = []
    circle.append(circle)
    results: list[Any] = [{1, 2}, float("nan"), object(), circle, 2**64, -(2**63) - 1, SURROGATE, {"a": b"x"}, {(1,): 2}]
    results_of = iter(results)

    @tool(effect="pure")
    def odd() -> Any:
        return next(results_of)

    @tool(effect="pure")
    def raises() -> None:
        raise RuntimeError(f"broken {SURROGATE}")

    @tool(effect="pure")
    def leaves() -> None:
        raise SystemExit(3)

    @tool(effect="pure", timeout=0.05)
    async def waits() -> None:
        await anyio.sleep_forever()

    @tool(effect="pure")
    def counts(n: int) -> int:
        return n

    names = ["odd"] * len(results) + ["raises", "leaves", "waits"]
    replies = [testing.tools((name, {})) for name in names]
    replies += [testing.tools(("counts", {"n": n})) for n in (2**53 + 1, 2**63 - 1, "7", 1.5, True)]
    model = testing.ScriptedModel("m", [*replies, testing.text("done")])
    tools = [odd, raises, leaves, waits, counts]
    async with Platform.open(tools=tools, models=[model]) as platform:
        acme = await home(platform)
        made = await agent(platform, acme.ctx, tools=tools, limits={"max_repeats": 50})
        outcome = await (await platform.runs.start(acme.ctx, made, "go")).wait()
        assert outcome.text == "done"
    steps = [step for step in outcome.chain.steps if step.kind == "tool"]
    for step, named in zip(steps, ["`set`", "finite", "`object`", "itself", "64 bits", "64 bits", "surrogate", "`bytes`", "keys"]):
        assert step.error and step.error.kind == "invalid_input", step
        assert "tool `odd`" in step.error.message and named in step.error.message, step.error.message
    broken, left, late, *counted = steps[len(results) :]
    assert broken.error and broken.error.kind == "internal" and broken.error.message.startswith("broken ")
    assert left.error and late.error and late.error.kind == "deadline_exceeded"
    assert [step.error is None for step in counted] == [True, True, False, False, False]
    told = [message.content for message in model.requests()[-1].messages if isinstance(message, MessageTool)]
    assert told[-5:-3] == [str(2**53 + 1), str(2**63 - 1)]


@pytest.mark.anyio
async def test_an_integer_beyond_64_bits_that_a_model_sends_is_refused() -> None:
    seen = []

    @tool(effect="pure")
    def counts(n: Union[int, None]) -> None:
        seen.append(n)

    huge = '{"n": 1180591620717411303424}'

    async def respond(ctx: Any, request: Any) -> Any:
        if any(isinstance(message, MessageTool) for message in request.messages):
            return "done"
        return {"tool_calls": [{"id": "1", "name": "counts", "arguments": huge}]}

    from agentprovision import Model

    async with Platform.open(tools=[counts], models=[Model("m", respond)]) as platform:
        acme = await home(platform)
        outcome = await (await platform.runs.start(acme.ctx, await agent(platform, acme.ctx, tools=[counts]), "go")).wait()
    error = outcome.chain.steps[1].error
    assert not seen and error and error.kind == "invalid_input", (seen, error)


def test_hints_without_a_schema_are_refused_when_decorated() -> None:
    def no_hint(a) -> None: ...  # type: ignore[no-untyped-def]

    def spread(*a: int) -> None: ...

    def keywords(**a: int) -> None: ...

    def positional(a: int, /) -> None: ...

    def some_complex(a: complex) -> None: ...

    def keyed(a: dict[int, str]) -> None: ...

    def some_bytes(a: list[bytes]) -> None: ...

    def odd_literal(a: Literal[b"x"]) -> None: ...

    def unknown(a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def late_call(a: int, call: ToolCall) -> None: ...

    for function in [no_hint, spread, keywords, positional, some_complex, keyed, some_bytes, odd_literal, unknown, late_call]:
        with pytest.raises(TypeError) as caught:
            tool(function)  # type: ignore[call-overload]
        assert isinstance(caught.value, InvalidInputError)
        assert function.__name__ in str(caught.value), caught.value
    for bad in [0, -1, float("nan")]:
        with pytest.raises(InvalidInputError):
            tool(timeout=bad)(print_it)
    with pytest.raises(InvalidInputError):
        tool(7)  # type: ignore[call-overload]


def test_hints_become_schemas_and_arguments_their_types() -> None:
    @tool
    def all_of(
        call: blocking.ToolCall,
        text: str,
        color: Color,
        point: Point,
        options: Options,
        pair: tuple[int, str],
        many: list[Point],
        kind: Literal["a", 1, None] = None,
        maybe: Optional[Point] = None,
        either: Union[int, str, Color] = 0,
        named: Optional[dict[str, Point]] = None,
    ) -> None:
        """Does all of it.

        And more.

        Args:
            text: some text,
                on two lines
            color (Color): a color

        Returns:
            text: nothing
        """

    assert all_of.description == "Does all of it."
    schema = all_of.input_schema
    assert schema["required"] == ["text", "color", "point", "options", "pair", "many"]
    assert schema["properties"]["text"] == {"type": "string", "description": "some text, on two lines"}
    assert schema["properties"]["color"] == {"enum": ["red"], "description": "a color"}
    assert schema["properties"]["point"]["required"] == ["x"]
    assert schema["properties"]["kind"] == {"enum": ["a", 1, None]}
    given = {
        "text": "x",
        "color": "red",
        "point": {"x": 1},
        "options": {"fast": True},
        "pair": [1, "a"],
        "many": [{"x": 1, "y": 2}],
        "maybe": {"x": 3},
        "either": "red",
        "named": {"a": {"x": 4}},
    }
    a_call: Any = "the call"
    args, named = all_of.bind(a_call, given)
    assert [type(arg) for arg in args] == [blocking.ToolCall]
    assert named["color"] is Color.RED and named["point"] == Point(1) and named["pair"] == (1, "a")
    assert named["many"] == [Point(1, 2)] and named["maybe"] == Point(3) and named["named"] == {"a": Point(4)}
    assert named["options"] == {"fast": True} and named["either"] == "red"


def test_nothing_of_a_platform_is_pickled_and_contexts_compare() -> None:
    with blocking.Platform.open(models=[answers("hi")]) as platform:
        acme = blocking_home(platform)
        operator = platform.operator("ops", reason="x")
        run = platform.runs.start(acme.ctx, blocking_agent(platform, acme.ctx), "go")
        for found in [platform, acme.ctx, operator, run, platform._native]:
            with pytest.raises(TypeError, match="pickled"):
                pickle.dumps(found)
        assert acme.ctx == acme.ctx and acme.ctx != acme.admin and acme.ctx != 7 and len({acme.ctx, acme.admin}) == 2
        assert pickle.loads(pickle.dumps(acme.tenant)) == acme.tenant
        assert acme.ctx.tenant in repr(acme.ctx)
