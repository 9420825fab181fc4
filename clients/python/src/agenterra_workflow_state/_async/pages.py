"""Listings: items that are fetched a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from ..nouns import Page

T = TypeVar("T")


class AsyncPages(Generic[T]):
    """A listing: iterating gives its items and fetches a page when it needs one, each time from the beginning."""

    def __init__(self, fetch: Callable[[str], Awaitable[Page[T]]], page_token: str) -> None:
        self._fetch = fetch
        self._page_token = page_token

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def pages(self) -> AsyncIterator[Page[T]]:
        """The listing as pages; the `next_page_token` of one begins a listing after it."""
        token = self._page_token
        while True:
            page = await self._fetch(token)
            yield page
            token = page.next_page_token
            if token == "":
                return
