"""The exceptions of a platform: one base class, and one class per kind of error.

Each class also inherits the language's natural class where there is one, so ``except LookupError`` and
``except NotFoundError`` both work. `AgentProvisionError.code` is stable across languages and releases.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ._types import ModelEventSpent

__all__ = [
    "AgentProvisionError",
    "AlreadyExistsError",
    "BlockedError",
    "BudgetExceededError",
    "CancelledError",
    "ClosedError",
    "ConflictError",
    "ContentPolicyError",
    "ContextWindowError",
    "CorruptError",
    "DeadlineExceededError",
    "FencedError",
    "ForeignContextError",
    "IdempotencyMismatchError",
    "IncompleteError",
    "InternalError",
    "InvalidInputError",
    "NotFoundError",
    "PermissionDeniedError",
    "PriceUnknownError",
    "ProviderError",
    "QuotaExceededError",
    "RateLimitedError",
    "ReadOnlyError",
    "SchemaTooNewError",
    "TenantSuspendedError",
    "TooLargeError",
    "UnauthenticatedError",
    "UnavailableError",
    "UncertainError",
    "UnsupportedError",
]


class AgentProvisionError(Exception):
    """The base of every error of a platform. Its message is safe to show a tenant."""

    code: ClassVar[str] = "internal"
    """The stable name of the kind."""
    http_status: ClassVar[int] = 500
    """The HTTP status an API face answers with."""

    message: str
    """What went wrong."""
    retryable: bool
    """Whether the same call may succeed later."""
    retry_after: float | None
    """Seconds to wait before that, where known."""
    operation: str | None
    """The operation that failed, such as `agents.deploy`."""
    context: Mapping[str, str]
    """Facts about the failure, safe to show."""
    spent: ModelEventSpent | None
    """What a request to a model used before it failed: `attempts`, `usage` and `cost_usd`."""

    def __init__(
        self,
        message: str = "",
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        operation: str | None = None,
        context: Mapping[str, str] | None = None,
        spent: ModelEventSpent | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable or retry_after is not None
        self.retry_after = retry_after
        self.operation = operation
        self.context = dict(context or {})
        self.spent = spent

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        names = ("retryable", "retry_after", "operation", "context", "spent")
        return (_rebuild, (type(self), self.message, {name: getattr(self, name) for name in names}))


def _rebuild(kind: type[AgentProvisionError], message: str, state: dict[str, Any]) -> AgentProvisionError:
    return kind(message, **state)


class InvalidInputError(AgentProvisionError, ValueError):
    """The caller's input breaks a documented rule; the message names it."""

    code = "invalid_input"
    http_status = 400


class UnauthenticatedError(AgentProvisionError, PermissionError):
    """No credential, or one that is unknown, expired or revoked."""

    code = "unauthenticated"
    http_status = 401


class BudgetExceededError(AgentProvisionError):
    """A budget has no room for the work."""

    code = "budget_exceeded"
    http_status = 402


class PermissionDeniedError(AgentProvisionError, PermissionError):
    """The principal may see the resource but not do this to it."""

    code = "permission_denied"
    http_status = 403


class TenantSuspendedError(AgentProvisionError, PermissionError):
    """The tenant is suspended; its data is kept and nothing runs."""

    code = "tenant_suspended"
    http_status = 403


class BlockedError(AgentProvisionError, PermissionError):
    """The egress policy refuses the destination."""

    code = "blocked"
    http_status = 403


class ForeignContextError(AgentProvisionError, PermissionError):
    """The context was made by another platform."""

    code = "foreign_context"
    http_status = 403


class NotFoundError(AgentProvisionError, LookupError):
    """No such thing in this tenant, or the principal may not know of it."""

    code = "not_found"
    http_status = 404


class ConflictError(AgentProvisionError):
    """The state of the resource does not allow the change, or it changed since it was read."""

    code = "conflict"
    http_status = 409


class AlreadyExistsError(AgentProvisionError, ValueError):
    """A unique name, domain or id is taken."""

    code = "already_exists"
    http_status = 409


class IdempotencyMismatchError(AgentProvisionError, ValueError):
    """The idempotency key was used with another input."""

    code = "idempotency_mismatch"
    http_status = 409


class FencedError(AgentProvisionError):
    """Another worker holds the run now; this one must stop."""

    code = "fenced"
    http_status = 409


class UncertainError(AgentProvisionError):
    """An unsafe effect may or may not have happened; somebody has to look."""

    code = "uncertain"
    http_status = 409


class TooLargeError(AgentProvisionError, ValueError):
    """The input is larger than the documented limit."""

    code = "too_large"
    http_status = 413


class PriceUnknownError(AgentProvisionError, LookupError):
    """A cost budget is set and the model's price is unknown."""

    code = "price_unknown"
    http_status = 422


class ContentPolicyError(AgentProvisionError):
    """The provider's content policy refused the request or the answer."""

    code = "content_policy"
    http_status = 422


class ContextWindowError(AgentProvisionError, ValueError):
    """The request does not fit the model's context window."""

    code = "context_window"
    http_status = 422


class RateLimitedError(AgentProvisionError):
    """Too many requests for now; retry after the hint."""

    code = "rate_limited"
    http_status = 429


class QuotaExceededError(AgentProvisionError):
    """A quota of the tenant is used up."""

    code = "quota_exceeded"
    http_status = 429


class CancelledError(AgentProvisionError):
    """The work was cancelled. Not `asyncio.CancelledError`, which says that the waiting task was."""

    code = "cancelled"
    http_status = 499


class InternalError(AgentProvisionError, RuntimeError):
    """A defect or an unexpected condition of the platform or of the host's code."""

    code = "internal"
    http_status = 500


class CorruptError(AgentProvisionError):
    """Stored data does not verify."""

    code = "corrupt"
    http_status = 500


class UnsupportedError(AgentProvisionError, NotImplementedError):
    """Asked for something this build or backend does not do."""

    code = "unsupported"
    http_status = 501


class ProviderError(AgentProvisionError):
    """The provider or the external system answered with an error."""

    code = "provider_error"
    http_status = 502


class IncompleteError(AgentProvisionError, EOFError):
    """The answer ended before it was complete."""

    code = "incomplete"
    http_status = 502


class UnavailableError(AgentProvisionError, ConnectionError):
    """A dependency cannot be reached for now."""

    code = "unavailable"
    http_status = 503


class ReadOnlyError(AgentProvisionError, PermissionError):
    """The store can be read but not written."""

    code = "read_only"
    http_status = 503


class SchemaTooNewError(AgentProvisionError):
    """The store was written by a newer version of the platform."""

    code = "schema_too_new"
    http_status = 503


class ClosedError(AgentProvisionError, RuntimeError):
    """The platform, stream or handle is closed."""

    code = "closed"
    http_status = 503


class DeadlineExceededError(AgentProvisionError, TimeoutError):
    """The deadline passed first."""

    code = "deadline_exceeded"
    http_status = 504


KINDS: Mapping[str, type[AgentProvisionError]] = {
    kind.code: kind
    for kind in (
        InvalidInputError,
        UnauthenticatedError,
        BudgetExceededError,
        PermissionDeniedError,
        TenantSuspendedError,
        BlockedError,
        ForeignContextError,
        NotFoundError,
        ConflictError,
        AlreadyExistsError,
        IdempotencyMismatchError,
        FencedError,
        UncertainError,
        TooLargeError,
        PriceUnknownError,
        ContentPolicyError,
        ContextWindowError,
        RateLimitedError,
        QuotaExceededError,
        CancelledError,
        InternalError,
        CorruptError,
        UnsupportedError,
        ProviderError,
        IncompleteError,
        UnavailableError,
        ReadOnlyError,
        SchemaTooNewError,
        ClosedError,
        DeadlineExceededError,
    )
}
"""The class of every kind, by its code."""


def of_kind(code: str, message: str, **facts: Any) -> AgentProvisionError:
    """An error of a kind by its code; the base class for a code this version does not know."""
    return KINDS.get(code, AgentProvisionError)(message, **facts)


def _from_native(text: str) -> AgentProvisionError:
    error: dict[str, Any] = json.loads(text)
    after = error["retry_after_ms"]
    return of_kind(
        error["code"],
        error["message"],
        retryable=error["retryable"],
        retry_after=None if after is None else after / 1000,
        operation=error["operation"],
        context=error["context"],
        spent=_spent(error["spent"]),
    )


def _spent(value: Any) -> ModelEventSpent | None:
    if value is None:
        return None
    # Both know the errors here.
    from ._codec import load
    from ._types import ModelEventSpent

    spent: ModelEventSpent = load(ModelEventSpent, value)
    return spent


def _kind_of(error: BaseException) -> str:
    """The kind the platform records for what a function of the host raised."""
    if isinstance(error, AgentProvisionError):
        return error.code
    # In Python 3.10 the timeouts of asyncio and of futures are classes of their own.
    if isinstance(error, (TimeoutError, asyncio.TimeoutError, concurrent.futures.TimeoutError)):
        return "deadline_exceeded"
    if isinstance(error, (asyncio.CancelledError, concurrent.futures.CancelledError)):
        return "cancelled"
    return "internal"
