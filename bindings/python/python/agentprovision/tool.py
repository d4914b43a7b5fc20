"""Tools in Python: a function, its schema from type hints and docstring, its effect from you."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Generic, Literal, ParamSpec, TypeVar, get_type_hints, overload

from . import _native, _schema
from ._blocking import ToolCall as BlockingCall
from ._call import ToolCall
from .error import InvalidInputError

P = ParamSpec("P")
R = TypeVar("R")

Effect = Literal["unsafe", "pure", "idempotent", "transactional"]
"""What recovery may do with a call that was interrupted: nothing (the default), or repeat it, see the README."""
Approval = Literal["never", "always"]
"""Whether a person has to agree to each call."""

__all__ = ["Approval", "Effect", "Tool", "ToolCall", "tool"]


class Tool(Generic[P, R]):
    """A function agents may call. Calling it calls the function."""

    name: str
    """The name agents and models use."""
    description: str
    """What it does, for the model."""
    input_schema: dict[str, Any]
    """JSON Schema of its arguments."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        effect: Effect = "unsafe",
        timeout: float | timedelta | None = None,
        approval: Approval = "never",
        permission: str | None = None,
    ) -> None:
        if not callable(function):
            raise InvalidInputError(f"a tool is a function, not a value of type `{type(function).__name__}`")
        self.function = function
        functools.update_wrapper(self, function)
        self.name = name if name is not None else getattr(function, "__name__", type(function).__name__)
        about, parameters = _schema.documentation(function)
        self.description = about if description is None else description
        self.effect: Effect = effect
        self.approval: Approval = approval
        self.permission = permission
        if isinstance(timeout, timedelta):
            timeout = timeout.total_seconds()
        if timeout is not None and not timeout > 0:
            raise InvalidInputError(f"the timeout of the tool `{self.name}` is not above 0")
        self.timeout = timeout
        self._converters: dict[str, _schema.Convert | None] = {}
        if input_schema is None:
            self.input_schema, self._call, self._converters = _signature(function, self.name, parameters)
        else:
            self.input_schema = dict(input_schema)
            first = next(iter(inspect.signature(function).parameters.values()), None)
            hint = None if first is None else hints_of(function, f"the tool `{self.name}`").get(first.name)
            self._call = _call_of(hint)
        self._check_call()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Tool({self.name!r}, effect={self.effect!r})"

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        target: Any = self.function
        while isinstance(target, functools.partial):
            target = target.func
        return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(getattr(target, "__call__", None))

    def _check_call(self) -> None:
        """Refuses a call the function could not use: its transaction would never be awaited, or block the loop."""
        later = self.is_async or inspect.iscoroutinefunction(inspect.unwrap(self.function))
        if self._call is ToolCall and not later:
            raise InvalidInputError(f"the tool `{self.name}` is not async: it takes an `agentprovision.sync.ToolCall`")
        if self._call is BlockingCall and later:
            raise InvalidInputError(f"the tool `{self.name}` is async: it takes an `agentprovision.ToolCall`")

    def spec(self) -> dict[str, Any]:
        """What the platform is told of it."""
        spec: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "input_schema": self.input_schema,
            "effect": self.effect,
            "approval": self.approval,
            "permission": self.permission,
        }
        if self.timeout is not None:
            spec["timeout_ms"] = max(1, round(self.timeout * 1000))
        return spec

    def bind(self, call: _native.Call, arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and named arguments for a call, in the types of the hints."""
        named = {}
        for name, value in arguments.items():
            convert = self._converters.get(name)
            named[name] = value if convert is None else convert(value)
        return (() if self._call is None else (self._call(call),)), named


Call = type[ToolCall] | type[BlockingCall] | None
"""What a tool wants to have of its call, if anything."""


def _call_of(hint: object) -> Call:
    return hint if isinstance(hint, type) and issubclass(hint, (ToolCall, BlockingCall)) else None


def hints_of(function: Callable[..., Any], what: str) -> dict[str, Any]:
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        return get_type_hints(target, include_extras=True)
    except NameError as error:
        raise _schema.UnsupportedHint(f"a type hint of {what} cannot be resolved: {error}") from error


def _signature(
    function: Callable[..., Any], tool: str, about: dict[str, str]
) -> tuple[dict[str, Any], Call, dict[str, _schema.Convert | None]]:
    hints = hints_of(function, f"the tool `{tool}`")
    parameters = list(inspect.signature(function).parameters.values())
    call: Call = None
    if parameters:
        call = _call_of(hints.get(parameters[0].name, parameters[0].annotation))
    schema, converters = arguments(parameters if call is None else parameters[1:], hints, tool, about)
    return schema, call, converters


def arguments(
    parameters: list[inspect.Parameter], hints: Mapping[str, Any], what: str, about: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, _schema.Convert | None]]:
    """The schema of what a function is given by name, and what makes JSON values of the hints' types."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    converters: dict[str, _schema.Convert | None] = {}
    defs = _schema.Definitions()
    for parameter in parameters:
        name = parameter.name
        hint = hints.get(name, parameter.annotation)
        where = f"{what}({name})"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise _schema.UnsupportedHint(f"`{where}` cannot be given by name")
        if hint is parameter.empty:
            raise _schema.UnsupportedHint(f"`{where}` has no type hint")
        schema, converters[name] = _schema.describe(hint, where, defs)
        if name in about and "description" not in schema:
            schema["description"] = about[name]
        properties[name] = schema
        if parameter.default is parameter.empty:
            required.append(name)
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if defs.schemas:
        schema["$defs"] = defs.schemas
    return schema, converters


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    input_schema: Mapping[str, Any] | None = None,
    effect: Effect = "unsafe",
    timeout: float | timedelta | None = None,
    approval: Approval = "never",
    permission: str | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(function: Any = None, /, **options: Any) -> Any:
    """Makes a function a tool: `@tool`, or `@tool(effect="idempotent", timeout=5)`.

    The name is the function's, the description the first paragraph of its docstring, the schema of its arguments comes
    from its type hints, with descriptions from the docstring's `Args:` or `Annotated[...]`. The function may be sync or
    async; a sync one runs in a thread. A first parameter annotated `ToolCall`, or `agentprovision.sync.ToolCall` in a
    sync function, gets the call.

    Args:
        name: Another name, 1 to 64 of `a-z A-Z 0-9 _ -`.
        description: Another description.
        input_schema: A JSON Schema of your own; the function then gets the arguments as plain data.
        effect: What calling it does to the world; default `unsafe`, which is never repeated.
        timeout: The longest a call may take, in seconds or as a `timedelta`; default 60 s.
        approval: `always` makes a run wait for a person before each call.
        permission: A permission the caller needs, and the agent among its capabilities.
    """
    if function is not None:
        return Tool(function, **options)
    return lambda function: Tool(function, **options)
