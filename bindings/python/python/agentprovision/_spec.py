"""The keywords of agents, for type checkers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._types import AgentSpecDict

if TYPE_CHECKING:
    from .tool import Tool


class AgentFields(AgentSpecDict, total=False):
    """The fields of an agent's specification, with tools by name or as themselves."""

    tools: Sequence[str | Tool[..., Any]]  # type: ignore[misc]
