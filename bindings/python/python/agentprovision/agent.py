"""Agents: specifications, versions, and their life."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from ._codec import ident
from ._record import Record
from ._service import Page, Service, pages
from ._types import AgentRecord, AgentSpec, AgentState, Problem, Validation
from .context import Context
from .error import InvalidInputError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._spec import AgentFields

__all__ = ["AgentRecord", "AgentSpec", "AgentState", "Agents", "Problem", "Validation"]


def _spec(spec: AgentSpec | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The specification from either form, with tools and models by name."""
    if spec is not None and fields:
        raise InvalidInputError("give an agent as `spec` or by its fields, not both")
    given = fields if spec is None else spec
    if not isinstance(given, (AgentSpec, Mapping)):
        raise InvalidInputError(f"`spec` is a mapping or an AgentSpec, not a value of type `{type(spec).__name__}`")
    try:
        whole: dict[str, Any] = _given(given)
    except RecursionError as error:
        raise InvalidInputError("`spec` contains itself, or is nested too deeply") from error
    for field in ("tools", "fallbacks"):
        if isinstance(whole.get(field), list):
            whole[field] = [_name(item) for item in whole[field]]
    if "model" in whole:
        whole["model"] = _name(whole["model"])
    return whole


def _given(value: Any) -> Any:
    """Records as arguments, at every level: without what is absent."""
    if isinstance(value, Record):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}  # type: ignore[arg-type]
        return {name: _given(item) for name, item in fields.items() if item is not None}
    if isinstance(value, Mapping):
        return {name: _given(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_given(item) for item in value]
    return value


def _name(of: object) -> object:
    """The name of a tool or model given as itself."""
    name = getattr(of, "name", None)
    return name if isinstance(name, str) else of


class Agents(Service):
    """Agents of a tenant."""

    __slots__ = ()

    async def validate(
        self, ctx: Context, spec: AgentSpec | Mapping[str, Any] | None = None, **fields: Unpack[AgentFields]
    ) -> Validation:
        """Names every problem of a specification at once, and makes nothing."""
        return await self._get(Validation, ctx, "agents.validate", {"spec": _spec(spec, fields)})

    async def create(
        self, ctx: Context, spec: AgentSpec | Mapping[str, Any] | None = None, **fields: Unpack[AgentFields]
    ) -> AgentRecord:
        """Makes an agent of a specification, given whole or by its fields: `create(ctx, name="triage", model="…")`.

        Tools and models go by name, or as themselves: decorated functions, and what the platform was opened with.
        """
        return await self._get(AgentRecord, ctx, "agents.create", {"spec": _spec(spec, fields)})

    async def get(self, ctx: Context, agent: str | AgentRecord) -> AgentRecord:
        """An agent."""
        return await self._get(AgentRecord, ctx, "agents.get", {"agent": ident(agent, "agent")})

    async def version(self, ctx: Context, agent: str | AgentRecord, version: str) -> AgentSpec:
        """The specification of a version."""
        given = {"agent": ident(agent, "agent"), "version": version}
        return await self._get(AgentSpec, ctx, "agents.version", given)

    async def list(
        self, ctx: Context, *, state: AgentState | None = None, limit: int | None = None, after: str | None = None
    ) -> Page[AgentRecord]:
        """A page of the tenant's agents, of `limit` items (1 to 100, default 20)."""
        return await self._page(AgentRecord, ctx, "agents.list", {"state": state, "limit": limit, "after": after})

    def iterate(
        self, ctx: Context, *, state: AgentState | None = None, limit: int | None = None
    ) -> AsyncIterator[AgentRecord]:
        """All agents of the tenant, page by page."""
        return pages(lambda after: self.list(ctx, state=state, limit=limit, after=after))

    async def update(
        self,
        ctx: Context,
        agent: str | AgentRecord,
        spec: AgentSpec | Mapping[str, Any] | None = None,
        **fields: Unpack[AgentFields],
    ) -> AgentRecord:
        """Adds a version; the live one stays until the next deployment."""
        given = {"agent": ident(agent, "agent"), "spec": _spec(spec, fields)}
        return await self._get(AgentRecord, ctx, "agents.update", given)

    async def deploy(self, ctx: Context, agent: str | AgentRecord) -> AgentRecord:
        """Makes the latest version the live one."""
        return await self._get(AgentRecord, ctx, "agents.deploy", {"agent": ident(agent, "agent")})

    async def rollback(self, ctx: Context, agent: str | AgentRecord, to: str) -> AgentRecord:
        """Makes an older version the live one."""
        given = {"agent": ident(agent, "agent"), "to": to}
        return await self._get(AgentRecord, ctx, "agents.rollback", given)

    async def pause(self, ctx: Context, agent: str | AgentRecord) -> AgentRecord:
        """No run may start; those under way go on."""
        return await self._get(AgentRecord, ctx, "agents.pause", {"agent": ident(agent, "agent")})

    async def resume(self, ctx: Context, agent: str | AgentRecord) -> AgentRecord:
        """Runs may start again."""
        return await self._get(AgentRecord, ctx, "agents.resume", {"agent": ident(agent, "agent")})

    async def retire(self, ctx: Context, agent: str | AgentRecord) -> AgentRecord:
        """Ends an agent's life; it is kept for its runs."""
        return await self._get(AgentRecord, ctx, "agents.retire", {"agent": ident(agent, "agent")})

    async def delete(self, ctx: Context, agent: str | AgentRecord) -> None:
        """Removes an agent that has no runs."""
        await self._call(ctx, "agents.delete", {"agent": ident(agent, "agent")})
