"""From type hints to JSON Schema, and from JSON to the types of the hints."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict
from uuid import UUID

from .error import InvalidInputError

Schema = dict[str, Any]
Convert = Callable[[Any], Any]

_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
    list: {"type": "array"},
    tuple: {"type": "array"},
    dict: {"type": "object"},
    set: {"type": "array", "uniqueItems": True},
    frozenset: {"type": "array", "uniqueItems": True},
}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


_TEXTS: dict[Any, tuple[Schema, Callable[[str], Any]]] = {
    datetime: ({"type": "string", "format": "date-time"}, _time),
    date: ({"type": "string", "format": "date"}, date.fromisoformat),
    # As text: a number would be rounded on its way.
    Decimal: ({"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}, Decimal),
    UUID: ({"type": "string", "format": "uuid"}, UUID),
}


class UnsupportedHint(InvalidInputError, TypeError):
    """A type hint that has no JSON Schema."""


class Definitions:
    """What the schemas of one tool refer to, at its root."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        # Types that are being described, and those of them that refer to themselves.
        self._open: dict[Any, Convert] = {}
        self._names: dict[Any, str] = {}

    def name(self, hint: Any) -> str:
        """The name of a type, its own unless another has taken that."""
        if hint not in self._names:
            own = re.sub(r"\W+", "_", hint.__name__)
            taken = {*self.schemas, *self._names.values()}
            self._names[hint] = next(name for name in (own, *(f"{own}_{n}" for n in range(2, 999))) if name not in taken)
        return self._names[hint]

    def fields(self, hint: Any, make: Callable[[], tuple[Schema, Convert]]) -> tuple[Schema, Convert]:
        """A type with fields, which may lead back to it."""
        whole: list[Convert] = []
        if hint in self._open:
            return {"$ref": f"#/$defs/{self.name(hint)}"}, self._open[hint]
        self._open[hint] = lambda value: whole[0](value)
        try:
            schema, convert = make()
        finally:
            del self._open[hint]
        whole.append(convert)
        if hint in self._names:
            self.schemas[self.name(hint)] = schema
            schema = {"$ref": f"#/$defs/{self.name(hint)}"}
        return schema, convert

    def model(self, hint: Any) -> Schema:
        """A model that describes itself: its definitions become the tool's."""
        schema: Schema = hint.model_json_schema()
        inner = schema.pop("$defs", {})
        if any(self.schemas.get(name, part) != part for name, part in inner.items()):
            # Another model of the same name.
            tail = f"_{len(self.schemas)}"
            schema = hint.model_json_schema(ref_template="#/$defs/{model}" + tail)
            inner = {name + tail: part for name, part in schema.pop("$defs", {}).items()}
        self.schemas.update(inner)
        return schema


def describe(hint: Any, where: str, defs: Definitions) -> tuple[Schema, Convert | None]:
    """The schema of a type, and what makes JSON a value of it; None where they are the same."""
    try:
        plain = _PLAIN.get(hint)
    except TypeError:
        plain = None
    if plain is not None:
        return dict(plain), hint if hint in (tuple, set, frozenset) else None
    if hint is int:
        return {"type": "integer"}, _integer(where)
    if isinstance(hint, type) and hint in _TEXTS:
        schema, parse = _TEXTS[hint]
        return dict(schema), _checked(parse, where)
    if hasattr(hint, "__supertype__"):
        return describe(hint.__supertype__, where, defs)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        schema, convert = describe(args[0], where, defs)
        text = next((note for note in args[1:] if isinstance(note, str)), None)
        return ({**schema, "description": text} if text else schema), convert
    if origin is Literal:
        return _literal(args, where), None
    if origin in (Union, types.UnionType):
        return _union(args, where, defs)
    if origin in (set, frozenset, AbstractSet):
        schema, convert = describe(args[0], f"{where}[]", defs)
        unique: Callable[[Any], Any] = frozenset if origin is frozenset else set
        return {"type": "array", "items": schema, "uniqueItems": True}, _each(unique, convert)
    if origin in (list, Sequence, Collection, Iterable) or origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        schema, convert = describe(args[0], f"{where}[]", defs)
        make: Callable[[Any], Any] = tuple if origin is tuple else list
        return {"type": "array", "items": schema}, _each(make, convert)
    if origin is tuple:
        return _tuple(args, where, defs)
    if origin in (dict, Mapping):
        return _dict(args, where, defs)
    if isinstance(hint, type):
        if issubclass(hint, Enum):
            return _enum(hint, where)
        if is_typeddict(hint):
            keys = getattr(hint, "__required_keys__")
            return defs.fields(hint, lambda: _fields(hint, where, keys, lambda values: values, defs))
        if dataclasses.is_dataclass(hint):
            required = {
                field.name
                for field in dataclasses.fields(hint)
                if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            }
            return defs.fields(hint, lambda: _fields(hint, where, required, lambda values: hint(**values), defs))
        if hasattr(hint, "model_json_schema") and hasattr(hint, "model_validate"):
            return defs.model(hint), _checked(hint.model_validate, where)
    raise UnsupportedHint(f"`{where}` has the type {_name(hint)}, which has no JSON Schema")


def _name(hint: Any) -> str:
    return f"`{getattr(hint, '__qualname__', None) or hint}`"


def _integer(where: str) -> Convert:
    def convert(value: Any) -> int:
        # What is beyond 64 bits arrives as a float, and would be another number.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or isinstance(value, float) and (
            not value.is_integer() or abs(value) > 2**53
        ):
            raise InvalidInputError(f"`{where}` is not an integer of 64 bits")
        return int(value)

    return convert


def _checked(parse: Callable[[Any], Any], where: str) -> Convert:
    """Refuses what a type does not take, in words a model can use."""

    def convert(value: Any) -> Any:
        try:
            return parse(value)
        except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
            raise InvalidInputError(f"`{where}` is not as it should be: {error}") from error

    return convert


def _literal(values: tuple[Any, ...], where: str) -> Schema:
    if not all(value is None or isinstance(value, (str, int)) for value in values):
        raise UnsupportedHint(f"`{where}` is a `Literal` of other values than text, integers, booleans and None")
    return {"enum": list(values)}


def _enum(kind: type[Enum], where: str) -> tuple[Schema, Convert]:
    values = [member.value for member in kind]
    if not all(isinstance(value, (str, int)) for value in values):
        raise UnsupportedHint(f"`{where}` is the enum `{kind.__name__}`, whose values are not all text or integers")
    return {"enum": values}, kind


def _union(args: tuple[Any, ...], where: str, defs: Definitions) -> tuple[Schema, Convert | None]:
    parts = [describe(arg, where, defs) for arg in args]
    schema: Schema = {"anyOf": [part for part, _ in parts]}
    if all(convert is None for _, convert in parts):
        return schema, None

    def convert(value: Any) -> Any:
        for part, make in parts:
            if not _fits(part, value):
                continue
            try:
                return value if make is None else make(value)
            except (ValueError, TypeError, LookupError):
                continue
        raise InvalidInputError(f"`{where}` fits none of its types")

    return schema, convert


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def _fits(schema: Schema, value: Any) -> bool:
    """Whether a value can be of a schema, as far as that tells the parts of a union apart."""
    if "enum" in schema:
        return value in schema["enum"]
    known = _TYPES.get(schema.get("type", ""))
    if known is None:
        return True
    if isinstance(value, bool) and bool not in known:
        return False
    if not isinstance(value, known):
        return False
    if isinstance(value, dict):
        return set(schema.get("required", ())) <= value.keys()
    return True


def _each(make: Callable[[Any], Any], convert: Convert | None) -> Convert | None:
    if convert is None:
        return None if make is list else make
    inner = convert
    return lambda values: make(inner(value) for value in values)


def _tuple(args: tuple[Any, ...], where: str, defs: Definitions) -> tuple[Schema, Convert]:
    parts = [describe(arg, f"{where}[{place}]", defs) for place, arg in enumerate(args)]
    size = len(parts)
    schema = {"type": "array", "prefixItems": [part for part, _ in parts], "minItems": size, "maxItems": size}

    def convert(values: Any) -> tuple[Any, ...]:
        return tuple(value if make is None else make(value) for value, (_, make) in zip(values, parts))

    return schema, convert


def _dict(args: tuple[Any, ...], where: str, defs: Definitions) -> tuple[Schema, Convert | None]:
    if args[0] is not str:
        raise UnsupportedHint(f"`{where}` is a dictionary whose keys are not `str`")
    schema, convert = describe(args[1], f"{where}{{}}", defs)
    whole: Schema = {"type": "object", "additionalProperties": schema}
    if convert is None:
        return whole, None
    inner = convert
    return whole, lambda value: {key: inner(item) for key, item in value.items()}


def _fields(
    hint: Any,
    where: str,
    required: set[str] | frozenset[str],
    make: Callable[[dict[str, Any]], Any],
    defs: Definitions,
) -> tuple[Schema, Convert]:
    try:
        hints = get_type_hints(hint, include_extras=True)
    except NameError as error:
        raise UnsupportedHint(f"a type hint of {_name(hint)} in `{where}` cannot be resolved: {error}") from error
    parts = {name: describe(kind, f"{where}.{name}", defs) for name, kind in hints.items()}
    schema: Schema = {
        "type": "object",
        "properties": {name: part for name, (part, _) in parts.items()},
        "required": [name for name in parts if name in required],
        "additionalProperties": False,
    }

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise InvalidInputError(f"`{where}` is not an object")
        given = {}
        for name, item in value.items():
            inner = parts[name][1]
            given[name] = item if inner is None else inner(item)
        return make(given)

    return schema, convert


_SECTION = re.compile(r"^(Args|Arguments|Parameters):\s*$")
_OTHER = re.compile(r"^[A-Z][A-Za-z ]*:\s*$")
_PARAMETER = re.compile(r"^(\w+)(?:\s*\([^)]*\))?:\s*(.*)$")


def documentation(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The first paragraph of a docstring, and what its `Args:` say."""
    text = inspect.getdoc(function) or ""
    first = " ".join(text.split("\n\n", 1)[0].split())
    found: dict[str, str] = {}
    within, indent, name = False, 0, ""
    for line in text.splitlines():
        if _SECTION.match(line):
            within, indent = True, 0
        elif within and _OTHER.match(line):
            within = False
        elif within and line.strip():
            depth = len(line) - len(line.lstrip())
            indent = indent or depth
            match = _PARAMETER.match(line.strip()) if depth == indent else None
            if match:
                name = match[1]
                found[name] = match[2]
            elif name:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return ("" if _SECTION.match(first.split(" ")[0]) else first), found
