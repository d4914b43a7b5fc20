"""Tenants, their users, and the API keys of users."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any

from ._codec import UNSET, Unset, decode, ident, some
from ._service import Page, Service, pages
from ._types import (
    ApiKey,
    ArchiveSummary,
    Backup,
    NewApiKey,
    Placement,
    Rebalance,
    Restored,
    RestoreInto,
    Tenant,
    User,
)
from .context import Context, OperatorContext

__all__ = [
    "ApiKey",
    "ApiKeys",
    "ArchiveSummary",
    "Archives",
    "Backup",
    "Backups",
    "NewApiKey",
    "Placement",
    "Placements",
    "Rebalance",
    "Restored",
    "Tenant",
    "Tenants",
    "User",
    "Users",
]


# Within the class `list` is a method.
Steps = list[Rebalance]


def _names(roles: Iterable[str] | Unset | None) -> list[str] | Unset | None:
    if roles is None or isinstance(roles, (Unset, str)):
        # Text is iterable too, and never meant to be: the platform refuses it by name.
        return roles  # type: ignore[return-value]
    return list(roles)


def _path(path: str | os.PathLike[str] | None) -> str | None:
    # What is no path the platform refuses by name.
    return os.fspath(path) if isinstance(path, os.PathLike) else path


class Tenants(Service):
    """Tenants, for operators."""

    __slots__ = ()

    async def create(
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
        return await self._get(Tenant, operator, "tenants.create", given)

    async def get(self, operator: OperatorContext, tenant: str | Tenant) -> Tenant:
        """A tenant, a deleted one too."""
        return await self._get(Tenant, operator, "tenants.get", {"tenant": ident(tenant, "tenant")})

    async def list(
        self, operator: OperatorContext, *, limit: int | None = None, after: str | None = None
    ) -> Page[Tenant]:
        """A page of all tenants, of `limit` items (1 to 100, default 20)."""
        return await self._page(Tenant, operator, "tenants.list", {"limit": limit, "after": after})

    def iterate(self, operator: OperatorContext, *, limit: int | None = None) -> AsyncIterator[Tenant]:
        """All tenants, page by page."""
        return pages(lambda after: self.list(operator, limit=limit, after=after))

    async def own(self, ctx: Context) -> Tenant:
        """The tenant of the context."""
        return await self._get(Tenant, ctx, "tenants.own", {})

    async def update(
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
        return await self._get(Tenant, operator, "tenants.update", given)

    async def suspend(self, operator: OperatorContext, tenant: str | Tenant) -> Tenant:
        """Nothing runs any more, and data is kept; runs park at their next step."""
        return await self._get(Tenant, operator, "tenants.suspend", {"tenant": ident(tenant, "tenant")})

    async def resume(self, operator: OperatorContext, tenant: str | Tenant) -> Tenant:
        """Ends a suspension; parked runs go on."""
        return await self._get(Tenant, operator, "tenants.resume", {"tenant": ident(tenant, "tenant")})

    async def delete(
        self, operator: OperatorContext, tenant: str | Tenant, *, archive: str | os.PathLike[str] | None
    ) -> Tenant:
        """Deletes everything of a tenant but its row and the hashes of its audit log.

        Args:
            operator: Who deletes it.
            tenant: The tenant.
            archive: The file its last archive is written to, from which it can be restored; `None`, which has to be
                said, for no archive and no way back.
        """
        given = {"tenant": ident(tenant, "tenant"), "archive": _path(archive)}
        return await self._get(Tenant, operator, "tenants.delete", given)

    async def bootstrap_admin(
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
        return await self._get(User, operator, "tenants.bootstrap_admin", given)


class Archives(Service):
    """Tenants as files, for operators. Stores in memory have none: `UnsupportedError`."""

    __slots__ = ()

    async def export(
        self, operator: OperatorContext, tenant: str | Tenant, path: str | os.PathLike[str]
    ) -> ArchiveSummary:
        """Writes everything of a tenant, as of one moment, to a new file; both audit logs tell of it."""
        given = {"tenant": ident(tenant, "tenant"), "path": _path(path)}
        return await self._get(ArchiveSummary, operator, "archives.export", given)

    async def verify(self, operator: OperatorContext, path: str | os.PathLike[str]) -> ArchiveSummary:
        """Reads an archive to its end; `CorruptError` when it is not as it was written."""
        return await self._get(ArchiveSummary, operator, "archives.verify", {"path": _path(path)})

    async def restore(
        self,
        operator: OperatorContext,
        path: str | os.PathLike[str],
        *,
        into: RestoreInto | None = None,
    ) -> Restored:
        """Makes a suspended tenant of an archive, all of it or nothing.

        Args:
            operator: Who restores it.
            path: The file.
            into: `same` (the default) for the tenant it was exported from, which must be deleted or was never in this
                store; `new` for a new one, in which everything but the tenant keeps its id.
        """
        given = {"path": _path(path), "into": into}
        return await self._get(Restored, operator, "archives.restore", given)


class Backups(Service):
    """Backups of tenants, for operators: archives in the folder that the option `backups` names.

    `Platform.open(…, backups={"folder": "/var/backups", "every_s": 86400, "keep": 7})` also makes them on a schedule.
    """

    __slots__ = ()

    async def run(self, operator: OperatorContext, tenant: str | Tenant) -> Backup:
        """Makes a backup now; `UnsupportedError` without a folder and in memory, and what it failed with otherwise."""
        return await self._get(Backup, operator, "backups.run", {"tenant": ident(tenant, "tenant")})

    async def list(
        self, operator: OperatorContext, tenant: str | Tenant, *, limit: int | None = None, after: str | None = None
    ) -> Page[Backup]:
        """A page of a tenant's backups, oldest first, of `limit` items (1 to 100, default 20)."""
        given = {"tenant": ident(tenant, "tenant"), "limit": limit, "after": after}
        return await self._page(Backup, operator, "backups.list", given)

    def iterate(
        self, operator: OperatorContext, tenant: str | Tenant, *, limit: int | None = None
    ) -> AsyncIterator[Backup]:
        """All backups of a tenant, page by page."""
        return pages(lambda after: self.list(operator, tenant, limit=limit, after=after))

    async def get(self, operator: OperatorContext, tenant: str | Tenant, backup: str | Backup) -> Backup:
        """A backup."""
        given = {"tenant": ident(tenant, "tenant"), "backup": ident(backup, "backup")}
        return await self._get(Backup, operator, "backups.get", given)


class Placements(Service):
    """Where tenants are kept, on a platform with several databases; elsewhere `UnsupportedError`."""

    __slots__ = ()

    async def get(self, operator: OperatorContext, tenant: str | Tenant) -> Placement:
        """Where a tenant is kept."""
        return await self._get(Placement, operator, "placements.get", {"tenant": ident(tenant, "tenant")})

    async def list(
        self, operator: OperatorContext, *, limit: int | None = None, after: str | None = None
    ) -> Page[Placement]:
        """A page of where all tenants are kept, of `limit` items (1 to 100, default 20)."""
        return await self._page(Placement, operator, "placements.list", {"limit": limit, "after": after})

    def iterate(self, operator: OperatorContext, *, limit: int | None = None) -> AsyncIterator[Placement]:
        """Where all tenants are kept, page by page."""
        return pages(lambda after: self.list(operator, limit=limit, after=after))

    async def plan(self, operator: OperatorContext) -> Steps:
        """The tenants that belong elsewhere by their pins, their regions and the weights of today; nothing is moved."""
        return decode(Steps, await self._call(operator, "placements.plan", {}))

    async def move_tenant(self, operator: OperatorContext, tenant: str | Tenant, to: str) -> Placement:
        """Moves a tenant to another shard while it is read; changes are refused meanwhile, to be tried again.

        Moving it again goes on where a mover died; moving it to where it is at home undoes what was begun.
        """
        given = {"tenant": ident(tenant, "tenant"), "to": to}
        return await self._get(Placement, operator, "placements.move_tenant", given)

    async def pin(self, operator: OperatorContext, tenant: str | Tenant, shard: str | None) -> Placement:
        """Says which shard a tenant belongs in, whatever the hash says; `None` lets the hash say it again."""
        given = {"tenant": ident(tenant, "tenant"), "shard": shard}
        return await self._get(Placement, operator, "placements.pin", given)


class Users(Service):
    """The users of a tenant."""

    __slots__ = ()

    async def create(
        self, ctx: Context, email: str, *, name: str | None = None, roles: Iterable[str] | None = None
    ) -> User:
        """Makes a user with these roles, such as `agent_manager`."""
        return await self._get(User, ctx, "users.create", {"email": email, "name": name, "roles": _names(roles)})

    async def get(self, ctx: Context, user: str | User) -> User:
        """A user."""
        return await self._get(User, ctx, "users.get", {"user": ident(user, "user")})

    async def list(self, ctx: Context, *, limit: int | None = None, after: str | None = None) -> Page[User]:
        """A page of all users, of `limit` items (1 to 100, default 20)."""
        return await self._page(User, ctx, "users.list", {"limit": limit, "after": after})

    def iterate(self, ctx: Context, *, limit: int | None = None) -> AsyncIterator[User]:
        """All users, page by page."""
        return pages(lambda after: self.list(ctx, limit=limit, after=after))

    async def update(
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
        return await self._get(User, ctx, "users.update", given)

    async def delete(self, ctx: Context, user: str | User) -> None:
        """Removes a user and the user's API keys."""
        await self._call(ctx, "users.delete", {"user": ident(user, "user")})


class ApiKeys(Service):
    """The API keys of users."""

    __slots__ = ()

    async def create(
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
        return await self._get(NewApiKey, ctx, "keys.create", given)

    async def get(self, ctx: Context, key: str | ApiKey) -> ApiKey:
        """A key."""
        return await self._get(ApiKey, ctx, "keys.get", {"key": ident(key, "key")})

    async def list(self, ctx: Context, *, limit: int | None = None, after: str | None = None) -> Page[ApiKey]:
        """A page of all keys of the tenant, revoked ones too."""
        return await self._page(ApiKey, ctx, "keys.list", {"limit": limit, "after": after})

    def iterate(self, ctx: Context, *, limit: int | None = None) -> AsyncIterator[ApiKey]:
        """All keys of the tenant, page by page."""
        return pages(lambda after: self.list(ctx, limit=limit, after=after))

    async def list_own(self, ctx: Context, *, limit: int | None = None, after: str | None = None) -> Page[ApiKey]:
        """A page of the caller's own keys."""
        return await self._page(ApiKey, ctx, "keys.list_own", {"limit": limit, "after": after})

    async def revoke(self, ctx: Context, key: str | ApiKey) -> None:
        """Ends a key at once."""
        await self._call(ctx, "keys.revoke", {"key": ident(key, "key")})
