"""JSON in both directions: what the caller gives, checked; what the platform answers, as records."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from .error import InvalidInputError

T = TypeVar("T")


def _default(value: object) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidInputError("a time without a time zone names no moment; give it `tzinfo`")
        try:
            value = value.astimezone(timezone.utc)
        except OverflowError as error:
            raise InvalidInputError(f"the time `{value}` is beyond year 1 to 9999 in UTC") from error
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvalidInputError(f"`{value}` is not an amount")
        return format(value, "f")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (date, UUID)):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a value of type `{type(value).__name__}` has no JSON form")


_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_default).encode


def dumps(value: object, what: str) -> str:
    """The JSON text of a value; `what` names it in errors, which are `InvalidInputError`."""
    try:
        text = _encode(value)
    except InvalidInputError:
        raise
    except RecursionError as error:
        raise InvalidInputError(f"{what}: it is nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{what}: {_reason(error)}") from error
    return text


def _reason(error: Exception) -> str:
    text = str(error)
    if "ircular" in text:
        return "it contains itself"
    if "Out of range float" in text or "not JSON compliant" in text:
        return "it has a number that is not finite"
    if "keys must be" in text:
        return "keys of an object are text"
    if "digits" in text:
        return "it has an integer beyond 64 bits"
    return text


def arguments(operation: str, given: Mapping[str, object]) -> str:
    """The arguments of an operation, without those that were left out."""
    return dumps({key: value for key, value in given.items() if value is not UNSET}, f"the arguments of `{operation}`")


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Literal[Unset.UNSET] = Unset.UNSET
"""Stands for an argument that was not given, where None says something else."""


def some(value: T, what: str) -> T:
    """A value that may be left out, but not be None: the platform would take that for the same."""
    if value is None:
        raise InvalidInputError(f"`{what}` is None; leave it out to keep what is there")
    return value


def ident(value: object, what: str) -> str:
    """An id: as text, or of a record or handle that has one."""
    if isinstance(value, str):
        return value
    found = getattr(value, "id", None)
    if isinstance(found, str):
        return found
    if value is None:
        raise InvalidInputError(f"`{what}` is None; give an id or a record")
    raise InvalidInputError(f"`{what}` is an id or a record, not a value of type `{type(value).__name__}`")


Convert = Callable[[Any], Any]


def decode(kind: type[T], text: str) -> T:
    """A record from JSON text."""
    converted: T = load(kind, json.loads(text))
    return converted


def load(kind: Any, value: Any) -> Any:
    """A value of a type from plain data."""
    convert = converter(kind)
    return value if convert is None else convert(value)


@cache
def converter(kind: Any) -> Convert | None:
    """What makes plain data a value of a type; None where they are the same."""
    if kind is datetime:
        return _time
    if kind is Decimal:
        return Decimal
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _union(args)
    if origin in (list, tuple) and args:
        return _each(origin, converter(args[0]))
    if origin in (dict, Mapping) or origin is not None and issubclass_safe(origin, Mapping):
        inner = converter(args[1]) if len(args) == 2 else None
        return None if inner is None else lambda value: {key: inner(item) for key, item in value.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _record(kind)
    return None


def issubclass_safe(kind: object, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _each(origin: Any, inner: Convert | None) -> Convert | None:
    if inner is None:
        return None if origin is list else tuple
    make = inner
    return lambda value: origin(make(item) for item in value)


def _union(args: tuple[Any, ...]) -> Convert | None:
    others = [arg for arg in args if arg is not type(None)]
    if len(others) == 1:
        inner = converter(others[0])
        return None if inner is None else lambda value: None if value is None else inner(value)
    records = [arg for arg in others if dataclasses.is_dataclass(arg)]
    tag, known = _tags(records)
    if not known:
        return None

    def choose(value: Any) -> Any:
        found = known.get(str(value.get(tag))) if isinstance(value, dict) else None
        return value if found is None else load(found, value)

    return choose


def _tags(records: list[Any]) -> tuple[str, dict[str, Any]]:
    """The field that tells records of a union apart, and the record of each of its values."""
    hints = [get_type_hints(record) for record in records]
    literals = [{name: get_args(hint) for name, hint in of.items() if get_origin(hint) is Literal} for of in hints]
    for tag in literals[0] if literals else ():
        # Other fields may have a choice of words too, but not in all of them, or not each its own.
        if all(tag in of for of in literals):
            known = {value: record for record, of in zip(records, literals) for value in of[tag]}
            if len(known) == sum(len(of[tag]) for of in literals):
                return tag, known
    return "", {}


def _record(kind: type) -> Convert:
    # Filled in later: records may refer to each other.
    plan: list[tuple[str, Convert | None, bool]] = []

    def make(value: dict[str, Any]) -> Any:
        if not plan:
            hints = get_type_hints(kind)
            for field in dataclasses.fields(kind):
                required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
                plan.append((field.name, converter(hints[field.name]), required))
        given = {}
        for name, convert, required in plan:
            if name in value:
                item = value[name]
                given[name] = item if convert is None else convert(item)
            elif required:
                given[name] = None
        return kind(**given)

    return make
