"""A service for all tests, and both clients of it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from agenterra_workflow_state import AsyncClient, Client

from .support.service import Service, running
from .support.twins import KINDS, Kind, opened

_ids = itertools.count(1)


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
async def client(kind: Kind, service: Service) -> AsyncIterator[AsyncClient]:
    """Each of both, under the asyncio one's names."""
    async with opened(kind, service.url) as client:
        yield client


@pytest.fixture
def blocking(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture
def session_id() -> str:
    """A session that no other test has."""
    return f"session-{next(_ids)}"
