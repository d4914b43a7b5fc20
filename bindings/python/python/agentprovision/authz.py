"""What an authorizer of the host is asked, and what it answers."""

from __future__ import annotations

from .context import Authorization, Decision

__all__ = ["Authorization", "Decision"]
