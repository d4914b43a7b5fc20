"""Models without an agent: asked by a user, with what was spent.

Generated from `agentprovision.models` by `scripts/sync_from_async.py`; do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

from .._codec import decode
from ._service import Service, Stream
from .._types import (
    AnsweredChatResponse,
    AnsweredEmbedResponse,
    AnsweredRerankResponse,
    Attempt,
    Comparison,
    EmbedPurpose,
    MessageDict,
    ModelEntry,
    ModelEvent,
    ModelEventContinuation,
    ModelEventFinished,
    ModelEventReasoning,
    ModelEventRefusal,
    ModelEventSpent,
    ModelEventStarted,
    ModelEventText,
    ModelEventToolCall,
    ModelEventUsage,
    RouteDecision,
    RouteHintsDict,
    ToolChoiceDict,
    ToolDefinitionDict,
)
from ..context import Context

__all__ = [
    "AnsweredChatResponse",
    "AnsweredEmbedResponse",
    "AnsweredRerankResponse",
    "Attempt",
    "Comparison",
    "MessageDict",
    "ModelEntry",
    "ModelEvent",
    "ModelEventContinuation",
    "ModelEventFinished",
    "ModelEventReasoning",
    "ModelEventRefusal",
    "ModelEventSpent",
    "ModelEventStarted",
    "ModelEventText",
    "ModelEventToolCall",
    "ModelEventUsage",
    "Models",
    "RouteDecision",
    "RouteHintsDict",
    "ToolDefinitionDict",
]

Conversation = Union[str, Sequence[Union[MessageDict, Mapping[str, Any]]]]
"""What a user says, or the messages so far."""
Names = list[str]
Entries = list[ModelEntry]


def _ask(
    model: str,
    messages: Conversation,
    tools: Sequence[ToolDefinitionDict] | None,
    tool_choice: ToolChoiceDict | None,
    temperature: float | None,
    max_tokens: int | None,
    output_schema: Mapping[str, Any] | None,
    stop: Sequence[str] | None,
    seed: int | None,
    extra: Mapping[str, Any] | None,
    route: RouteHintsDict | None,
) -> dict[str, object]:
    """The arguments of a request."""
    return {
        "model": model,
        "messages": messages,
        "tools": tools,
        "tool_choice": tool_choice,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "output_schema": output_schema,
        "stop": stop,
        "seed": seed,
        "extra": extra,
        "route": route,
    }


class Models(Service):
    """Models and routes. What a request used counts as usage of the tenant, whatever became of the answer."""

    __slots__ = ()

    def names(self) -> Names:
        """The names agents may use, of all tenants' models."""
        return self._platform._native.models()

    def list(self, ctx: Context) -> Entries:
        """The routes, the models of the host's own, and those the catalogue knows of its providers, as far as the tenant
        may use them. Other models of a provider can be asked by `provider/model`."""
        return decode(Entries, self._call(ctx, "models.list", {}))

    def explain(
        self,
        ctx: Context,
        model: str,
        messages: Conversation,
        *,
        tools: Sequence[ToolDefinitionDict] | None = None,
        tool_choice: ToolChoiceDict | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        output_schema: Mapping[str, Any] | None = None,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
        extra: Mapping[str, Any] | None = None,
        route: RouteHintsDict | None = None,
    ) -> RouteDecision:
        """Who would be asked, in which order, and why not the others; asks nobody. Arguments as of `complete`."""
        given = _ask(
            model, messages, tools, tool_choice, temperature, max_tokens, output_schema, stop, seed, extra, route
        )
        return self._get(RouteDecision, ctx, "models.explain", given)

    def complete(
        self,
        ctx: Context,
        model: str,
        messages: Conversation,
        *,
        tools: Sequence[ToolDefinitionDict] | None = None,
        tool_choice: ToolChoiceDict | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        output_schema: Mapping[str, Any] | None = None,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
        extra: Mapping[str, Any] | None = None,
        route: RouteHintsDict | None = None,
    ) -> AnsweredChatResponse:
        """A whole answer, and what was spent on it. Cancelling the wait ends the request.

        Args:
            ctx: On whose behalf.
            model: The name of the model or the route.
            messages: What the user says, or the conversation so far.
            tools: Tools the model may call; the caller runs them.
            tool_choice: `auto`, `none`, `required`, or `{"tool": name}`.
            temperature: Sampling temperature; the provider's default where absent.
            max_tokens: Longest answer in tokens; the provider's default where absent.
            output_schema: JSON Schema the answer must match.
            stop: Sequences that end the answer.
            seed: Seed for repeatable sampling, where the provider has it.
            extra: Fields of the provider's own wire format, passed through unchanged.
            route: What the caller says about who answers: fallbacks, strategy, affinity, attempts, cache.
        """
        given = _ask(
            model, messages, tools, tool_choice, temperature, max_tokens, output_schema, stop, seed, extra, route
        )
        return self._get(AnsweredChatResponse, ctx, "models.complete", given)

    def stream(
        self,
        ctx: Context,
        model: str,
        messages: Conversation,
        *,
        tools: Sequence[ToolDefinitionDict] | None = None,
        tool_choice: ToolChoiceDict | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        output_schema: Mapping[str, Any] | None = None,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
        extra: Mapping[str, Any] | None = None,
        route: RouteHintsDict | None = None,
    ) -> Stream[ModelEvent]:
        """The answer in pieces, with the arguments of `complete`, and then what was spent. Ending it ends the request."""

        def given() -> dict[str, object]:
            return _ask(
                model, messages, tools, tool_choice, temperature, max_tokens, output_schema, stop, seed, extra, route
            )

        return Stream(ModelEvent, lambda: self._stream(ctx, "models.stream", given()))

    def compare(
        self,
        ctx: Context,
        models: Sequence[str],
        messages: Conversation,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        output_schema: Mapping[str, Any] | None = None,
        repetitions: int | None = None,
        timeout_ms: int | None = None,
        concurrency: int | None = None,
        score: Mapping[str, Any] | None = None,
    ) -> Comparison:
        """Asks several models the same, side by side, and says which to take, and why.

        Args:
            ctx: On whose behalf.
            models: The names of the models or routes, at most 64.
            messages: What the user says, or the conversation so far.
            temperature: Sampling temperature; the provider's default where absent.
            max_tokens: Longest answer in tokens; the provider's default where absent.
            output_schema: JSON Schema the answers must match.
            repetitions: How often each model is asked, at most 100; default 1.
            timeout_ms: When everything is over; what has no answer by then has failed. Default 120000.
            concurrency: How many requests run at one time; default 16.
            score: `{"exact": text}`, `{"contains": [text, ...]}` or `{"pattern": regular expression}`; not scored where
                absent.
        """
        given = {
            "models": models,
            "messages": messages,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "output_schema": output_schema,
            "repetitions": repetitions,
            "timeout_ms": timeout_ms,
            "concurrency": concurrency,
            "score": score,
        }
        return self._get(Comparison, ctx, "models.compare", given)

    def embed(
        self,
        ctx: Context,
        model: str,
        inputs: Sequence[str],
        *,
        purpose: EmbedPurpose | None = None,
        dimensions: int | None = None,
        extra: Mapping[str, Any] | None = None,
        route: RouteHintsDict | None = None,
    ) -> AnsweredEmbedResponse:
        """The vectors of texts, in their order, and what was spent."""
        given = {
            "model": model,
            "inputs": inputs,
            "purpose": purpose,
            "dimensions": dimensions,
            "extra": extra,
            "route": route,
        }
        return self._get(AnsweredEmbedResponse, ctx, "models.embed", given)

    def rerank(
        self,
        ctx: Context,
        model: str,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        extra: Mapping[str, Any] | None = None,
        route: RouteHintsDict | None = None,
    ) -> AnsweredRerankResponse:
        """Documents in the order of how well they answer a query, the best first, and what was spent."""
        given = {
            "model": model,
            "query": query,
            "documents": documents,
            "top_n": top_n,
            "extra": extra,
            "route": route,
        }
        return self._get(AnsweredRerankResponse, ctx, "models.rerank", given)
