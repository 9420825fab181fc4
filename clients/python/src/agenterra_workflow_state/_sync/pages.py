# Generated from _async/pages.py by scripts/generate.py: change that.
"""Listings: items that are fetched a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ..nouns import Page

T = TypeVar("T")


class Pages(Generic[T]):
    """A listing: iterating gives its items and fetches a page when it needs one, each time from the beginning."""

    def __init__(self, fetch: Callable[[str], Page[T]], page_token: str) -> None:
        self._fetch = fetch
        self._page_token = page_token

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            for item in page.items:
                yield item

    def pages(self) -> Iterator[Page[T]]:
        """The listing as pages; the `next_page_token` of one begins a listing after it."""
        token = self._page_token
        while True:
            page = self._fetch(token)
            yield page
            token = page.next_page_token
            if token == "":
                return
