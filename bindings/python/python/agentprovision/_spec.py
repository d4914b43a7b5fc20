"""The keywords of agents and starts, for type checkers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from ._types import AgentSpecDict, OnDisconnect

if TYPE_CHECKING:
    from .tool import Tool


class AgentFields(AgentSpecDict, total=False):
    """The fields of an agent's specification, with tools by name or as themselves."""

    tools: Sequence[str | Tool[..., Any]]  # type: ignore[misc]


class StartOptions(TypedDict, total=False):
    """How a run is started."""

    idempotency_key: str | None
    """A second start of the same agent with the same key and input gives the same run."""
    session: Any
    """The session the run is a turn of."""
    deadline: datetime | str | None
    """When it must be over, if before what the agent allows."""
    on_behalf_of: str | None
    """Another user the caller acts for; recorded with the run."""
    on_disconnect: OnDisconnect
    """What becomes of it when nobody watches it any more."""
