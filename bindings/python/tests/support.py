"""Tenants, users and agents for tests."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentprovision import AgentRecord, Context, Platform, RunStream, Tenant, testing
from agentprovision import sync as blocking

ROOT = Path(__file__).resolve().parents[3]
"""The repository."""


def environment() -> dict[str, str]:
    """The environment of a child process: without keys of providers."""
    return {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}


@dataclass
class Home:
    """A tenant with its admin, and a user who may build and run agents."""

    tenant: Tenant
    admin: Context
    ctx: Context


async def home(platform: Platform, name: str = "acme") -> Home:
    operator = platform.operator("ops@host.example", reason="test")
    tenant = await platform.tenants.create(operator, name, domain=f"{name}.example")
    root = await platform.tenants.bootstrap_admin(operator, tenant, f"root@{name}.example")
    admin = await platform.context(tenant, root)
    ada = await platform.users.create(admin, f"ada@{name}.example", roles=["agent_manager"])
    return Home(tenant, admin, await platform.context(tenant, ada))


async def agent(platform: Platform, ctx: Context, **fields: Any) -> AgentRecord:
    """A deployed agent of the model `m`."""
    made = await platform.agents.create(ctx, {"name": "desk", "model": "m", **fields})
    return await platform.agents.deploy(ctx, made)


def blocking_home(platform: blocking.Platform, name: str = "acme") -> Home:
    operator = platform.operator("ops@host.example", reason="test")
    tenant = platform.tenants.create(operator, name, domain=f"{name}.example")
    root = platform.tenants.bootstrap_admin(operator, tenant, f"root@{name}.example")
    admin = platform.context(tenant, root)
    ada = platform.users.create(admin, f"ada@{name}.example", roles=["agent_manager"])
    return Home(tenant, admin, platform.context(tenant, ada))


def blocking_agent(platform: blocking.Platform, ctx: Context, **fields: Any) -> AgentRecord:
    made = platform.agents.create(ctx, {"name": "desk", "model": "m", **fields})
    return platform.agents.deploy(ctx, made)


def calls(*names: str, text: str = "done", **arguments: Any) -> testing.ScriptedModel:
    """A model `m` that calls tools one after another, each with the same arguments, and then says something."""
    return testing.ScriptedModel("m", [*(testing.tools((name, arguments)) for name in names), testing.text(text)])


def answers(*words: str) -> testing.ScriptedModel:
    """A model `m` that says these."""
    return testing.ScriptedModel("m", [testing.text(word) for word in words])


async def until(stream: RunStream, event: str) -> Any:
    """Follows a run up to an event of a kind."""
    async for found in stream:
        if found.event == event:
            return found
    raise AssertionError(f"there was no `{event}`")


ON_SERVER = os.environ.get("AGENTPROVISION_TEST_STORE") == "postgres"
"""Whether stores are databases on a PostgreSQL server."""

DATABASES: dict[Path, str] = {}
"""The databases that stand for files."""


def store_in(folder: Path, tables: str = "") -> str:
    """Where platforms of a folder keep their data: in a file there, or in a database of its own, in which these statements
    have made what tools write to."""
    if not ON_SERVER:
        return f"sqlite://{folder / 'platform.db'}"
    if folder not in DATABASES:
        program = os.environ["AGENTPROVISION_TEST_DATABASE"]
        DATABASES[folder] = subprocess.run([program, tables], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return DATABASES[folder]
