"""Connectors of services, and the integrations that a tenant has of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ._codec import UNSET, Unset, decode, ident, some
from ._service import Page, Service, pages
from ._types import (
    Account,
    AuthInfo,
    Authorization,
    ConnectorDetails,
    ConnectorInfo,
    FieldInfo,
    Health,
    Integration,
    IntegrationState,
    OperationInfo,
    TestResult,
)
from .context import Context

__all__ = [
    "Account",
    "AuthInfo",
    "Authorization",
    "ConnectorDetails",
    "ConnectorInfo",
    "Connectors",
    "FieldInfo",
    "Health",
    "Integration",
    "IntegrationState",
    "Integrations",
    "OperationInfo",
    "TestResult",
]

# Within the class `list` is a method.
Infos = list[ConnectorInfo]


class Connectors(Service):
    """Which connectors there are, and what they can do."""

    __slots__ = ()

    async def list(self, ctx: Context) -> Infos:
        """All connectors, by name."""
        return decode(Infos, await self._call(ctx, "connectors.list", {}))

    async def get(self, ctx: Context, name: str) -> ConnectorDetails:
        """A connector and its operations, with their schemas."""
        return await self._get(ConnectorDetails, ctx, "connectors.get", {"name": name})


class Integrations(Service):
    """Integrations: a tenant's configured instances of connectors, and calls of their operations.

    Credentials are kept sealed and never shown: a store that lasts needs `connectors={"sealing_key_env": …}`.
    """

    __slots__ = ()

    async def create(
        self,
        ctx: Context,
        name: str,
        connector: str,
        *,
        auth: str | None = None,
        settings: Mapping[str, Any] | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> Integration:
        """Makes an integration.

        Args:
            ctx: On whose behalf.
            name: The name, 1 to 255 characters, unique within the tenant.
            connector: The connector, by its name.
            auth: Which of its ways to prove who asks; the usual one where absent.
            settings: Its settings, such as `base_url`.
            credentials: What proves who asks, by the fields that `connectors.get` names.
        """
        given = {
            "name": name,
            "connector": connector,
            "auth": auth,
            "settings": UNSET if settings is None else settings,
            "credentials": UNSET if credentials is None else credentials,
        }
        return await self._get(Integration, ctx, "integrations.create", given)

    async def get(self, ctx: Context, integration: str | Integration) -> Integration:
        """An integration."""
        given = {"integration": ident(integration, "integration")}
        return await self._get(Integration, ctx, "integrations.get", given)

    async def list(
        self,
        ctx: Context,
        *,
        limit: int | None = None,
        after: str | None = None,
        connector: str | None = None,
        state: IntegrationState | None = None,
    ) -> Page[Integration]:
        """A page of the tenant's integrations, of `limit` items (1 to 100, default 20)."""
        given = {"limit": limit, "after": after, "connector": connector, "state": state}
        return await self._page(Integration, ctx, "integrations.list", given)

    def iterate(
        self,
        ctx: Context,
        *,
        limit: int | None = None,
        connector: str | None = None,
        state: IntegrationState | None = None,
    ) -> AsyncIterator[Integration]:
        """All integrations of the tenant, page by page."""
        return pages(lambda after: self.list(ctx, limit=limit, after=after, connector=connector, state=state))

    async def update(
        self,
        ctx: Context,
        integration: str | Integration,
        *,
        name: str | Unset = UNSET,
        settings: Mapping[str, Any] | Unset = UNSET,
        credentials: Mapping[str, str] | Unset = UNSET,
        enabled: bool | Unset = UNSET,
    ) -> Integration:
        """Replaces what is given. One that is connected to an account stays with it: `ConflictError` for another's."""
        given = {
            "integration": ident(integration, "integration"),
            "name": some(name, "name"),
            "settings": some(settings, "settings"),
            "credentials": some(credentials, "credentials"),
            "enabled": some(enabled, "enabled"),
        }
        return await self._get(Integration, ctx, "integrations.update", given)

    async def delete(self, ctx: Context, integration: str | Integration) -> None:
        """Removes an integration and its credentials."""
        await self._call(ctx, "integrations.delete", {"integration": ident(integration, "integration")})

    async def test(self, ctx: Context, integration: str | Integration) -> TestResult:
        """Tries an integration: asks whose account it is. What keeps it from being used is no error but the result."""
        given = {"integration": ident(integration, "integration")}
        return await self._get(TestResult, ctx, "integrations.test", given)

    async def authorize(
        self,
        ctx: Context,
        integration: str | Integration,
        redirect_uri: str,
        *,
        scopes: Sequence[str] | None = None,
    ) -> Authorization:
        """Begins to connect an integration in a browser: where to send whoever grants access.

        Args:
            ctx: On whose behalf.
            integration: The integration.
            redirect_uri: Where the vendor sends them back to, as it is registered there.
            scopes: What is asked for, in the vendor's words; the connector's usual scopes where absent.
        """
        given = {"integration": ident(integration, "integration"), "redirect_uri": redirect_uri, "scopes": scopes}
        return await self._get(Authorization, ctx, "integrations.authorize", given)

    async def connect(self, ctx: Context, integration: str | Integration, *, state: str, code: str) -> Integration:
        """Ends connecting an integration, by what the vendor gave back; once, within ten minutes."""
        given = {"integration": ident(integration, "integration"), "state": state, "code": code}
        return await self._get(Integration, ctx, "integrations.connect", given)

    async def invoke(
        self,
        ctx: Context,
        integration: str | Integration,
        operation: str,
        input: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        timeout_ms: int | None = None,
    ) -> Any:
        """Calls an operation of an integration, and gives its answer as plain data.

        Args:
            ctx: On whose behalf.
            integration: The integration.
            operation: The operation, as `issues.create`.
            input: Its input, by the schema that `connectors.get` shows.
            idempotency_key: A call that was made with it before is answered as then, for a day. 1 to 255 bytes.
            timeout_ms: The longest it may take, in milliseconds; the operation's own limit where absent or shorter.
        """
        given = {
            "integration": ident(integration, "integration"),
            "operation": operation,
            "input": input,
            "idempotency_key": idempotency_key,
            "timeout_ms": timeout_ms,
        }
        return json.loads(await self._call(ctx, "integrations.invoke", given))
