"""AgentProvision: an enterprise AI-agent platform that lives inside your own service.

    from agentprovision import Platform, tool

    async with Platform.open("sqlite://platform.db", providers=["openai"], tools=[...]) as platform:
        ...

The blocking twin is `agentprovision.sync`; tests of your own agents find a scripted model and a manual clock in
`agentprovision.testing`.
"""

from . import _show as _show
from .agent import AgentRecord, Agents, AgentSpec
from .audit import AuditEntry, AuditLog, Checkpoint
from .context import Authorization, Context, Decision, OperatorContext
from .error import *  # noqa: F403
from .error import __all__ as _errors
from .event import Events, NumberedEvent, PlatformEvent
from .model import ChatEvent, ChatRequest, Model, ModelAnswer, model
from .platform import Platform
from .run import Chain, Outcome, Run, RunEvent, RunRecord, Runs, RunStream, Session, Sessions
from .tenancy import ApiKey, ApiKeys, NewApiKey, Tenant, Tenants, User, Users
from .tool import Tool, ToolCall, tool
from .usage import UsageEvent, UsageReport, UsageSummary

__all__ = [
    "AgentRecord",
    "AgentSpec",
    "Agents",
    "ApiKey",
    "ApiKeys",
    "AuditEntry",
    "AuditLog",
    "Authorization",
    "Chain",
    "ChatEvent",
    "ChatRequest",
    "Checkpoint",
    "Context",
    "Decision",
    "Events",
    "Model",
    "ModelAnswer",
    "NewApiKey",
    "NumberedEvent",
    "OperatorContext",
    "Outcome",
    "Platform",
    "PlatformEvent",
    "Run",
    "RunEvent",
    "RunRecord",
    "RunStream",
    "Runs",
    "Session",
    "Sessions",
    "Tenant",
    "Tenants",
    "Tool",
    "ToolCall",
    "UsageEvent",
    "UsageReport",
    "UsageSummary",
    "User",
    "Users",
    "model",
    "tool",
]
__all__ += _errors
