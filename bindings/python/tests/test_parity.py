"""Everything the facade offers is here, under the names of `bindings/parity.toml`."""

from __future__ import annotations

import functools
import inspect
import json
import tomllib  # type: ignore[import-not-found,unused-ignore]
from pathlib import Path
from typing import Any

import agentprovision
import agentprovision.sync
import pytest
from agentprovision import _native

PARITY = tomllib.loads((Path(__file__).parents[2] / "parity.toml").read_text())
SCHEMA = json.loads(_native.schema())
# Arguments that are given as fields of their own, or that are the object itself.
SPREAD = {"spec"}


def find(platform: object, path: str) -> Any:
    return functools.reduce(getattr, path.split("."), platform)


def arguments(operation: str) -> set[str]:
    name = SCHEMA["operations"][operation]["arguments"]["$ref"].rsplit("/", 1)[1]
    return set(SCHEMA["arguments"][name].get("properties", {}))


def check(platform: object) -> None:
    assert set(PARITY["operations"]) <= set(SCHEMA["operations"])
    for operation, names in PARITY["operations"].items():
        method = find(platform, names["python"])
        assert callable(method), operation
        assert inspect.getdoc(method), f"{operation} says nothing of itself"
        parameters = inspect.signature(method).parameters
        spread = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        # `from` is a word of the language.
        missing = arguments(operation) - {name.rstrip("_") for name in parameters}
        if spread:
            missing -= SPREAD
        assert not missing, f"{operation} takes no {missing}"


@pytest.mark.anyio
async def test_every_operation_is_there_with_its_arguments() -> None:
    async with agentprovision.Platform.open() as platform:
        check(platform)


def test_every_operation_is_there_in_the_blocking_form_too() -> None:
    with agentprovision.sync.Platform.open() as platform:
        check(platform)


def test_every_kind_of_error_has_its_class() -> None:
    assert list(PARITY["errors"]) == list(_native.error_kinds())
    for code, names in PARITY["errors"].items():
        found = getattr(agentprovision, names["python"])
        assert issubclass(found, agentprovision.AgentProvisionError)
        assert found.code == code
        assert names["python"] in agentprovision.__all__
