"""Chat models in Python."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Union

from ._types import ChatEventArgs as ChatEvent
from ._types import (
    ChatRequest,
    ContentDocument,
    ContentImage,
    ContentText,
    Continuation,
    Message,
    MessageAssistant,
    MessageSystem,
    MessageTool,
    MessageUser,
    ToolDefinition,
    Usage,
)
from ._types import ModelAnswerArgs as ModelAnswer
from ._types import ModelPriceArgs as ModelPrice
from .context import Context
from .error import InvalidInputError

__all__ = [
    "ChatEvent",
    "ChatRequest",
    "ContentDocument",
    "ContentImage",
    "ContentText",
    "Continuation",
    "Message",
    "MessageAssistant",
    "MessageSystem",
    "MessageTool",
    "MessageUser",
    "Model",
    "ModelAnswer",
    "ModelPrice",
    "ToolDefinition",
    "Usage",
    "model",
]

Piece = Union[str, ChatEvent]
"""A piece of a streamed answer: more text, or an event."""
Answer = Union[str, ModelAnswer]
"""A whole answer: text, or text, tool calls and token counts."""
Respond = Callable[
    [Context, ChatRequest], Union[Answer, Awaitable[Answer], AsyncIterator[Piece], Iterator[Piece]]
]


class Model:
    """A chat model of the host: a name, and a function of the context and the request.

    The function gives text, a `ModelAnswer`, or, as a generator, pieces; it may be sync or async.
    """

    name: str
    """The name agents use."""

    def __init__(
        self,
        name: str,
        respond: Respond,
        *,
        provider: str | None = None,
        price: ModelPrice | None = None,
        context_window: int | None = None,
        max_output_tokens: int | None = None,
    ) -> None:
        if not callable(respond):
            raise InvalidInputError(f"the model `{name}` needs a function, not a `{type(respond).__name__}`")
        self.name = name
        self.respond = respond
        self._info = {
            "provider": provider,
            "price": price,
            "context_window": context_window,
            "max_output_tokens": max_output_tokens,
        }

    def info(self) -> Mapping[str, Any]:
        """What the platform is told of it."""
        return {"name": self.name, **{key: value for key, value in self._info.items() if value is not None}}

    def __repr__(self) -> str:
        return f"Model({self.name!r})"


def model(
    name: str,
    *,
    provider: str | None = None,
    price: ModelPrice | None = None,
    context_window: int | None = None,
    max_output_tokens: int | None = None,
) -> Callable[[Respond], Model]:
    """Makes a function of the context and the request a chat model: `@model("mine")`.

    Args:
        name: The name agents use.
        provider: The provider's name in records; default `host`.
        price: US dollars per million tokens, as decimal text; without one an agent with a limit on cost is refused.
        context_window: Longest input and output together, in tokens.
        max_output_tokens: Longest output, in tokens.
    """
    return lambda respond: Model(
        name,
        respond,
        provider=provider,
        price=price,
        context_window=context_window,
        max_output_tokens=max_output_tokens,
    )


def of(given: object) -> Model:
    """A model from what the host gave: a `Model`, or an object with a name and `complete` or `stream`."""
    if isinstance(given, Model):
        return given
    name = getattr(given, "name", None)
    respond: Any = getattr(given, "stream", None) or getattr(given, "complete", None)
    if not isinstance(name, str) or respond is None:
        raise InvalidInputError(
            f"a model has a `name` and a method `complete` or `stream`, which `{type(given).__name__}` has not"
        )
    info = {key: getattr(given, key, None) for key in ("provider", "price", "context_window", "max_output_tokens")}
    return Model(name, respond, **info)
