"""For tests of your own agents: a manual clock and a model whose answers are written down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict, cast

from . import _native
from ._codec import dumps, load
from ._types import ChatRequest
from .error import AgentProvisionError
from .model import ModelPrice

__all__ = ["ManualClock", "Reply", "ScriptedModel", "broken", "fail", "stall", "text", "tools"]


class Reply(TypedDict, total=False):
    """One answer of a `ScriptedModel`; `text`, `tools`, `fail`, `broken` and `stall` make them."""

    text: str
    tools: list[tuple[str, Any]]
    fail: dict[str, str]
    stall: str
    cut_off: tuple[str, str]


def text(words: str) -> Reply:
    """Text, streamed word by word."""
    return {"text": words}


def tools(*calls: tuple[str, Mapping[str, Any]], text: str | None = None) -> Reply:
    """Tool calls, name and arguments each, after some text if given."""
    reply: Reply = {"tools": list(calls)}
    if text is not None:
        reply["text"] = text
    return reply


def fail(error: AgentProvisionError) -> Reply:
    """A failure before the first piece."""
    return {"fail": {"code": error.code, "message": error.message}}


def broken(words: str, error: AgentProvisionError) -> Reply:
    """Some text, then a failure."""
    # A word of the language is no field of a class.
    return cast(Reply, {"break": [words, {"code": error.code, "message": error.message}]})


def stall(words: str) -> Reply:
    """Some text, and then nothing for ever."""
    return {"stall": words}


class ScriptedModel:
    """A model that gives these answers in order, and fails with `unavailable` when there are no more."""

    def __init__(self, name: str, replies: Iterable[Reply | Mapping[str, Any]], *, price: ModelPrice | None = None) -> None:
        given: dict[str, Any] = {"name": name, "replies": list(replies)}
        if price is not None:
            given["price"] = price
        self._native = _native.ScriptedModel(name, dumps(given, "the scripted model"))

    @property
    def name(self) -> str:
        """The name agents use."""
        return self._native.name

    def requests(self) -> list[ChatRequest]:
        """Every request so far."""
        return [load(ChatRequest, json.loads(request)) for request in self._native.requests()]


class ManualClock:
    """A clock that stands still until it is told, and randomness that depends on a seed alone."""

    def __init__(self, start: datetime | str, *, seed: int = 0) -> None:
        self._native = _native.ManualClock(dumps({"start": start, "seed": seed}, "the clock"))

    def advance(self, time: timedelta | float) -> None:
        """Lets time pass, in seconds or as a `timedelta`."""
        seconds = time.total_seconds() if isinstance(time, timedelta) else time
        self._native.advance(round(seconds * 1000))

    def now(self) -> datetime:
        """What time it is."""
        now: datetime = load(datetime, self._native.now())
        return now
