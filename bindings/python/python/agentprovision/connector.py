"""Connectors in Python: a class, and its operations as methods with type hints."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Concatenate, Generic, Literal, ParamSpec, TypeVar, Union, cast, overload

from . import _native, _schema
from ._blocking import ConnectorCall as BlockingCall
from ._call import ConnectorCall
from ._exchange import Credentials, Param, Response
from ._types import ConnectorAuthArgs as ConnectorAuth
from .error import InvalidInputError
from .tool import arguments, hints_of

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")

Effect = Literal["read", "write", "destroy"]
"""What an operation does to what its service keeps. A person must agree before an agent destroys something."""
Idempotency = Literal["natural", "none"]
"""Whether an operation can be repeated when its end is not known: doing it twice is doing it once, or it is not."""
Auth = Union[Literal["bearer", "basic"], ConnectorAuth]
"""How requests prove who asks: `bearer` with the credential `token`, `basic` with `username` and `password`, or a mapping
such as `{"type": "header", "header": "x-api-key"}`, whose credential is `key`."""

__all__ = [
    "Auth",
    "Connector",
    "ConnectorAuth",
    "ConnectorCall",
    "Credentials",
    "Effect",
    "Idempotency",
    "Operation",
    "Param",
    "Response",
    "operation",
]


class Operation(Generic[C, P, R]):
    """A method of a connector that is an operation. Calling it calls the method."""

    name: str
    """The name within the connector."""
    summary: str
    """What it does, for people and models."""
    input_schema: dict[str, Any]
    """JSON Schema of its input."""
    output_schema: Any
    """JSON Schema of its answer."""

    def __init__(
        self,
        function: Callable[Concatenate[C, P], R],
        *,
        name: str | None = None,
        summary: str | None = None,
        effect: Effect = "write",
        idempotency: Idempotency = "none",
        timeout: float | timedelta | None = None,
        scopes: Sequence[str] = (),
        units: int = 1,
        input_schema: Mapping[str, Any] | None = None,
        output_schema: Any = None,
    ) -> None:
        if not callable(function):
            raise InvalidInputError(f"an operation is a method, not a value of type `{type(function).__name__}`")
        self.function = function
        functools.update_wrapper(cast(Any, self), function)
        self.name = getattr(function, "__name__", type(function).__name__) if name is None else name
        about, documented = _schema.documentation(function)
        self.summary = about if summary is None else summary
        if isinstance(timeout, timedelta):
            timeout = timeout.total_seconds()
        if timeout is not None and not timeout > 0:
            raise InvalidInputError(f"the timeout of the operation `{self.name}` is not above 0")
        self._more = {"effect": effect, "idempotency": idempotency, "scopes": list(scopes), "units": units}
        if timeout is not None:
            self._more["timeout_ms"] = max(1, round(timeout * 1000))
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(function))
        parameters = list(inspect.signature(function).parameters.values())
        if len(parameters) < 2 or parameters[1].kind not in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            raise InvalidInputError(f"the operation `{self.name}` takes `self` and its call before its input")
        hints = hints_of(function, f"the operation `{self.name}`")
        self._check_call(hints.get(parameters[1].name))
        self._converters: dict[str, _schema.Convert | None] = {}
        if input_schema is None:
            self.input_schema, self._converters = arguments(parameters[2:], hints, self.name, documented)
        else:
            self.input_schema = dict(input_schema)
        self.output_schema = _output(hints, self.name) if output_schema is None else output_schema

    def _check_call(self, hint: object) -> None:
        """Refuses a call the method could not use: its requests would never be awaited, or block the loop."""
        if hint is ConnectorCall and not self.is_async:
            name = "agentprovision.sync.ConnectorCall"
            raise InvalidInputError(f"the operation `{self.name}` is not async: its call is an `{name}`")
        if hint is BlockingCall and self.is_async:
            raise InvalidInputError(f"the operation `{self.name}` is async: its call is an `agentprovision.ConnectorCall`")

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Operation[C, P, R]: ...

    @overload
    def __get__(self, instance: C, owner: type[Any]) -> Callable[P, R]: ...

    def __get__(self, instance: C | None, owner: type[Any]) -> Operation[C, P, R] | Callable[P, R]:
        return self if instance is None else functools.partial(self.function, instance)

    def __repr__(self) -> str:
        return f"Operation({self.name!r})"

    def spec(self) -> dict[str, Any]:
        """What the platform is told of it."""
        return {
            "name": self.name,
            "summary": self.summary,
            "input_schema": self.input_schema,
            "output_schema": self.output_schema,
            **self._more,
        }

    def begin(self, connector: object, native: _native.Call, given: Mapping[str, Any]) -> Any:
        """Calls the method for the platform, with its input in the types of the hints."""
        named = {}
        for name, value in given.items():
            convert = self._converters.get(name)
            named[name] = value if convert is None else convert(value)
        call: Any = ConnectorCall(native) if self.is_async else BlockingCall(native)
        function: Any = self.function
        return function(connector, call, **named)


def _output(hints: Mapping[str, Any], what: str) -> Any:
    """The schema of what a method returns; anything where it does not say."""
    if "return" not in hints:
        return True
    defs = _schema.Definitions()
    schema, _ = _schema.describe(hints["return"], f"{what}()", defs)
    return {**schema, "$defs": defs.schemas} if defs.schemas else schema


@overload
def operation(function: Callable[Concatenate[C, P], R], /) -> Operation[C, P, R]: ...


@overload
def operation(
    *,
    name: str | None = None,
    summary: str | None = None,
    effect: Effect = "write",
    idempotency: Idempotency = "none",
    timeout: float | timedelta | None = None,
    scopes: Sequence[str] = (),
    units: int = 1,
    input_schema: Mapping[str, Any] | None = None,
    output_schema: Any = None,
) -> Callable[[Callable[Concatenate[C, P], R]], Operation[C, P, R]]: ...


def operation(function: Any = None, /, **options: Any) -> Any:
    """Makes a method of a `Connector` an operation: `@operation`, or `@operation(name="tickets.get", effect="read")`.

    The method takes its call, a `ConnectorCall` or in a sync method an `agentprovision.sync.ConnectorCall`, and then its
    input by name. Schemas come from type hints, descriptions from the docstring, as those of a `tool`. A sync method runs
    in a thread. What it returns must match the hint: otherwise the call fails with `ProviderError`.

    Args:
        name: Another name than the method's: 1 to 64 of `a-z 0-9 _ .`.
        summary: Another description than the first paragraph of the docstring.
        effect: What it does to what the service keeps; default `write`.
        idempotency: `natural` where repeating it does no harm; otherwise one that failed halfway under a key is
            `UncertainError`, and not made again.
        timeout: The longest a call may take, in seconds or as a `timedelta`; default 30 s.
        scopes: What the credential has to be granted, in the service's words.
        units: What a call counts as on the meter `integration.calls`.
        input_schema: A JSON Schema of your own; the method then gets its input as plain data.
        output_schema: A JSON Schema of the answer.
    """
    if function is not None:
        return Operation(function, **options)
    return lambda function: Operation(function, **options)


class Connector:
    """A connector of your own: say in a subclass what it is called, how it proves who asks, and what it can do.

        class Desk(Connector):
            \"\"\"Tickets of the help desk.\"\"\"

            name = "desk"
            base_url = "https://desk.example/api"
            auth = "bearer"

            @operation(name="tickets.get", effect="read")
            async def get_ticket(self, call: ConnectorCall, number: int) -> dict[str, Any]:
                \"\"\"Gets a ticket.\"\"\"
                response = await call.send("GET", "/tickets/{number}", params={"number": number})
                return response.json()

    `Platform.open(connectors=["github", Desk()])` makes it known: tenants can make integrations of it, and its operations
    are tools of agents, as `desk_tickets_get`.
    """

    name: ClassVar[str]
    """The name: 1 to 32 of `a-z 0-9 -`."""
    title: ClassVar[str | None] = None
    """How people call the service; the name where absent."""
    version: ClassVar[str] = "1.0.0"
    """The version of this description."""
    base_url: ClassVar[str] = ""
    """The URL that `send` goes under, with settings in braces; the setting `base_url` of an integration replaces it."""
    auth: ClassVar[Auth | Sequence[Auth]] = ()
    """How `send` proves who asks; of several ways the first is the usual one."""
    credentials: ClassVar[Mapping[str, str]] = {}
    """Credentials that the methods use in a way of their own, with what they are; `auth` needs none here."""
    settings: ClassVar[Mapping[str, str | Mapping[str, Any]]] = {}
    """Settings of an integration, each with what it is, or its JSON Schema."""
    headers: ClassVar[Mapping[str, str]] = {}
    """Headers of every request of `send`."""
    whoami: ClassVar[tuple[str, str, str] | None] = None
    """How the account is found: an operation without input, and where its answer has the account's id and name, as JSON
    pointers, such as `("users.me", "/id", "/login")`."""

    @classmethod
    def operations(cls) -> dict[str, Operation[Any, Any, Any]]:
        """The operations, by name."""
        found: dict[str, Operation[Any, Any, Any]] = {}
        for attribute in dir(cls):
            given = inspect.getattr_static(cls, attribute)
            if isinstance(given, Operation):
                if given.name in found:
                    raise InvalidInputError(f"`{cls.__name__}` has two operations called `{given.name}`")
                found[given.name] = given
        return found

    def spec(self) -> dict[str, Any]:
        """What the platform is told of it."""
        own = type(self)
        if not isinstance(getattr(self, "name", None), str):
            raise InvalidInputError(f"the connector `{own.__name__}` has no `name`")
        ways = [self.auth] if isinstance(self.auth, (str, Mapping)) else list(self.auth)
        auth: list[Any] = [{"type": way} if isinstance(way, str) else way for way in ways]
        if self.credentials:
            fields = [{"name": name, "about": about} for name, about in self.credentials.items()]
            auth.append({"type": "own", "fields": fields})
        settings = {
            name: {"type": "string", "description": about} if isinstance(about, str) else about
            for name, about in self.settings.items()
        }
        spec: dict[str, Any] = {
            "name": self.name,
            "title": self.title,
            "summary": _schema.documentation(own)[0] if own.__doc__ else "",
            "version": self.version,
            "base_url": self.base_url,
            "settings": settings,
            "auth": auth,
            "headers": self.headers,
            "operations": [made.spec() for made in self.operations().values()],
        }
        if self.whoami is not None:
            spec["whoami"] = dict(zip(("operation", "id", "name"), self.whoami))
        return spec
