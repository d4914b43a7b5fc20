"""What passes between an operation of a connector in Python and its service."""

from __future__ import annotations

import base64
import json as _json
from collections.abc import Mapping, Sequence
from typing import Any, Union

from ._codec import dumps
from .error import InvalidInputError, ProviderError

Param = Union[None, str, bool, int, float, Sequence[Union[str, bool, int, float]]]
"""A part of a path or a query; a list is repeated in a query, and None is left out."""


class Credentials(dict[str, str]):
    """The credentials of an integration, by their fields. Printing them shows the names alone."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Credentials({', '.join(self)})"

    __str__ = __repr__


class Response:
    """What a service answered."""

    __slots__ = ("body", "headers", "status")

    status: int
    """The status."""
    headers: Mapping[str, str]
    """The headers, by their names in lower case."""
    body: bytes
    """The whole body."""

    def __init__(self, text: str) -> None:
        """Not for use; see `ConnectorCall.send`."""
        answered = _json.loads(text)
        body = answered["body"]
        self.status = answered["status"]
        self.headers = answered["headers"]
        self.body = base64.b64decode(body["$bytes"]) if isinstance(body, dict) else body.encode()

    @property
    def text(self) -> str:
        """The body as text in UTF-8; what is none is replaced."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON; `ProviderError` for what is none."""
        try:
            return _json.loads(self.body)
        except ValueError as error:
            raise ProviderError(f"the answer with status {self.status} is no JSON") from error

    def __repr__(self) -> str:
        return f"Response(status={self.status})"


def request(
    method: str,
    path: str,
    params: Mapping[str, Param] | None,
    json: Any,
    body: str | bytes | None,
    headers: Mapping[str, str] | None,
    check: bool,
) -> str:
    """A request as the platform takes it."""
    given: dict[str, Any] = {"method": method, "path": path, "check": check}
    if params is not None:
        given["params"] = params
    if headers is not None:
        given["headers"] = headers
    if json is not None:
        given["json"] = json
    if isinstance(body, bytes):
        given["body"] = {"$bytes": base64.b64encode(body).decode()}
    elif body is not None:
        if not isinstance(body, str):
            raise InvalidInputError(f"a `body` is text or bytes, not a value of type `{type(body).__name__}`; see `json`")
        given["body"] = body
    return dumps(given, "the request")
