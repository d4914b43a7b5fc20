"""How requests to models are routed, as `Platform.open(routing=...)` takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, Union

__all__ = [
    "BreakerConfig",
    "HedgeConfig",
    "PriceCap",
    "RouteConfig",
    "RouteTarget",
    "RoutingConfig",
    "Strategy",
    "TenantRouting",
]

Strategy = Literal["ordered", "performance", "cost", "balanced", "quality", "weighted", "sticky"]
"""Puts the targets of a route in order."""


class RouteTarget(TypedDict, total=False):
    """One target of a route."""

    model: str
    """The model, as `provider/model`, a registered model, or another route."""
    weight: int
    """Its share, for the strategies that weigh; default 1."""
    custom: bool
    """Whether it goes before all others, as a model of one's own that was made for the task."""


class RouteConfig(TypedDict, total=False):
    """A name that stands for several models."""

    targets: Sequence[Union[str, RouteTarget]]
    """The targets; a text alone is one with its defaults."""
    strategy: Strategy
    """How they are put in order; the router's strategy where absent."""
    fallbacks: Sequence[str]
    """Models or routes that are tried when none of the targets can answer, in order."""


class TenantRouting(TypedDict, total=False):
    """What a tenant may use."""

    allow: Sequence[str]
    """Models, as `provider/model`, a registered name, or a prefix before `*`; all where empty."""
    regions: Sequence[str]
    """Regions; all where empty. A model without a region is in none."""


class PriceCap(TypedDict, total=False):
    """The highest prices a target may have, in pico-USD per token."""

    input: int
    """Of prompt tokens."""
    output: int
    """Of completion tokens."""


class BreakerConfig(TypedDict, total=False):
    """When a target is left alone after failures."""

    window_ms: int
    """How far back outcomes count; default 30000."""
    min_samples: int
    """Fewer outcomes than this say nothing; default 10."""
    failure_per_cent: int
    """Failures that open it; default 50."""
    consecutive: int
    """Failures in a row that open it; default 5."""
    open_ms: int
    """How long it is open at first; default 5000."""
    open_max_ms: int
    """The longest it is open; default 120000."""


class HedgeConfig(TypedDict, total=False):
    """A second request beside a slow one."""

    per_cent: int
    """The most requests that get one; default 5."""


class RoutingConfig(TypedDict, total=False):
    """How requests are routed. Everything has a default."""

    strategy: Strategy
    """How targets are put in order where a route does not say; default `ordered`."""
    routes: Mapping[str, RouteConfig]
    """Names that stand for several models."""
    fallbacks: Mapping[str, Sequence[str]]
    """Models or routes that are tried, in order, after the model that is named: by its name."""
    custom: Sequence[str]
    """Models that were made for their task: they fall back only to what a request lists."""
    quality: Mapping[str, int]
    """Quality of models by the host's own measure, 0 to 1000; 500 where unknown. A key `tag=value:model` holds for that tag."""
    quality_tolerance: int
    """How far below the best quality a model counts as equally good, 0 to 1000; default 10."""
    regions: Mapping[str, str]
    """Where models are served, by provider or by model."""
    tenants: Mapping[str, TenantRouting]
    """What tenants may use, by id; a tenant that is not listed may use everything."""
    price_cap: PriceCap
    """The highest prices a target may have; what has no price is left out."""
    max_attempts: int
    """The most requests to providers for one request, everything counted; default 4."""
    retries: int
    """How often one target is asked again; default 2."""
    timeout_ms: int
    """The longest a whole answer may take; default 600000."""
    first_event_ms: int
    """The longest the first piece of a streamed answer may take while others can be asked; default 60000."""
    attempt_ms: int
    """The longest an answer in one piece may take while others can be asked; default 300000."""
    idle_ms: int
    """The longest pause within a streamed answer; default 120000."""
    backoff_ms: int
    """The pause before a target is asked again, doubled each time; default 500."""
    backoff_max_ms: int
    """The longest such pause; default 8000."""
    wait_max_ms: int
    """The longest pause a provider asks for that is waited for; default 60000."""
    breaker: BreakerConfig
    """When a target is left alone after failures."""
    hedge: HedgeConfig
    """A second request beside a slow one; none where absent."""
