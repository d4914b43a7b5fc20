"""The blocking twin of `agentprovision`: the same names, without `await`.

    from agentprovision.sync import Platform

    with Platform.open("sqlite://platform.db") as platform:
        ...

Every call releases the interpreter's lock while it waits, and Ctrl-C interrupts it. Async tools and models run each in an
event loop of their own. Records, errors, tools and models are those of `agentprovision`.
"""

from .._blocking import ConnectorCall, ToolCall, Transaction
from ._service import Page, Stream
from .agent import Agents
from .audit import AuditLog
from .connectors import Connectors, Integrations
from .event import Events
from .platform import Platform
from .run import Outcome, Run, Runs, RunStream, Session, Sessions
from .tenancy import ApiKeys, Archives, Placements, Tenants, Users
from .usage import UsageReport

__all__ = [
    "Agents",
    "ApiKeys",
    "Archives",
    "AuditLog",
    "ConnectorCall",
    "Connectors",
    "Events",
    "Integrations",
    "Outcome",
    "Page",
    "Placements",
    "Platform",
    "Run",
    "RunStream",
    "Runs",
    "Session",
    "Sessions",
    "Stream",
    "Tenants",
    "ToolCall",
    "Transaction",
    "UsageReport",
    "Users",
]
