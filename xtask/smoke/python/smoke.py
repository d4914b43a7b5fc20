"""What a user does first with the installed package: a run with a tool, on a database file in the working directory."""

import asyncio
from pathlib import Path

import agentprovision
from agentprovision import NotFoundError, Platform, tool
from agentprovision import sync
from agentprovision.testing import ScriptedModel, text, tools

STORE = "sqlite://smoke.db"
ANSWER = "Order 1234 left on Monday."
SECRETS = {"SMOKE_PEPPER": "0123456789abcdef"}


@tool(effect="pure")
async def find_order(id: int) -> dict[str, object]:
    """Finds an order.

    Args:
        id: Its number.
    """
    return {"id": id, "left": "Monday"}


async def first_run() -> tuple[str, str]:
    model = ScriptedModel("scripted", [tools(("find_order", {"id": 1234})), text(ANSWER)])
    async with Platform.open(
        STORE, tools=[find_order], models=[model], pepper_env="SMOKE_PEPPER", secrets=SECRETS
    ) as platform:
        operator = platform.operator("ops@host.example", reason="smoke test")
        acme = await platform.tenants.create(operator, "acme", domain="acme.example")
        root = await platform.tenants.bootstrap_admin(operator, acme, "root@acme.example")
        ctx = await platform.context(acme, root)
        key = await platform.keys.create(ctx, "smoke")
        agent = await platform.agents.create(ctx, name="desk", model="scripted", tools=[find_order])
        await platform.agents.deploy(ctx, agent)
        run = await platform.runs.start(ctx, agent, "Where is order 1234?")
        events = [event async for event in run.events()]
        outcome = await run.wait()
        assert events and outcome.text == ANSWER, (events, outcome)
        assert [step.name for step in outcome.chain.steps] == ["scripted", "find_order", "scripted"], outcome.chain
        try:
            await platform.runs.get(ctx, f"{run.id[:-12]}{'0' * 12}")
        except NotFoundError as error:
            assert error.code == "not_found" and isinstance(error, LookupError)
        else:
            raise AssertionError("a run that is not there was found")
        return run.id, key.secret


def second_look(run: str, secret: str) -> None:
    with sync.Platform.open(STORE, pepper_env="SMOKE_PEPPER", secrets=SECRETS) as platform:
        ctx = platform.authenticate(secret)
        assert platform.runs.record(ctx, run).status == "completed"
        assert platform.audit.verify(ctx).size > 0


def main() -> None:
    assert Path.cwd() not in Path(agentprovision.__file__).parents or "site-packages" in agentprovision.__file__
    run, secret = asyncio.run(first_run())
    assert Path("smoke.db").exists()
    second_look(run, secret)
    print(f"{run} from {agentprovision.__file__}")


main()
