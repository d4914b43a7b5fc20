"""Tenants, their users, and the API keys of users.

Generated from `agentprovision.tenancy` by `scripts/sync_from_async.py`; do not edit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from .._codec import UNSET, Unset, ident, some
from ._service import Page, Service, pages
from .._types import ApiKey, NewApiKey, Tenant, User
from ..context import Context, OperatorContext

__all__ = ["ApiKey", "ApiKeys", "NewApiKey", "Tenant", "Tenants", "User", "Users"]


def _names(roles: Iterable[str] | Unset | None) -> list[str] | Unset | None:
    if roles is None or isinstance(roles, (Unset, str)):
        # Text is iterable too, and never meant to be: the platform refuses it by name.
        return roles  # type: ignore[return-value]
    return list(roles)


class Tenants(Service):
    """Tenants, for operators."""

    __slots__ = ()

    def create(
        self,
        operator: OperatorContext,
        name: str,
        *,
        domain: str | None = None,
        plan: str | None = None,
        region: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Tenant:
        """Makes a tenant.

        Args:
            operator: Who makes it.
            name: The name, 1 to 255 characters.
            domain: The domain, unique among tenants.
            plan: The plan it is on.
            region: Where its data must stay; it cannot be changed later.
            settings: Settings of the host, at most 64 KiB as JSON.
        """
        given = {"name": name, "domain": domain, "plan": plan, "region": region, "settings": settings}
        return self._get(Tenant, operator, "tenants.create", given)

    def get(self, operator: OperatorContext, tenant: str | Tenant) -> Tenant:
        """A tenant, a deleted one too."""
        return self._get(Tenant, operator, "tenants.get", {"tenant": ident(tenant, "tenant")})

    def list(
        self, operator: OperatorContext, *, limit: int | None = None, after: str | None = None
    ) -> Page[Tenant]:
        """A page of all tenants, of `limit` items (1 to 100, default 20)."""
        return self._page(Tenant, operator, "tenants.list", {"limit": limit, "after": after})

    def iterate(self, operator: OperatorContext, *, limit: int | None = None) -> Iterator[Tenant]:
        """All tenants, page by page."""
        return pages(lambda after: self.list(operator, limit=limit, after=after))

    def own(self, ctx: Context) -> Tenant:
        """The tenant of the context."""
        return self._get(Tenant, ctx, "tenants.own", {})

    def update(
        self,
        operator: OperatorContext,
        tenant: str | Tenant,
        *,
        name: str | Unset = UNSET,
        plan: str | None | Unset = UNSET,
        settings: Mapping[str, Any] | Unset = UNSET,
    ) -> Tenant:
        """Replaces what is given; `plan=None` takes the plan away."""
        given = {
            "tenant": ident(tenant, "tenant"),
            "name": some(name, "name"),
            "plan": plan,
            "settings": some(settings, "settings"),
        }
        return self._get(Tenant, operator, "tenants.update", given)

    def suspend(self, operator: OperatorContext, tenant: str | Tenant) -> Tenant:
        """Nothing runs any more, and data is kept; runs park at their next step."""
        return self._get(Tenant, operator, "tenants.suspend", {"tenant": ident(tenant, "tenant")})

    def resume(self, operator: OperatorContext, tenant: str | Tenant) -> Tenant:
        """Ends a suspension; parked runs go on."""
        return self._get(Tenant, operator, "tenants.resume", {"tenant": ident(tenant, "tenant")})

    def delete(self, operator: OperatorContext, tenant: str | Tenant) -> Tenant:
        """Deletes everything of a tenant but its row and its audit log."""
        return self._get(Tenant, operator, "tenants.delete", {"tenant": ident(tenant, "tenant")})

    def bootstrap_admin(
        self,
        operator: OperatorContext,
        tenant: str | Tenant,
        email: str,
        *,
        name: str | None = None,
        roles: Iterable[str] | None = None,
    ) -> User:
        """Makes the first admin of a tenant; `ConflictError` when there is one."""
        given = {"tenant": ident(tenant, "tenant"), "email": email, "name": name, "roles": _names(roles)}
        return self._get(User, operator, "tenants.bootstrap_admin", given)


class Users(Service):
    """The users of a tenant."""

    __slots__ = ()

    def create(
        self, ctx: Context, email: str, *, name: str | None = None, roles: Iterable[str] | None = None
    ) -> User:
        """Makes a user with these roles, such as `agent_manager`."""
        return self._get(User, ctx, "users.create", {"email": email, "name": name, "roles": _names(roles)})

    def get(self, ctx: Context, user: str | User) -> User:
        """A user."""
        return self._get(User, ctx, "users.get", {"user": ident(user, "user")})

    def list(self, ctx: Context, *, limit: int | None = None, after: str | None = None) -> Page[User]:
        """A page of all users, of `limit` items (1 to 100, default 20)."""
        return self._page(User, ctx, "users.list", {"limit": limit, "after": after})

    def iterate(self, ctx: Context, *, limit: int | None = None) -> Iterator[User]:
        """All users, page by page."""
        return pages(lambda after: self.list(ctx, limit=limit, after=after))

    def update(
        self,
        ctx: Context,
        user: str | User,
        *,
        name: str | None | Unset = UNSET,
        roles: Iterable[str] | Unset = UNSET,
        active: bool | Unset = UNSET,
    ) -> User:
        """Replaces what is given; `name=None` takes the name away."""
        given = {
            "user": ident(user, "user"),
            "name": name,
            "roles": _names(some(roles, "roles")),
            "active": some(active, "active"),
        }
        return self._get(User, ctx, "users.update", given)

    def delete(self, ctx: Context, user: str | User) -> None:
        """Removes a user and the user's API keys."""
        self._call(ctx, "users.delete", {"user": ident(user, "user")})


class ApiKeys(Service):
    """The API keys of users."""

    __slots__ = ()

    def create(
        self,
        ctx: Context,
        name: str,
        *,
        user: str | User | None = None,
        scopes: Iterable[str] | None = None,
        expires_at: datetime | str | None = None,
    ) -> NewApiKey:
        """Makes a key; its secret is shown this once.

        Args:
            ctx: Who makes it.
            name: What the key is for.
            user: Whose key it is; the caller's where absent.
            scopes: Permissions the key is limited to; everything the user may where absent.
            expires_at: When it ends.
        """
        given = {
            "name": name,
            "user": None if user is None else ident(user, "user"),
            "scopes": _names(scopes),
            "expires_at": expires_at,
        }
        return self._get(NewApiKey, ctx, "keys.create", given)

    def get(self, ctx: Context, key: str | ApiKey) -> ApiKey:
        """A key."""
        return self._get(ApiKey, ctx, "keys.get", {"key": ident(key, "key")})

    def list(self, ctx: Context, *, limit: int | None = None, after: str | None = None) -> Page[ApiKey]:
        """A page of all keys of the tenant, revoked ones too."""
        return self._page(ApiKey, ctx, "keys.list", {"limit": limit, "after": after})

    def iterate(self, ctx: Context, *, limit: int | None = None) -> Iterator[ApiKey]:
        """All keys of the tenant, page by page."""
        return pages(lambda after: self.list(ctx, limit=limit, after=after))

    def list_own(self, ctx: Context, *, limit: int | None = None, after: str | None = None) -> Page[ApiKey]:
        """A page of the caller's own keys."""
        return self._page(ApiKey, ctx, "keys.list_own", {"limit": limit, "after": after})

    def revoke(self, ctx: Context, key: str | ApiKey) -> None:
        """Ends a key at once."""
        self._call(ctx, "keys.revoke", {"key": ident(key, "key")})
