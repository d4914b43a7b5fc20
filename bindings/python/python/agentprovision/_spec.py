"""The keywords of agents, for type checkers."""

from __future__ import annotations

from collections.abc import Sequence

from ._types import AgentSpecDict


class AgentFields(AgentSpecDict, total=False):
    """The fields of an agent's specification, with tools and models by name or as themselves."""

    model: object  # type: ignore[misc]
    fallbacks: Sequence[object]  # type: ignore[misc]
    tools: Sequence[object]  # type: ignore[misc]
