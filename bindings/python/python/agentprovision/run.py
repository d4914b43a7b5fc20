"""Runs: starting them, following them, and how they ended. Sessions are runs that remember each other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import _native
from ._codec import arguments, decode, ident
from ._service import Stream, Page, Service, check, pages
from ._types import (
    AgentRecord,
    Answer,
    Chain,
    Journal,
    OnDisconnect,
    OutcomeRecord,
    RunEvent,
    RunEventApprovalAnswered,
    RunEventApprovalRequested,
    RunEventCancelRequested,
    RunEventFinished,
    RunEventRestarted,
    RunEventStarted,
    RunEventStepFinished,
    RunEventStepStarted,
    RunEventText,
    RunRecord,
    RunStatus,
    SessionRecord,
)
from ._wait import settle
from .context import Context
from .error import IncompleteError, InvalidInputError, of_kind

if TYPE_CHECKING:
    from .platform import Platform

__all__ = [
    "Chain",
    "Journal",
    "Outcome",
    "Run",
    "RunEvent",
    "RunEventApprovalAnswered",
    "RunEventApprovalRequested",
    "RunEventCancelRequested",
    "RunEventFinished",
    "RunEventRestarted",
    "RunEventStarted",
    "RunEventStepFinished",
    "RunEventStepStarted",
    "RunEventText",
    "RunRecord",
    "RunStatus",
    "RunStream",
    "Runs",
    "Session",
    "SessionRecord",
    "Sessions",
]


def _input(input: object) -> dict[str, object]:
    """Text, or a value for an agent with an input schema."""
    if input is None:
        raise InvalidInputError("`input` is None; give text, or a value for an agent with an input schema")
    return {"text": input} if isinstance(input, str) else {"json": input}


def _start(
    agent: str | AgentRecord,
    input: object,
    idempotency_key: str | None,
    session: str | SessionRecord | Session | None,
    deadline: datetime | str | None,
    on_behalf_of: str | None,
    on_disconnect: OnDisconnect | None,
) -> dict[str, object]:
    """The arguments of a start."""
    return {
        "agent": ident(agent, "agent"),
        "input": _input(input),
        "idempotency_key": idempotency_key,
        "session": None if session is None else ident(session, "session"),
        "deadline": deadline,
        "on_behalf_of": on_behalf_of,
        "on_disconnect": on_disconnect,
    }


class Outcome:
    """How a run ended."""

    __slots__ = ("_answer", "chain", "record")

    record: RunRecord
    """The record of the run."""
    chain: Chain
    """Every step: what, how long, tokens, cost."""

    def __init__(self, outcome: OutcomeRecord) -> None:
        self.record, self.chain, self._answer = outcome.record, outcome.chain, outcome.answer

    @property
    def status(self) -> RunStatus:
        """How it ended."""
        return self.record.status

    @property
    def text(self) -> str:
        """The answer of a completed run. Raises the error another one ended with."""
        if self._answer is not None:
            return self._answer
        error = self.record.error
        if error is None:
            raise IncompleteError("the run has no output")
        raise of_kind(error.kind, error.message, operation="runs.start")

    def output(self) -> Any:
        """The answer as a value, for an agent with an output schema."""
        try:
            return json.loads(self.text)
        except json.JSONDecodeError as error:
            raise InvalidInputError(f"the answer is not JSON: {error}") from error

    def __repr__(self) -> str:
        return f"Outcome(run={self.record.id!r}, status={self.status!r})"


class RunStream(Stream[RunEvent]):
    """The events of a run, up to its end."""

    run: Run | None
    """The run, once it has started."""

    def __init__(
        self, open: Callable[[], _native.Op | _native.Stream], start: Callable[[_native.Run], Run] | None = None
    ) -> None:
        super().__init__(RunEvent, open)
        self.run = None
        self._start = start

    def _opened(self, answer: Any) -> _native.Stream:
        if self._start is None:
            return super()._opened(answer)
        self.run = self._start(answer)
        return self.run._native.events()

    def __aiter__(self) -> RunStream:
        return self

    async def __aenter__(self) -> RunStream:
        return self

    async def aclose(self) -> None:
        """Stops following. The run goes on, unless it was started with `on_disconnect="cancel"`."""
        await super().aclose()


class Run:
    """A handle on a run. Dropping it does nothing to the run, unless that was started with `on_disconnect="cancel"`."""

    __slots__ = ("__weakref__", "_ctx", "_native", "_platform")

    def __init__(self, platform: Platform, ctx: Context, native: _native.Run) -> None:
        self._platform = platform
        self._ctx = ctx
        self._native = native

    @property
    def id(self) -> str:
        """The id."""
        return self._native.id

    def events(self, *, after: str | None = None) -> RunStream:
        """Its events from the beginning, or after the `cursor` of one, up to its end."""

        stream = RunStream(lambda: self._native.events(after))
        stream.run = self
        return stream

    def __aiter__(self) -> RunStream:
        return self.events()

    async def wait(self) -> Outcome:
        """Waits for its end; a run that failed is an outcome, not an error. Cancelling the wait leaves the run alone."""
        return Outcome(decode(OutcomeRecord, await settle(self._native.wait())))

    async def record(self) -> RunRecord:
        """Where it stands."""
        return await self._platform.runs.record(self._ctx, self.id)

    async def chain(self) -> Chain:
        """Its steps so far."""
        return await self._platform.runs.chain(self._ctx, self.id)

    async def journal(self) -> Journal:
        """Its verified journal."""
        return await self._platform.runs.journal(self._ctx, self.id)

    async def cancel(self) -> None:
        """Asks for it to end: the steps under way are cancelled."""
        await self._platform.runs.cancel(self._ctx, self.id)

    async def approve(self, request: RunEventApprovalRequested, answer: Answer = "approve") -> None:
        """Answers what an event asked for, with exactly its arguments."""
        await self._platform.runs.approve(self._ctx, self.id, request.approval, request.args_hash, answer)

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a Run belongs to its platform and cannot be pickled; send its id instead")


class Runs(Service):
    """Runs of a tenant's agents."""

    __slots__ = ()

    def _begin(self, ctx: Context, name: str, given: Mapping[str, object]) -> _native.Op:
        check(ctx, Context)
        return self._platform._native.start(ctx, name, arguments(name, given))

    async def _run(self, ctx: Context, name: str, given: Mapping[str, object]) -> Run:
        return Run(self._platform, ctx, await settle(self._begin(ctx, name, given)))

    async def start(
        self,
        ctx: Context,
        agent: str | AgentRecord,
        input: Any,
        *,
        idempotency_key: str | None = None,
        session: str | SessionRecord | Session | None = None,
        deadline: datetime | str | None = None,
        on_behalf_of: str | None = None,
        on_disconnect: OnDisconnect | None = None,
    ) -> Run:
        """Starts a run of the live version.

        Args:
            ctx: On whose behalf.
            agent: The agent.
            input: Text, or a value for an agent with an input schema.
            idempotency_key: A second start of the same agent with the same key and input gives the same run.
            session: The session the run is a turn of.
            deadline: When it must be over, if before what the agent allows.
            on_behalf_of: Another user the caller acts for; recorded with the run.
            on_disconnect: `cancel` ends the run when nobody follows it any more; default `continue`.
        """
        given = _start(agent, input, idempotency_key, session, deadline, on_behalf_of, on_disconnect)
        return await self._run(ctx, "runs.start", given)

    def stream(
        self,
        ctx: Context,
        agent: str | AgentRecord,
        input: Any,
        *,
        idempotency_key: str | None = None,
        session: str | SessionRecord | Session | None = None,
        deadline: datetime | str | None = None,
        on_behalf_of: str | None = None,
        on_disconnect: OnDisconnect | None = None,
    ) -> RunStream:
        """Starts a run, with the options of `start`, when the first event is asked for, and follows it."""

        def open() -> _native.Op:
            given = _start(agent, input, idempotency_key, session, deadline, on_behalf_of, on_disconnect)
            return self._begin(ctx, "runs.start", given)

        return RunStream(open, lambda native: Run(self._platform, ctx, native))

    async def get(self, ctx: Context, run: str | RunRecord | Run) -> Run:
        """A handle on a run."""
        return await self._run(ctx, "runs.get", {"run": ident(run, "run")})

    async def record(self, ctx: Context, run: str | RunRecord | Run) -> RunRecord:
        """Where a run stands."""
        return await self._get(RunRecord, ctx, "runs.record", {"run": ident(run, "run")})

    async def list(
        self,
        ctx: Context,
        *,
        agent: str | AgentRecord | None = None,
        session: str | SessionRecord | Session | None = None,
        status: RunStatus | None = None,
        idempotency_key: str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Page[RunRecord]:
        """A page of runs, of `limit` items (1 to 100, default 20)."""
        given = {
            "agent": None if agent is None else ident(agent, "agent"),
            "session": None if session is None else ident(session, "session"),
            "status": status,
            "idempotency_key": idempotency_key,
            "limit": limit,
            "after": after,
        }
        return await self._page(RunRecord, ctx, "runs.list", given)

    def iterate(
        self,
        ctx: Context,
        *,
        agent: str | AgentRecord | None = None,
        session: str | SessionRecord | Session | None = None,
        status: RunStatus | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[RunRecord]:
        """All such runs, page by page."""
        return pages(
            lambda after: self.list(ctx, agent=agent, session=session, status=status, limit=limit, after=after)
        )

    def events(self, ctx: Context, run: str | RunRecord | Run, *, after: str | None = None) -> RunStream:
        """The events of a run from the beginning, or after the `cursor` of one, up to its end."""

        return RunStream(lambda: self._stream(ctx, "runs.events", {"run": ident(run, "run"), "after": after}))

    async def chain(self, ctx: Context, run: str | RunRecord | Run) -> Chain:
        """The steps of a run: what, how long, tokens, cost."""
        return await self._get(Chain, ctx, "runs.chain", {"run": ident(run, "run")})

    async def journal(self, ctx: Context, run: str | RunRecord | Run) -> Journal:
        """The verified journal of a run."""
        return await self._get(Journal, ctx, "runs.journal", {"run": ident(run, "run")})

    async def cancel(self, ctx: Context, run: str | RunRecord | Run) -> None:
        """Asks for a run to end: the steps under way are cancelled."""
        await self._call(ctx, "runs.cancel", {"run": ident(run, "run")})

    async def approve(
        self,
        ctx: Context,
        run: str | RunRecord | Run,
        approval: str,
        args_hash: str,
        answer: Answer = "approve",
    ) -> None:
        """Answers an approval, for exactly the arguments of this hash."""
        given = {"run": ident(run, "run"), "approval": approval, "args_hash": args_hash, "answer": answer}
        await self._call(ctx, "runs.approve", given)


class Session:
    """A session with an agent: its runs remember each other, one at a time."""

    __slots__ = ("_ctx", "_platform", "record")

    record: SessionRecord
    """The record, as of when the handle was made."""

    def __init__(self, platform: Platform, ctx: Context, record: SessionRecord) -> None:
        self._platform = platform
        self._ctx = ctx
        self.record = record

    @property
    def id(self) -> str:
        """The id."""
        return self.record.id

    async def send(
        self,
        input: Any,
        *,
        idempotency_key: str | None = None,
        deadline: datetime | str | None = None,
        on_behalf_of: str | None = None,
        on_disconnect: OnDisconnect | None = None,
    ) -> Run:
        """Takes a turn: starts a run with the options of `Runs.start`."""
        given = {
            "session": self.id,
            "input": _input(input),
            "idempotency_key": idempotency_key,
            "deadline": deadline,
            "on_behalf_of": on_behalf_of,
            "on_disconnect": on_disconnect,
        }
        return await self._platform.runs._run(self._ctx, "sessions.send", given)

    def __repr__(self) -> str:
        return f"Session({self.id!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a Session belongs to its platform and cannot be pickled; send its id instead")


class Sessions(Service):
    """Sessions with agents."""

    __slots__ = ()

    async def open(self, ctx: Context, agent: str | AgentRecord) -> Session:
        """Opens a session with an agent."""
        record = await self._get(SessionRecord, ctx, "sessions.open", {"agent": ident(agent, "agent")})
        return Session(self._platform, ctx, record)

    async def get(self, ctx: Context, session: str | SessionRecord | Session) -> Session:
        """A session of the caller's own."""
        record = await self._get(SessionRecord, ctx, "sessions.get", {"session": ident(session, "session")})
        return Session(self._platform, ctx, record)

    async def list(
        self, ctx: Context, *, limit: int | None = None, after: str | None = None
    ) -> Page[SessionRecord]:
        """A page of sessions, of `limit` items (1 to 100, default 20)."""
        return await self._page(SessionRecord, ctx, "sessions.list", {"limit": limit, "after": after})

    def iterate(self, ctx: Context, *, limit: int | None = None) -> AsyncIterator[SessionRecord]:
        """All sessions, page by page."""
        return pages(lambda after: self.list(ctx, limit=limit, after=after))
