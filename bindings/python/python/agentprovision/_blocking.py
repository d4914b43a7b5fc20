"""One call of a tool, or of an operation of a connector, as it sees it.

Generated from `agentprovision._call` by `scripts/sync_from_async.py`; do not edit.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Union

from . import _native
from ._codec import dumps, load
from ._exchange import Credentials, Param, Response, request
from ._wait import block
from .context import Context
from .error import InvalidInputError

Value = Union[None, bool, int, float, str, bytes]
"""What a statement can be given, and what a row holds."""


class Transaction:
    """The transaction of a transactional tool's step: what is written commits with the step's result, or not at all.

    `$1` is the tenant's id; parameters are `$2`, `$3`, and so on. Statement text must not be made of input.
    """

    __slots__ = ("_native",)

    def __init__(self, native: _native.Call) -> None:
        self._native = native

    def execute(self, sql: str, *parameters: Value) -> int:
        """Runs a statement; gives the number of rows it changed."""
        rows: int = json.loads(block(self._native.tx_execute(_statement(sql, parameters))))
        return rows

    def query(self, sql: str, *parameters: Value) -> list[list[Any]]:
        """Runs a query; gives its rows, each as long as its columns."""
        rows = json.loads(block(self._native.tx_query(_statement(sql, parameters))))
        return [[_value(value) for value in row] for row in rows]


def _statement(sql: str, parameters: Sequence[Value]) -> str:
    given = [_parameter(place, value) for place, value in enumerate(parameters, 2)]
    return dumps({"sql": sql, "params": given}, "the parameters of a statement")


def _parameter(place: int, value: Value) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    # The exact types: anything else would be written in a form nobody chose.
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise InvalidInputError(
        f"the parameter `${place}` is a `{type(value).__name__}`, not None, bool, int, float, str or bytes"
    )


def _value(value: Any) -> Any:
    return base64.b64decode(value["$bytes"]) if isinstance(value, dict) else value


class ToolCall:
    """A call: on whose behalf, in which run, until when."""

    __slots__ = ("_native",)

    def __init__(self, native: _native.Call) -> None:
        self._native = native

    @property
    def ctx(self) -> Context:
        """The caller's grants within the agent's."""
        ctx = self._native.ctx
        assert ctx is not None
        return ctx

    @property
    def run(self) -> str:
        """The id of the run."""
        return self._native.run

    @property
    def step(self) -> int:
        """The step of the run."""
        return self._native.step

    @property
    def idempotency_key(self) -> str:
        """The same text for every attempt of this call: give it to whatever the tool calls."""
        return self._native.idempotency_key

    @property
    def deadline(self) -> datetime:
        """When the call must be over."""
        deadline: datetime = load(datetime, self._native.deadline)
        return deadline

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more; a long sync tool asks now and then."""
        return self._native.cancelled

    @property
    def tx(self) -> Transaction:
        """The transaction of the step, for a tool whose effect is `transactional`; otherwise `UnsupportedError`."""
        self._native.check_tx()
        return Transaction(self._native)

    def __repr__(self) -> str:
        return f"ToolCall(run={self.run!r}, step={self.step})"


class ConnectorCall:
    """A call of an operation: on whose behalf, of which integration, until when, and the way to the service."""

    __slots__ = ("_facts", "_native")

    def __init__(self, native: _native.Call) -> None:
        self._native = native
        self._facts: dict[str, Any] = json.loads(native.operation())

    @property
    def ctx(self) -> Context:
        """Whoever calls."""
        ctx = self._native.ctx
        assert ctx is not None
        return ctx

    @property
    def integration(self) -> str:
        """The id of the integration."""
        integration: str = self._facts["integration"]["id"]
        return integration

    @property
    def settings(self) -> Mapping[str, Any]:
        """The integration's settings."""
        settings: dict[str, Any] = self._facts["settings"]
        return settings

    @property
    def credentials(self) -> Credentials:
        """The integration's credentials, by the names of their fields; `send` has them already."""
        return Credentials(json.loads(self._native.credentials()))

    @property
    def idempotency_key(self) -> str | None:
        """The caller's key, where there is one: the same text for every attempt of this call."""
        key: str | None = self._facts["idempotency_key"]
        return key

    @property
    def run(self) -> str | None:
        """The id of the run it is part of."""
        run: str | None = self._facts["run"]
        return run

    @property
    def agent(self) -> str | None:
        """The id of the agent that makes it."""
        agent: str | None = self._facts["agent"]
        return agent

    @property
    def deadline(self) -> datetime:
        """When the call must be over."""
        deadline: datetime = load(datetime, self._facts["deadline"])
        return deadline

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more; a long sync operation asks now and then."""
        return self._native.cancelled

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Param] | None = None,
        json: Any = None,
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> Response:
        """Sends a request as the integration: with its credentials, through the platform's guarded client.

        Args:
            method: The method, as `POST`.
            path: The path under the base URL; `{name}` in it takes a value of `params`, encoded.
            params: Values for the path, and for the query those that the path does not name.
            json: A body in JSON.
            body: A body as it is; give its `content-type` in `headers`.
            headers: More headers.
            check: Raise what a response stands for that is a failure, as `NotFoundError` or `RateLimitedError`, so that
                the platform tries again what can be; False gives every response.
        """
        return Response(block(self._native.send(request(method, path, params, json, body, headers, check))))

    def __repr__(self) -> str:
        return f"ConnectorCall(operation={self._facts['operation']!r}, integration={self.integration!r})"
