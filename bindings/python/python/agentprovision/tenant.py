"""Tenants."""

from __future__ import annotations

from .tenancy import (
    Archives,
    ArchiveSummary,
    Backup,
    Backups,
    Placement,
    Placements,
    Rebalance,
    Restored,
    Tenant,
    Tenants,
)

__all__ = [
    "ArchiveSummary",
    "Archives",
    "Backup",
    "Backups",
    "Placement",
    "Placements",
    "Rebalance",
    "Restored",
    "Tenant",
    "Tenants",
]
