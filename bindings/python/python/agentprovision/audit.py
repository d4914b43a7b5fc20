"""Audit logs: what is in them, and the proofs that nothing else was."""

from __future__ import annotations

from ._codec import decode
from ._service import Service
from ._types import AuditEntry, AuditRecord, Checkpoint, InclusionProof
from .context import Context, OperatorContext

__all__ = ["AuditEntry", "AuditLog", "AuditRecord", "Checkpoint", "InclusionProof"]


class AuditLog(Service):
    """The audit log of a tenant, and that of the platform for operators."""

    __slots__ = ()

    async def entries(
        self, ctx: Context, *, from_: int | None = None, limit: int | None = None
    ) -> list[AuditEntry]:
        """Entries from the place `from_` on (default 0), at most `limit` (1 to 500, default 100)."""
        return decode(list[AuditEntry], await self._call(ctx, "audit.entries", {"from": from_, "limit": limit}))

    async def checkpoint(self, ctx: Context) -> Checkpoint:
        """Size and root of the log."""
        return await self._get(Checkpoint, ctx, "audit.checkpoint", {})

    async def prove(self, ctx: Context, seq: int, size: int) -> InclusionProof:
        """Proof that the record at `seq` is in the log of this size (RFC 6962, section 2.1.1)."""
        return await self._get(InclusionProof, ctx, "audit.prove", {"seq": seq, "size": size})

    async def consistency(self, ctx: Context, old: int, new: int) -> list[str]:
        """Proof that the log of size `old` is the beginning of that of size `new` (RFC 6962, section 2.1.2)."""
        return decode(list[str], await self._call(ctx, "audit.consistency", {"old": old, "new": new}))

    async def verify(self, ctx: Context) -> Checkpoint:
        """Recomputes the whole log; `CorruptError` when it does not verify."""
        return await self._get(Checkpoint, ctx, "audit.verify", {})

    async def platform_entries(
        self, operator: OperatorContext, *, from_: int | None = None, limit: int | None = None
    ) -> list[AuditEntry]:
        """Entries of the platform's own log."""
        given = {"from": from_, "limit": limit}
        return decode(list[AuditEntry], await self._call(operator, "audit.platform_entries", given))

    async def verify_platform(self, operator: OperatorContext) -> Checkpoint:
        """Recomputes the platform's own log."""
        return await self._get(Checkpoint, operator, "audit.verify_platform", {})
