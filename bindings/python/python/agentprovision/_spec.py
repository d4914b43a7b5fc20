"""The keywords of agents, for type checkers."""

from __future__ import annotations

from collections.abc import Sequence

from ._types import AgentSpecDict


class AgentFields(AgentSpecDict, total=False):
    """The fields of an agent's specification, with tools by name or as themselves."""

    tools: Sequence[object]  # type: ignore[misc]
