"""Users of a tenant, and their API keys."""

from __future__ import annotations

from .tenancy import ApiKey, ApiKeys, NewApiKey, User, Users

__all__ = ["ApiKey", "ApiKeys", "NewApiKey", "User", "Users"]
