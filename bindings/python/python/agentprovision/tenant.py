"""Tenants."""

from __future__ import annotations

from .tenancy import Tenant, Tenants

__all__ = ["Tenant", "Tenants"]
