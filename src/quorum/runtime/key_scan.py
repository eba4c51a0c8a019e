"""All items of a range of keys, page by page; at one revision, if that is wanted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from quorum.apps.kv import RANGE_KEYS_MAX, Found, Item, prefix_end
from quorum.apps.kv_watch import Interest
from quorum.errors import LocalProtocolError
from quorum.runtime.key_subscription import KeyWatch

PAGE = 1000


class Scan:
    """`async for item in client.kv.scan(b"user/"):` gives the items of a range, ascending, reading page by page.

    Each page is read linearizably, at one revision; what is written between two pages may show in the later one.
    So each key comes once at most; a key that is there all the while comes; and its value is one that it had
    during the scan. While `last_revision` is `revision`, everything so far is of that one revision. Who needs to
    know what changed meanwhile watches from `revision + 1`.

    A scan that broke off goes on behind the last key: `after=`.

    At one revision (`watch` is given) every page is as the store was at the first. A watch tells what changed
    since then, and that is undone here: the node does no more than for a watch, and what changed in the part that
    was not read yet is held in memory. `lease` of an item that changed meanwhile is 0: the history keeps none.
    Compacted is raised if the store drops changes before the scan has heard of them.
    """

    def __init__(
        self,
        read: Callable[[bytes, bytes | None, int], Awaitable[Found]],
        start: bytes,
        end: bytes | None,
        page: int,
        watch: Callable[[Interest], KeyWatch] | None = None,
    ) -> None:
        self._read = read
        self._watch = watch
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
        found = await self._read(self._start, self._end, self._page)
        self.revision = self.last_revision = found.revision
        yield found
        if self._watch is not None and found.more:
            async for page in self._rest_as_it_was(self._watch, found):
                yield page
            return
        while found.more:
            found = await self._read(behind(found.items[-1].key), self._end, self._page)
            self.last_revision = found.revision
            yield found

    async def _rest_as_it_was(
        self, watch: Callable[[Interest], KeyWatch], found: Found
    ) -> AsyncGenerator[Found, None]:
        """The pages behind the first, as the store was when that was read."""
        last = found.items[-1].key
        before: dict[bytes, Item | None] = {}
        async with watch(Interest(last, self._end, self.revision + 1, previous=True)) as changes:
            while found.more:
                last = found.items[-1].key
                found = await self._read(behind(last), self._end, self._page)
                if found.revision > self.revision:
                    for event in await changes.up_to(found.revision):
                        if event.key > last:
                            before.setdefault(event.key, event.previous)
                yield Found(_undone(found, before), found.more, self.revision)


def _undone(found: Found, before: dict[bytes, Item | None]) -> list[Item]:
    """The items of a page as they were before they changed; what is told of its keys goes out of `before`."""
    passed = [key for key in before if not found.more or key <= found.items[-1].key]
    if not passed:
        return found.items
    changed = {key: before.pop(key) for key in passed}
    items = [item for item in found.items if item.key not in changed]
    items += [item for item in changed.values() if item is not None]
    return sorted(items, key=lambda item: item.key)


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
            "keys were asked for by a prefix and with an end, but each says where they end. Give one of them."
        )
    if prefix:
        end = prefix_end(start)
    return (start if after is None else max(start, behind(after))), end, page
