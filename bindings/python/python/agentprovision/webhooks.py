"""Webhooks in: endpoints that vendors send to, and what came in."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from ._codec import UNSET, Unset, arguments, decode, ident, some
from ._service import Page, Service, pages
from ._types import (
    EventFilter,
    MadeWebhookEndpoint,
    ReceivedAnswer,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookTrigger,
    WebhookVendor,
    WholeWebhookDelivery,
)
from ._wait import settle
from .connectors import Integration
from .context import Context
from .error import InvalidInputError

__all__ = [
    "EventFilter",
    "MadeWebhookEndpoint",
    "ReceivedAnswer",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookTrigger",
    "WebhookVendor",
    "Webhooks",
    "WholeWebhookDelivery",
]


class Webhooks(Service):
    """Webhooks in: endpoints that vendors send to, what came in, and what takes it.

    Mount `receive` on your HTTP server, as `POST /hooks/{address}`. What it took is kept, and worked on afterwards: triggers
    start runs.
    """

    __slots__ = ()

    async def receive(
        self,
        address: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        body: bytes | bytearray | memoryview,
    ) -> ReceivedAnswer:
        """Takes a delivery, and says how to answer it: `status`, and `text` as `text/plain`.

        Args:
            address: The last part of the path, `hok_…`.
            headers: The request's headers, by name or as pairs.
            body: The body as it came: a signature is over bytes, not over what they mean.
        """
        if not isinstance(body, (bytes, bytearray, memoryview)):
            raise InvalidInputError(f"`body` is bytes as they came, not a value of type `{type(body).__name__}`")
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        given = {
            "address": address,
            "headers": [list(pair) for pair in pairs],
            "body": base64.b64encode(body).decode(),
        }
        text = await settle(self._platform._native.receive(arguments("webhooks.receive", given)))
        return decode(ReceivedAnswer, text)

    async def create(
        self,
        ctx: Context,
        name: str,
        vendor: WebhookVendor,
        *,
        triggers: Sequence[WebhookTrigger | Mapping[str, Any]] = (),
        secret: str | None = None,
        scheme: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
        integration: str | Integration | None = None,
    ) -> MadeWebhookEndpoint:
        """Makes an endpoint, which acts on behalf of whoever makes it. Its secret is shown this once.

        Args:
            ctx: On whose behalf.
            name: The name, 1 to 255 characters, unique within the tenant.
            vendor: Who sends, such as `github`.
            triggers: What comes of deliveries, such as
                `{"agent": agent.id, "input": "Look into {{ body.issue.title }}.", "filter": {"prefix": "issues."}}`.
            secret: The secret, where the vendor gives one out; else one is made.
            scheme: How deliveries prove whose they are; the vendor's usual way where absent.
            source: How a generic sender's deliveries are read.
            integration: The integration it belongs to.
        """
        given = {
            "name": name,
            "vendor": vendor,
            "triggers": list(triggers),
            "secret": secret,
            "scheme": scheme,
            "source": source,
            "integration": None if integration is None else ident(integration, "integration"),
        }
        return await self._get(MadeWebhookEndpoint, ctx, "webhooks.create", given)

    async def get(self, ctx: Context, endpoint: str | WebhookEndpoint) -> WebhookEndpoint:
        """An endpoint."""
        given = {"endpoint": ident(endpoint, "endpoint")}
        return await self._get(WebhookEndpoint, ctx, "webhooks.get", given)

    async def list(
        self, ctx: Context, *, limit: int | None = None, after: str | None = None
    ) -> Page[WebhookEndpoint]:
        """A page of the tenant's endpoints, of `limit` items (1 to 100, default 20)."""
        return await self._page(WebhookEndpoint, ctx, "webhooks.list", {"limit": limit, "after": after})

    def iterate(self, ctx: Context, *, limit: int | None = None) -> AsyncIterator[WebhookEndpoint]:
        """All endpoints of the tenant, page by page."""
        return pages(lambda after: self.list(ctx, limit=limit, after=after))

    async def update(
        self,
        ctx: Context,
        endpoint: str | WebhookEndpoint,
        *,
        name: str | Unset = UNSET,
        triggers: Sequence[WebhookTrigger | Mapping[str, Any]] | Unset = UNSET,
        enabled: bool | Unset = UNSET,
    ) -> WebhookEndpoint:
        """Replaces what is given."""
        given = {
            "endpoint": ident(endpoint, "endpoint"),
            "name": some(name, "name"),
            "triggers": some(triggers, "triggers"),
            "enabled": some(enabled, "enabled"),
        }
        return await self._get(WebhookEndpoint, ctx, "webhooks.update", given)

    async def rotate(
        self,
        ctx: Context,
        endpoint: str | WebhookEndpoint,
        *,
        secret: str | None = None,
        overlap_s: int | None = None,
    ) -> MadeWebhookEndpoint:
        """Gives an endpoint another secret, shown this once. The one before counts for `overlap_s` seconds, default a day."""
        given = {"endpoint": ident(endpoint, "endpoint"), "secret": secret, "overlap_s": overlap_s}
        return await self._get(MadeWebhookEndpoint, ctx, "webhooks.rotate", given)

    async def delete(self, ctx: Context, endpoint: str | WebhookEndpoint) -> None:
        """Removes an endpoint, its secret and its deliveries."""
        await self._call(ctx, "webhooks.delete", {"endpoint": ident(endpoint, "endpoint")})

    async def deliveries(
        self, ctx: Context, endpoint: str | WebhookEndpoint, *, limit: int | None = None, after: str | None = None
    ) -> Page[WebhookDelivery]:
        """A page of an endpoint's deliveries, oldest first, without their bodies."""
        given = {"endpoint": ident(endpoint, "endpoint"), "limit": limit, "after": after}
        return await self._page(WebhookDelivery, ctx, "webhooks.deliveries", given)

    async def delivery(self, ctx: Context, delivery: str | WebhookDelivery) -> WholeWebhookDelivery:
        """A delivery as it came; its body is base64."""
        given = {"delivery": ident(delivery, "delivery")}
        return await self._get(WholeWebhookDelivery, ctx, "webhooks.delivery", given)

    async def replay(self, ctx: Context, delivery: str | WebhookDelivery) -> None:
        """Works on a delivery that is over once more. Runs that it has started are not started again."""
        await self._call(ctx, "webhooks.replay", {"delivery": ident(delivery, "delivery")})
