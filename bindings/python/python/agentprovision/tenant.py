"""Tenants."""

from __future__ import annotations

from .tenancy import Archives, ArchiveSummary, Restored, Tenant, Tenants

__all__ = ["ArchiveSummary", "Archives", "Restored", "Tenant", "Tenants"]
