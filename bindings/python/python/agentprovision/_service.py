"""What all services share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _native
from ._codec import arguments, decode, load
from ._wait import Pending, settle
from .context import Context, OperatorContext
from .error import InvalidInputError

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

    async def _call(self, who: Context | OperatorContext, name: str, given: Mapping[str, object]) -> str:
        check(who, Context, OperatorContext)
        text: str = await settle(self._platform._native.invoke(who, name, arguments(name, given)))
        return text

    async def _get(self, kind: type[T], who: Context | OperatorContext, name: str, given: Mapping[str, object]) -> T:
        return decode(kind, await self._call(who, name, given))

    async def _page(
        self, kind: type[T], who: Context | OperatorContext, name: str, given: Mapping[str, object]
    ) -> Page[T]:
        page = decode(dict, await self._call(who, name, given))
        return Page(load(list[kind], page["items"]), page["next"])  # type: ignore[valid-type]

    def _stream(self, who: Context, name: str, given: Mapping[str, object]) -> _native.Op:
        check(who, Context)
        return self._platform._native.stream(who, name, arguments(name, given))


async def pages(list_page: Callable[[str | None], Awaitable[Page[T]]]) -> AsyncIterator[T]:
    """All items of all pages."""
    after: str | None = None
    while True:
        page = await list_page(after)
        for item in page.items:
            yield item
        after = page.next
        if after is None:
            return


class Stream(Generic[T]):
    """A stream of records: `async for`, and `aclose` or `async with` to end it early."""

    def __init__(self, kind: Any, open: Callable[[], _native.Op | _native.Stream]) -> None:
        self._kind = kind
        self._open: Callable[[], _native.Op | _native.Stream] | None = open
        self._opening: Pending | None = None
        self._stream: _native.Stream | None = None
        self._next: Pending | None = None

    def _opened(self, answer: Any) -> _native.Stream:
        """The stream, from what the opening operation answered."""
        stream: _native.Stream = answer
        return stream

    def __aiter__(self) -> Stream[T]:
        return self

    async def __anext__(self) -> T:
        """The next item. Cancelling the wait ends nothing: whoever asks again gets what was waited for."""
        if self._open is not None:
            # Once: a stream that cannot be opened is at its end.
            open, self._open = self._open, None
            opened = open()
            if isinstance(opened, _native.Stream):
                self._stream = opened
            else:
                self._opening = Pending(opened)
        opening = self._opening
        if opening is not None:
            try:
                answer = await opening.settle()
            except Exception:
                await self.aclose()
                raise
            # Unless it was closed meanwhile, or opened by another who waited.
            if self._opening is opening and opening.take():
                self._stream, self._opening = self._opened(answer), None
        while self._stream is not None:
            if self._next is None:
                self._next = Pending(self._stream.next())
            pending = self._next
            try:
                text = await pending.settle()
            except Exception:
                await self.aclose()
                raise
            if pending.take():
                self._next = None
                if text is None:
                    break
                item: T = decode(self._kind, text)
                return item
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the stream. What it is a stream of goes on, unless it was started otherwise."""
        self._end()

    def _end(self) -> None:
        self._open = self._opening = None
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __del__(self) -> None:
        # Whoever waited and was cancelled left an operation behind that holds on to it.
        if getattr(self, "_stream", None) is not None:
            self._end()

    async def __aenter__(self) -> Stream[T]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
