"""Who acts: `Context` within a tenant, `OperatorContext` above the tenants. Only a platform makes them."""

from __future__ import annotations

from dataclasses import dataclass

from ._codec import decode
from ._native import Context, OperatorContext
from ._types import ContextRecord
from ._types import InfoArgs as RequestInfo

__all__ = ["Authorization", "Context", "Decision", "OperatorContext", "RequestInfo", "describe"]


def describe(ctx: Context) -> ContextRecord:
    """All that a context says: tenant, user, grants by name, and what is not authority."""
    return decode(ContextRecord, ctx._describe())


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed."""

    allow: bool
    """Whether it is."""
    reason: str | None = None
    """Why not; part of the error's message."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """What an authorizer is asked."""

    permission: str
    """The permission, such as `agents:run`."""
    kind: str
    """The kind of resource, in the plural of the permissions."""
    id: str | None
    """The resource, where it is about one."""
    default: Decision
    """What the roles say."""
