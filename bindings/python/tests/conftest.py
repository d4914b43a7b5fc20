"""What all tests share."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator

import pytest
from support import ON_SERVER


@pytest.fixture(autouse=True)
def watchdog(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ends the process with every thread's stack when a test hangs."""
    marker = request.node.get_closest_marker("limit")
    faulthandler.dump_traceback_later(marker.args[0] if marker else 30, exit=True, file=2)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(params=["asyncio"] if ON_SERVER else ["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every async test runs on both. On which one somebody waits for a store makes no difference to that."""
    backend: str = request.param
    return backend


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "limit(seconds): another limit than 30 s")
