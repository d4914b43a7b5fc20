"""The main job, end to end, on the embedded default: no server, no key.

Provisions two tenants, lets a permitted user create and deploy an agent, runs it on a GitHub issue with a tool, streams the
answer, prints every step with its cost, and verifies the audit log.

    python examples/python/quickstart.py [--store URL] [--issue FILE] [--json]

With `OPENAI_API_KEY` in the environment it talks to OpenAI; without, to a small model on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from agentprovision import AgentProvisionError, NotFoundError, Platform, tool
from loopback import LoopbackModel

MODEL = "gpt-4o-mini"
ISSUE = Path(__file__).parent.parent / "data" / "issue.json"


async def main(options: argparse.Namespace, resources: ExitStack) -> None:
    issue = read(Path(options.issue))

    def say(text: str, end: str = "\n") -> None:
        if not options.json:
            print(text, end=end, flush=True)

    @tool(effect="pure")
    async def lookup_issue(number: int) -> dict[str, Any]:
        """Find an issue by its number.

        Args:
            number: The number of the issue.
        """
        if number != issue["number"]:
            raise NotFoundError(f"there is no issue `{number}`")
        return {key: issue.get(key) for key in ("number", "title", "body", "state", "comments")}

    # Without a URL, a file that is gone afterwards.
    folder = resources.enter_context(tempfile.TemporaryDirectory())
    store = options.store or f"sqlite://{folder}/quickstart.db"
    secrets = {}
    provider = {"type": "openai"}
    if "OPENAI_API_KEY" not in os.environ:
        provider["base_url"] = resources.enter_context(LoopbackModel()).url
        secrets["OPENAI_API_KEY"] = "no-key"
    say(f"store     {store}")
    loopback = "a small model on loopback in the place of {}, since OPENAI_API_KEY is not set"
    say(f"model     {loopback.format(MODEL) if secrets else f'{MODEL} by OpenAI'}")

    async with Platform.open(store, providers=[provider], tools=[lookup_issue], secrets=secrets) as platform:
        # Two tenants, each with its first admin. An operator makes them and can do nothing inside them.
        operator = platform.operator("ops@host.example", reason="sign-up")
        mark = operator.request_id[-12:]
        tenants = []
        for name in ("acme", "globex"):
            tenant = await platform.tenants.create(operator, name, domain=f"{name}-{mark}.example")
            root = await platform.tenants.bootstrap_admin(operator, tenant, f"root@{name}.example")
            say(f"tenant    {tenant.id} {tenant.name}")
            tenants.append((tenant, root))
        (acme, root), (globex, stranger) = tenants
        admin = await platform.context(acme, root)

        # A user who may build and run agents, and one who may only look at them.
        ada = await platform.users.create(admin, "ada@acme.example", roles=["agent_manager"])
        vic = await platform.users.create(admin, "vic@acme.example", roles=["agent_viewer"])
        ctx = await platform.context(acme, ada)

        agent = await platform.agents.create(
            ctx,
            name="triage",
            instructions="Look the issue up, label it, and write a two-line summary.",
            model=MODEL,
            tools=[lookup_issue],
            budget={"per_run": {"cost_usd": "0.05"}},
        )
        await platform.agents.deploy(ctx, agent)
        say(f"agent     {agent.id} {agent.name} version {agent.latest[:12]}")

        question = f"Issue #{issue['number']} was opened: {issue['title']}"
        run = await platform.runs.start(ctx, agent, question, idempotency_key=f"issue-{issue['number']}")
        say(f"run       {run.id}\n")
        async for event in run.events():
            say(str(event), end="")
        outcome = await run.wait()
        say(f"\n{outcome.chain}\n")

        # What is refused: another tenant's agent is not there, and looking is not running.
        foreign, viewer = await platform.context(globex, stranger), await platform.context(acme, vic)
        cross_tenant = await refusal(platform.agents.get(foreign, agent))
        missing = await refusal(platform.runs.start(viewer, agent, "hello"))
        say(f"refused   another tenant reads the agent: {cross_tenant}")
        say(f"refused   a viewer starts a run: {missing}")

        usage = await platform.usage.summary(admin)
        say(f"\n{usage}\n")
        count = 0
        while events := await platform.events.read(admin, after=count, limit=500):
            count = events[-1].seq
        head = await platform.audit.verify(admin)
        say(f"events    {count}")
        say(f"audit     {head.size} records, verified, root {head.root}")

        if options.json:
            report = {
                "provider": "loopback" if secrets else "openai",
                "tenants": [{"id": tenant.id, "name": tenant.name, "domain": tenant.domain} for tenant, _ in tenants],
                "run": {
                    "id": run.id,
                    "status": outcome.status,
                    "output": outcome.text,
                    "steps": json.loads(outcome.chain.to_json())["steps"],
                    "cost_usd": str(outcome.record.cost_usd),
                },
                "refused": {"cross_tenant": cross_tenant, "missing_permission": missing},
                "audit": {"size": head.size, "root": head.root, "verified": True},
                "usage": json.loads(usage.to_json()),
                "events": count,
            }
            print(json.dumps(report))
        # Raises what the run failed with.
        assert outcome.text


def read(path: Path) -> dict[str, Any]:
    """The issue of a GitHub `issues` webhook."""
    try:
        webhook = json.loads(path.read_text())
    except ValueError as error:
        raise SystemExit(f"quickstart: the issue is not JSON: {error}") from error
    except OSError as error:
        raise SystemExit(f"quickstart: {path}: {error.strerror}") from error
    issue = webhook.get("issue") if isinstance(webhook, dict) else None
    if not isinstance(issue, dict) or not isinstance(issue.get("number"), int) or not isinstance(issue.get("title"), str):
        raise SystemExit(
            "quickstart: the file is no GitHub `issues` webhook: it has no issue with a number and a title"
        )
    return issue


async def refusal(call: Awaitable[object]) -> str:
    """The code of the error that must come."""
    try:
        await call
    except AgentProvisionError as error:
        return error.code
    raise SystemExit("quickstart: something went through that must be refused")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", metavar="URL")
    parser.add_argument("--issue", metavar="FILE", default=str(ISSUE))
    parser.add_argument("--json", action="store_true")
    with ExitStack() as stack:
        try:
            asyncio.run(main(parser.parse_args(), stack))
        except AgentProvisionError as error:
            sys.exit(f"quickstart: {error}")
