"""Tenants."""

from __future__ import annotations

from .tenancy import Archives, ArchiveSummary, Placement, Placements, Rebalance, Restored, Tenant, Tenants

__all__ = ["ArchiveSummary", "Archives", "Placement", "Placements", "Rebalance", "Restored", "Tenant", "Tenants"]
