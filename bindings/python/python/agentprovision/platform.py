"""The platform: one store, its models and tools, and the services over them."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from . import _native, _options
from ._codec import arguments, ident
from ._host import Bridge, running_loop
from ._types import Tenant, User
from ._wait import Pending, settle
from .agent import Agents
from .audit import AuditLog
from .connector import Connector
from .connectors import Connectors, Integrations
from .context import Context, OperatorContext, RequestInfo
from .error import ConflictError, InvalidInputError
from .event import Events
from .models import Models
from .routing import RoutingConfig
from .run import Runs, Sessions
from .tenancy import ApiKeys, Archives, Backups, Placements, Tenants, Users
from .testing import ManualClock
from .usage import UsageReport
from .webhooks import Webhooks

__all__ = ["Platform"]

_THROUGH = 30.0
"""Seconds a platform may take to close at the end of a scope that is cancelled."""


class Platform:
    """A platform, open until `close`. Runs are driven in the background; what a process leaves, another goes on with.

    Open one per process, after a fork: `platform = await Platform.open("sqlite://platform.db")`, or
    `async with Platform.open(...) as platform`.
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
    ) -> Opening:
        """Opens a platform: `await` it, or use it with `async with`, which also closes it.

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
        return Opening(
            store, providers, tools, models, authorizer, subscribers, connectors, secrets, clock, options
        )

    def operator(self, actor: str, *, reason: str) -> OperatorContext:
        """A context above the tenants. The host says who acts and why; both are recorded."""
        return self._native.operator(arguments("platform.operator", {"actor": actor, "reason": reason}))

    async def context(
        self, tenant: str | Tenant, user: str | User, *, info: RequestInfo | None = None
    ) -> Context:
        """A context for a user whom the host has authenticated itself: checks membership and loads grants."""
        given = {"tenant": ident(tenant, "tenant"), "user": ident(user, "user"), "info": info}
        ctx: Context = await settle(self._native.context(arguments("platform.context", given)))
        return ctx

    async def authenticate(self, api_key: str, *, info: RequestInfo | None = None) -> Context:
        """A context for whoever an API key belongs to; `UnauthenticatedError` for every key that does not hold."""
        if not isinstance(api_key, str):
            # Without the value, which may be a secret all the same.
            raise InvalidInputError(f"`api_key` is text, not a value of type `{type(api_key).__name__}`")
        given = {"api_key": api_key, "info": info}
        ctx: Context = await settle(self._native.authenticate(arguments("platform.authenticate", given)))
        return ctx

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    async def close(self) -> None:
        """Lets steps under way end for a while, gives every run back, and closes the store. Twice is harmless.

        Cancelling the wait does not stop it. After a failure it can be asked for again. Not for tools and other functions
        the platform calls, which it would wait for: `ConflictError`.
        """
        if not self.closed:
            await self._close().settle()

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

    async def __aenter__(self) -> Platform:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.closed:
            await self._close().settle(through=_THROUGH)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and self._pid == os.getpid():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<Platform {'closed' if self.closed else 'open'}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Platform belongs to the process that opened it and cannot be pickled")


async def _open(*given: Any) -> Platform:
    bridge = Bridge(running_loop())
    native, opening = _options.start(bridge, *given)
    try:
        await settle(opening)
    except BaseException:
        bridge.close()
        native.shutdown()
        raise
    return Platform(native, bridge)


# async only
class Opening:
    """A platform about to be opened: `await` it, or enter it with `async with`."""

    def __init__(self, *given: Any) -> None:
        self._given = given
        self._platform: Platform | None = None

    def __await__(self) -> Generator[Any, None, Platform]:
        return _open(*self._given).__await__()

    async def __aenter__(self) -> Platform:
        self._platform = await _open(*self._given)
        return self._platform

    async def __aexit__(self, *_: object) -> None:
        if self._platform is not None:
            await self._platform.__aexit__()


def _not_open(self: Opening, name: str) -> Any:
    known = name in Platform.__annotations__ or hasattr(Platform, name)
    hint = "the platform is not open; write `await Platform.open(...)` or `async with Platform.open(...) as platform`"
    raise AttributeError(f"`{name}`: {hint}" if known else name)


# Not in the class, where type checkers would take it for every attribute there could be.
setattr(Opening, "__getattr__", _not_open)


# end
