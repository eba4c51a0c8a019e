"""All items of a range of keys, page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from quorum.apps.kv import RANGE_KEYS_MAX, Found, Item, prefix_end
from quorum.errors import LocalProtocolError

PAGE = 1000


class Scan:
    """`async for item in client.kv.scan(b"user/"):` gives the items of a range, ascending, reading page by page.

    Each page is read linearizably, at one revision; what is written between two pages may show in the later one.
    So each key comes once at most; a key that is there all the while comes; and its value is one that it had
    during the scan. While `last_revision` is `revision`, everything so far is of that one revision. Who needs to
    know what changed meanwhile watches from `revision + 1`.

    A scan that broke off goes on behind the last key: `after=`.
    """

    def __init__(
        self,
        read: Callable[[bytes, bytes | None, int], Awaitable[Found]],
        start: bytes,
        end: bytes | None,
        page: int,
    ) -> None:
        self._read = read
        self._start = start
        self._end = end
        self._page = page
        self.revision = 0
        """Of the store at the first page; 0 before."""
        self.last_revision = 0
        """Of the store at the newest page."""

    def __aiter__(self) -> AsyncGenerator[Item, None]:
        return self._items()

    async def _items(self) -> AsyncGenerator[Item, None]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def pages(self) -> AsyncGenerator[Found, None]:
        """The same, one page at a time; one that holds less than was asked for is not the last for that reason."""
        start = self._start
        while True:
            found = await self._read(start, self._end, self._page)
            self.revision = self.revision or found.revision
            self.last_revision = found.revision
            yield found
            if not found.more:
                return
            start = behind(found.items[-1].key)


def behind(key: bytes) -> bytes:
    """The first key there could be behind this one."""
    return key + b"\0"


def bounds_of(
    start: bytes, end: bytes | None, prefix: bool, after: bytes | None, page: int
) -> tuple[bytes, bytes | None, int]:
    """Where a scan begins and ends, and its page. Raises LocalProtocolError for what makes no sense."""
    if isinstance(page, bool) or not isinstance(page, int) or not 0 < page <= RANGE_KEYS_MAX:
        raise LocalProtocolError(
            f"a scan was asked for with page={page!r:.40}, but a page has 1 to {RANGE_KEYS_MAX} keys. Give a "
            "number between them."
        )
    if prefix and end is not None:
        raise LocalProtocolError(
            "a scan was asked for by a prefix and with an end, but each says where it ends. Give one of them."
        )
    if prefix:
        end = prefix_end(start)
    return (start if after is None else max(start, behind(after))), end, page
