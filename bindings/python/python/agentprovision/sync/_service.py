"""What all services share.

Generated from `agentprovision._service` by `scripts/sync_from_async.py`; do not edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import _native
from .._codec import arguments, decode, load
from .._wait import block
from ..context import Context, OperatorContext
from ..error import InvalidInputError

if TYPE_CHECKING:
    from .platform import Platform

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list."""

    items: list[T]
    """The items."""
    next: str | None
    """Where the next page begins; None on the last one."""

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def check(who: object, *kinds: type) -> None:
    """Refuses what is no context before it gets any further."""
    if not isinstance(who, kinds):
        wanted = " or ".join(f"`{kind.__name__}`" for kind in kinds)
        raise InvalidInputError(f"the first argument is a {wanted}, not a value of type `{type(who).__name__}`")


class Service:
    """A service of one platform."""

    __slots__ = ("_platform",)

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def _call(self, who: Context | OperatorContext, name: str, given: Mapping[str, object]) -> str:
        check(who, Context, OperatorContext)
        text: str = block(self._platform._native.invoke(who, name, arguments(name, given)))
        return text

    def _get(self, kind: type[T], who: Context | OperatorContext, name: str, given: Mapping[str, object]) -> T:
        return decode(kind, self._call(who, name, given))

    def _page(
        self, kind: type[T], who: Context | OperatorContext, name: str, given: Mapping[str, object]
    ) -> Page[T]:
        page = decode(dict, self._call(who, name, given))
        return Page(load(list[kind], page["items"]), page["next"])  # type: ignore[valid-type]

    def _stream(self, who: Context, name: str, given: Mapping[str, object]) -> _native.Stream:
        check(who, Context)
        stream: _native.Stream = block(self._platform._native.stream(who, name, arguments(name, given)))
        return stream


def pages(list_page: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """All items of all pages."""
    after: str | None = None
    while True:
        page = list_page(after)
        for item in page.items:
            yield item
        after = page.next
        if after is None:
            return


class Stream(Generic[T]):
    """A stream of records: `for`, and `close` or `with` to end it early."""

    def __init__(self, kind: Any, open: Callable[[], _native.Stream]) -> None:
        self._kind = kind
        self._open: Callable[[], _native.Stream] | None = open
        self._stream: _native.Stream | None = None

    def __iter__(self) -> Stream[T]:
        return self

    def __next__(self) -> T:
        if self._open is not None:
            # Once: a stream that cannot be opened is at its end.
            opening, self._open = self._open, None
            self._stream = opening()
        if self._stream is None:
            raise StopIteration
        try:
            text = block(self._stream.next())
        except BaseException:
            # Also when the waiting task is cancelled: whoever watched does so no more.
            self.close()
            raise
        if text is None:
            self.close()
            raise StopIteration
        item: T = decode(self._kind, text)
        return item

    def close(self) -> None:
        """Ends the stream. What it is a stream of goes on, unless it was started otherwise."""
        self._open = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
