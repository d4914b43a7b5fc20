"""AgentProvision: an enterprise AI-agent platform that lives inside your own service.

    from agentprovision import Platform, tool

    async with Platform.open("sqlite://platform.db", providers=["openai"], tools=[...]) as platform:
        ...

The blocking twin is `agentprovision.sync`; tests of your own agents find a scripted model and a manual clock in
`agentprovision.testing`.
"""

from . import _show as _show
from ._service import Page, Stream
from .agent import AgentRecord, Agents, AgentSpec
from .audit import AuditEntry, AuditLog, Checkpoint
from .context import Authorization, Context, Decision, OperatorContext
from .error import (
    AgentProvisionError,
    AlreadyExistsError,
    BlockedError,
    BudgetExceededError,
    CancelledError,
    ClosedError,
    ConflictError,
    ContentPolicyError,
    ContextWindowError,
    CorruptError,
    DeadlineExceededError,
    FencedError,
    ForeignContextError,
    IdempotencyMismatchError,
    IncompleteError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    PriceUnknownError,
    ProviderError,
    QuotaExceededError,
    RateLimitedError,
    ReadOnlyError,
    SchemaTooNewError,
    TenantSuspendedError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UncertainError,
    UnsupportedError,
)
from .event import Events, NumberedEvent, PlatformEvent
from .model import ChatEvent, ChatRequest, Model, ModelAnswer, model
from .models import ModelEntry, ModelEvent, Models, RouteDecision
from .platform import Platform
from .routing import RoutingConfig
from .run import Chain, Outcome, Run, RunEvent, RunRecord, Runs, RunStream, Session, Sessions
from .tenancy import (
    ApiKey,
    ApiKeys,
    Archives,
    ArchiveSummary,
    Backup,
    Backups,
    NewApiKey,
    Restored,
    Tenant,
    Tenants,
    User,
    Users,
)
from .tool import Tool, ToolCall, tool
from .usage import UsageEvent, UsageReport, UsageSummary

__all__ = [
    "AgentProvisionError",
    "AgentRecord",
    "AgentSpec",
    "Agents",
    "AlreadyExistsError",
    "ApiKey",
    "ApiKeys",
    "ArchiveSummary",
    "Archives",
    "AuditEntry",
    "AuditLog",
    "Authorization",
    "Backup",
    "Backups",
    "BlockedError",
    "BudgetExceededError",
    "CancelledError",
    "Chain",
    "ChatEvent",
    "ChatRequest",
    "Checkpoint",
    "ClosedError",
    "ConflictError",
    "ContentPolicyError",
    "Context",
    "ContextWindowError",
    "CorruptError",
    "DeadlineExceededError",
    "Decision",
    "Events",
    "FencedError",
    "ForeignContextError",
    "IdempotencyMismatchError",
    "IncompleteError",
    "InternalError",
    "InvalidInputError",
    "Model",
    "ModelAnswer",
    "ModelEntry",
    "ModelEvent",
    "Models",
    "NewApiKey",
    "NotFoundError",
    "NumberedEvent",
    "OperatorContext",
    "Outcome",
    "Page",
    "PermissionDeniedError",
    "Platform",
    "PlatformEvent",
    "PriceUnknownError",
    "ProviderError",
    "QuotaExceededError",
    "RateLimitedError",
    "ReadOnlyError",
    "Restored",
    "RouteDecision",
    "RoutingConfig",
    "Run",
    "RunEvent",
    "RunRecord",
    "RunStream",
    "Runs",
    "SchemaTooNewError",
    "Session",
    "Sessions",
    "Stream",
    "Tenant",
    "TenantSuspendedError",
    "Tenants",
    "TooLargeError",
    "Tool",
    "ToolCall",
    "UnauthenticatedError",
    "UnavailableError",
    "UncertainError",
    "UnsupportedError",
    "UsageEvent",
    "UsageReport",
    "UsageSummary",
    "User",
    "Users",
    "model",
    "tool",
]
