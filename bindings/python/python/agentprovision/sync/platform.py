"""The platform: one store, its models and tools, and the services over them.

Generated from `agentprovision.platform` by `scripts/sync_from_async.py`; do not edit.
"""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import _native, _options
from .._codec import arguments, ident
from .._host import Bridge
from .._types import Tenant, User
from .._wait import Pending, block
from .agent import Agents
from .audit import AuditLog
from ..connector import Connector
from .connectors import Connectors, Integrations
from ..context import Context, OperatorContext, RequestInfo
from ..error import ConflictError, InvalidInputError
from .event import Events
from .models import Models
from ..routing import RoutingConfig
from .run import Runs, Sessions
from .tenancy import ApiKeys, Archives, Backups, Placements, Tenants, Users
from ..testing import ManualClock
from .usage import UsageReport
from .webhooks import Webhooks

__all__ = ["Platform"]

_THROUGH = 30.0
"""Seconds a platform may take to close at the end of a scope that is cancelled."""


class Platform:
    """A platform, open until `close`. Runs are driven in the background; what a process leaves, another goes on with.

    Open one per process, after a fork: `platform = Platform.open("sqlite://platform.db")`, or
    `with Platform.open(...) as platform`.
    """

    agents: Agents
    archives: Archives
    placements: Placements
    audit: AuditLog
    backups: Backups
    connectors: Connectors
    events: Events
    integrations: Integrations
    keys: ApiKeys
    models: Models
    runs: Runs
    sessions: Sessions
    tenants: Tenants
    usage: UsageReport
    users: Users
    webhooks: Webhooks

    def __init__(self, native: _native.Platform, bridge: Bridge) -> None:
        """Not for use; see `Platform.open`."""
        self._native = native
        self._bridge = bridge
        self.agents = Agents(self)
        self.archives = Archives(self)
        self.placements = Placements(self)
        self.audit = AuditLog(self)
        self.backups = Backups(self)
        self.connectors = Connectors(self)
        self.events = Events(self)
        self.integrations = Integrations(self)
        self.keys = ApiKeys(self)
        self.models = Models(self)
        self.runs = Runs(self)
        self.sessions = Sessions(self)
        self.tenants = Tenants(self)
        self.usage = UsageReport(self)
        self.users = Users(self)
        self.webhooks = Webhooks(self)
        # Also after a close, and at the end of the process: no thread may enter an interpreter that is gone.
        self._end = weakref.finalize(self, native.abandon)
        self._pid = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        self._closing: Pending | None = None

    @staticmethod
    def open(
        store: str | Mapping[str, Any] | None = None,
        *,
        providers: Iterable[str | Mapping[str, Any]] = (),
        # Checkers take a list of differently typed tools for one of objects.
        tools: Iterable[object] = (),
        models: Iterable[object] = (),
        authorizer: Callable[..., Any] | None = None,
        subscribers: Iterable[Callable[..., Any]] = (),
        connectors: Iterable[str | Connector] | Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        clock: ManualClock | None = None,
        routing: RoutingConfig | None = None,
        layers: Mapping[str, Any] | None = None,
        catalog: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Platform:
        """Opens a platform: use it with `with`, which also closes it.

        Args:
            store: The store by URL (`sqlite://path` or `memory://`, the default), or a whole configuration as a mapping.
            providers: Providers of models: names such as `openai`, or mappings such as `{"type": "openai_compatible",
                "name": "local", "base_url": "http://localhost:8000/v1"}`.
            tools: Functions agents may call; plain ones are made tools with the default effect.
            models: Chat models of the host: `@model` functions, or objects with a `name` and `complete` or `stream`.
            authorizer: A function of a context and an `Authorization`, asked after the roles: None keeps what they say,
                a bool or a `Decision` decides.
            subscribers: Functions of a list of events, called at least once for each event, in order.
            connectors: Connectors that tenants can make integrations of: names of those of the library such as `github`, and
                `Connector` objects of your own. A mapping says more: `enabled`, which is that list, `apps` that are
                registered at vendors, `networks` that URLs may lead into, and `sealing_key_env` or `sealing_key_file`,
                without which a store that lasts takes no credentials.
            secrets: Values for the environment variables the configuration names; asked before the environment.
            clock: A manual clock, for tests.
            routing: How requests to models are routed: routes, fallbacks, strategies, limits of time.
            layers: What surrounds every model: `guards`, `cache`, `embedding_cache`, `validate`, `rate_limits`, `budgets`.
            catalog: Models and prices that go over those the library knows, and the terms of single tenants, in the
                catalogue's format (`{"format": 1, "unit": "usd_per_million_tokens", "providers": …, "tenants": …}`).
            **options: Further settings of the configuration, such as `shards`, `backups`, `pepper_env`, `permissions` or
                `engine`.
        """
        given = {"routing": routing, "layers": layers, "catalog": catalog}
        options |= {name: value for name, value in given.items() if value is not None}
        return _open(
            store, providers, tools, models, authorizer, subscribers, connectors, secrets, clock, options
        )

    def operator(self, actor: str, *, reason: str) -> OperatorContext:
        """A context above the tenants. The host says who acts and why; both are recorded."""
        return self._native.operator(arguments("platform.operator", {"actor": actor, "reason": reason}))

    def context(
        self, tenant: str | Tenant, user: str | User, *, info: RequestInfo | None = None
    ) -> Context:
        """A context for a user whom the host has authenticated itself: checks membership and loads grants."""
        given = {"tenant": ident(tenant, "tenant"), "user": ident(user, "user"), "info": info}
        ctx: Context = block(self._native.context(arguments("platform.context", given)))
        return ctx

    def authenticate(self, api_key: str, *, info: RequestInfo | None = None) -> Context:
        """A context for whoever an API key belongs to; `UnauthenticatedError` for every key that does not hold."""
        if not isinstance(api_key, str):
            # Without the value, which may be a secret all the same.
            raise InvalidInputError(f"`api_key` is text, not a value of type `{type(api_key).__name__}`")
        given = {"api_key": api_key, "info": info}
        ctx: Context = block(self._native.authenticate(arguments("platform.authenticate", given)))
        return ctx

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Lets steps under way end for a while, gives every run back, and closes the store. Twice is harmless.

        Cancelling the wait does not stop it. After a failure it can be asked for again. Not for tools and other functions
        the platform calls, which it would wait for: `ConflictError`.
        """
        if not self.closed:
            self._close().block()

    def _close(self) -> Pending:
        """The one closing that everybody waits for."""
        if self._bridge.within:
            raise ConflictError("a platform cannot be closed by a function it waits for")
        with self._lock:
            if self._closing is None or self._closing.failed:
                self._closing = Pending(self._native.close(), self._over)
            return self._closing

    def _over(self) -> None:
        self._closed = True
        self._bridge.close()
        self._native.shutdown()

    def __enter__(self) -> Platform:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.closed:
            self._close().block(through=_THROUGH)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and self._pid == os.getpid():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<Platform {'closed' if self.closed else 'open'}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Platform belongs to the process that opened it and cannot be pickled")


def _open(*given: Any) -> Platform:
    bridge = Bridge(None)
    native, opening = _options.start(bridge, *given)
    try:
        block(opening)
    except BaseException:
        bridge.close()
        native.shutdown()
        raise
    return Platform(native, bridge)

