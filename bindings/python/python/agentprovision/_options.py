"""From what `Platform.open` is given to what the native module takes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import _native
from ._codec import dumps
from ._host import AuthorizerFunction, Bridge, ConnectorFunction, ModelFunction, SubscriberFunction, ToolFunction
from .connector import Connector
from .error import InvalidInputError
from .model import of as model_of
from .testing import ManualClock, ScriptedModel
from .tool import Tool


def configuration(
    store: str | Mapping[str, Any] | None, providers: Iterable[str | Mapping[str, Any]], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The configuration as plain data; the platform knows its fields, this does not."""
    if store is None or isinstance(store, str):
        config: dict[str, Any] = {} if store is None else {"store": store}
    elif isinstance(store, Mapping):
        config = dict(store)
    else:
        raise InvalidInputError(f"the store is a URL or a configuration, not a value of type `{type(store).__name__}`")
    given = [{"type": provider} if isinstance(provider, str) else provider for provider in providers]
    if given:
        config["providers"] = given
    for name, value in options.items():
        if name in config:
            raise InvalidInputError(f"`{name}` is given twice")
        config[name] = value
    return config


def connectors_in(given: object) -> tuple[dict[str, Any] | None, list[Connector]]:
    """What the configuration says of connectors, and those of the host's own among them."""
    if given is None:
        return None, []
    config = dict(given) if isinstance(given, Mapping) else {}
    named = config.get("enabled", []) if isinstance(given, Mapping) else given
    if isinstance(named, (str, bytes)) or not isinstance(named, Iterable):
        raise InvalidInputError("`connectors` is a list, as in `connectors=[…]`, or a mapping with a list `enabled`")
    names: list[object] = []
    own: list[Connector] = []
    for one in named:
        if isinstance(one, Connector):
            own.append(one)
        elif isinstance(one, str):
            names.append(one)
        elif isinstance(one, type) and issubclass(one, Connector):
            raise InvalidInputError(f"a connector is an object: `{one.__name__}()`, not `{one.__name__}`")
        else:
            raise InvalidInputError(f"a connector is a name or a `Connector`, not a value of type `{type(one).__name__}`")
    if names or config:
        config["enabled"] = names
    return config or None, own


def as_function(given: object) -> Callable[..., Any]:
    """What can be called."""
    if not callable(given):
        raise InvalidInputError(f"a tool is a function, not a value of type `{type(given).__name__}`")
    return given


def start(
    bridge: Bridge,
    store: str | Mapping[str, Any] | None,
    providers: Iterable[str | Mapping[str, Any]],
    tools: Iterable[object],
    models: Iterable[object],
    authorizer: Callable[..., Any] | None,
    subscribers: Iterable[Callable[..., Any]],
    connectors: object,
    secrets: Mapping[str, str] | None,
    clock: ManualClock | None,
    options: Mapping[str, Any],
    bench: bool = False,
) -> tuple[_native.Platform, _native.Op]:
    """Starts the threads of a platform; the operation opens it. `bench` adds the tool of the benchmark's reference."""
    given_lists = {"providers": providers, "tools": tools, "models": models, "subscribers": subscribers}
    for option, value in given_lists.items():
        if isinstance(value, (Mapping, Tool, str, bytes)) or not isinstance(value, Iterable):
            raise InvalidInputError(f"`{option}` is a list, as in `{option}=[…]`, not a value of type `{type(value).__name__}`")
    if not isinstance(secrets, (Mapping, type(None))):
        raise InvalidInputError("`secrets` maps names of environment variables to text")
    connected, own = connectors_in(connectors)
    if connected is not None:
        options = {**options, "connectors": connected}
    config = dumps(configuration(store, providers, options), "the configuration")
    connector_parts = [
        (bridge.add(ConnectorFunction(one)), dumps(one.spec(), f"the connector `{type(one).__name__}`")) for one in own
    ]
    made: list[Tool[..., Any]] = [tool if isinstance(tool, Tool) else Tool(as_function(tool)) for tool in tools]
    tool_parts = [
        (bridge.add(ToolFunction(tool)), dumps(tool.spec(), f"the tool `{tool.name}`")) for tool in made
    ]
    model_parts, scripted = [], []
    for given in models:
        if isinstance(given, ScriptedModel):
            scripted.append(given._native)
            continue
        model = model_of(given)
        number = bridge.add(ModelFunction(model.name, model.respond))
        model_parts.append((number, model.name, dumps(model.info(), f"the model `{model.name}`")))
    for function in [authorizer, *subscribers]:
        if function is not None and not callable(function):
            raise InvalidInputError(f"an authorizer or subscriber is a function, not a `{type(function).__name__}`")
    if clock is not None and not isinstance(clock, ManualClock):
        raise InvalidInputError(f"`clock` is a ManualClock, not a value of type `{type(clock).__name__}`")
    parts: dict[str, Any] = {
        "tools": tool_parts,
        "connectors": connector_parts,
        "models": model_parts,
        "scripted": scripted,
        "authorizer": None if authorizer is None else bridge.add(AuthorizerFunction(authorizer)),
        "subscribers": [bridge.add(SubscriberFunction(subscriber)) for subscriber in subscribers],
        "bench": bench,
        "clock": None if clock is None else clock._native,
    }
    for name, value in (secrets or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            # Without the value: it is a secret.
            raise InvalidInputError("`secrets` maps names of environment variables to text")
    return _native.open(config, dict(secrets or {}), weakref.ref(bridge), parts)
