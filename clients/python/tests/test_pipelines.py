"""Pipelines: each batch is done once and answered in order, over however many connections."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from agenterra_workflow_state import (
    AsyncClient,
    Client,
    Commit,
    GetState,
    Operation,
    Reason,
    Retry,
    SetState,
    WorkflowStateError,
)

from .support.proxy import proxied
from .support.service import Service
from .support.streams import PATIENCE, taken
from .support.twins import Kind, opened


async def test_a_pipeline_answers_each_batch_in_order(client: AsyncClient, session_id: str) -> None:
    batches: list[list[Operation]] = [
        [Commit(session_id).increment("n"), GetState(session_id, "n")],
        [SetState(session_id, "n", 9, if_revision=7)],
        [],
        [Commit(session_id).increment("n", 2)],
    ]
    answers = [results async for results in client.pipeline(batches)]
    assert [len(results) for results in answers] == [2, 1, 0, 1]
    assert getattr(answers[0][1], "value", None) == 1
    assert getattr(answers[1][0], "reason", None) is Reason.REVISION_MISMATCH
    committed: Any = answers[3][0]
    assert committed["n"].value == 3


async def test_a_pipeline_of_nothing_ends(client: AsyncClient) -> None:
    assert [results async for results in client.pipeline([])] == []


async def test_a_pipeline_survives_lost_connections_and_does_each_batch_once(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with proxied(service.address) as proxy, opened(kind, proxy.url) as client:
        loop = asyncio.get_running_loop()

        def batches() -> Iterator[list[Operation]]:
            for n in range(200):
                if n % 40 == 20:
                    # While some are on their way, some are under work, and some are answered.
                    loop.call_soon_threadsafe(proxy.cut)
                yield [Commit(session_id).increment("n"), GetState(session_id, "n")]

        values = []
        async for results in client.pipeline(batches()):
            committed: Any = results[0]
            values.append(committed["n"].value)
        assert proxy.connections >= 3
        assert values == list(range(1, 201))
        assert await client.get_state(session_id, "n") == 200


async def test_a_pipeline_can_ask_after_what_it_was_answered(client: AsyncClient, session_id: str) -> None:
    seen: list[int] = []

    def batches() -> Iterator[list[Operation]]:
        for n in range(5):
            # Asked for when the batch before is on its way, not when it is answered.
            seen.append(n)
            yield [Commit(session_id).increment("n")]

    async for results in client.pipeline(batches()):
        assert len(results) == 1
    assert seen == [0, 1, 2, 3, 4]


async def test_a_pipeline_does_not_run_ahead_of_the_service(client: AsyncClient, session_id: str) -> None:
    given = 0

    def batches() -> Iterator[list[Operation]]:
        nonlocal given
        for n in itertools.count():
            given += 1
            yield [SetState(session_id, f"k{n % 20}", "x" * 50_000)] * 10

    pipeline = client.pipeline(batches())
    await taken(pipeline, 3)
    await asyncio.sleep(0.5)
    # What was not read fills the windows of the connection, and then nobody takes more.
    assert given < 200
    await pipeline.aclose()
    assert [results async for results in pipeline] == []


async def test_what_the_source_raises_comes_after_the_answers_before(
    client: AsyncClient, session_id: str
) -> None:
    def batches() -> Iterator[list[Operation]]:
        yield [Commit(session_id).increment("n")]
        yield [Commit(session_id).increment("n")]
        raise LookupError("mine")

    pipeline = client.pipeline(batches())
    assert len(await taken(pipeline, 2)) == 2
    with pytest.raises(LookupError, match="mine"):
        await pipeline.__anext__()
    assert [results async for results in pipeline] == []
    assert await client.get_state(session_id, "n") == 2


async def test_a_wrong_batch_ends_the_pipeline(client: AsyncClient, session_id: str) -> None:
    wrong: Any
    for wrong in (["x"], "x", 7, [SetState(session_id, "k", 1), None], [Commit]):
        with pytest.raises(WorkflowStateError) as caught:
            await taken(client.pipeline([wrong]), 1)
        assert caught.value.metadata == {"field": "operations"}
    with pytest.raises(WorkflowStateError) as caught:
        await taken(client.pipeline([[SetState(session_id, "k", [1, float("nan")])]]), 1)
    assert caught.value.metadata == {"path": "$[1]", "key": "k"}
    assert await client.get_session(session_id) is None


async def test_a_pipeline_gives_up_when_nothing_is_answered(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with (
        proxied(service.address) as proxy,
        opened(kind, proxy.url, retry=Retry(attempts=3, base=0.01)) as client,
    ):
        proxy.lose_answers = 1000
        for batch, reason in (
            ([Commit(session_id).increment("n")], Reason.OUTCOME_UNKNOWN),
            ([GetState(session_id, "n")], Reason.STORE_UNAVAILABLE),
        ):
            with pytest.raises(WorkflowStateError) as caught:
                await taken(client.pipeline([batch]), 1)
            assert caught.value.reason is reason


async def test_a_pipeline_closes_its_source(client: AsyncClient, session_id: str) -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def batches() -> Iterator[list[Operation]]:
        try:
            while True:
                yield [Commit(session_id).increment("n")]
        finally:
            loop.call_soon_threadsafe(closed.set)

    pipeline = client.pipeline(batches())
    await taken(pipeline, 2)
    await pipeline.aclose()
    await asyncio.wait_for(closed.wait(), PATIENCE)


async def test_an_asynchronous_source_is_waited_for(service: Service, session_id: str) -> None:
    async with AsyncClient(service.url) as client:
        more = asyncio.Event()
        ended = asyncio.Event()

        async def batches() -> AsyncIterator[list[Operation]]:
            try:
                for _ in range(3):
                    yield [Commit(session_id).increment("n")]
                    await more.wait()
            finally:
                ended.set()

        pipeline = client.pipeline(batches())
        await taken(pipeline, 1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pipeline.__anext__(), 0.1)
        more.set()
        await taken(pipeline, 2)
        with pytest.raises(StopAsyncIteration):
            await pipeline.__anext__()
        assert ended.is_set()


async def test_an_asynchronous_source_that_waits_is_cancelled(service: Service, session_id: str) -> None:
    async with AsyncClient(service.url) as client:
        ended = asyncio.Event()

        async def batches() -> AsyncIterator[list[Operation]]:
            try:
                yield [Commit(session_id).increment("n")]
                await asyncio.sleep(3600)
            finally:
                ended.set()

        async with client.pipeline(batches()) as pipeline:
            await taken(pipeline, 1)
        await asyncio.wait_for(ended.wait(), PATIENCE)


@pytest.mark.parametrize("error", [SystemExit("enough"), KeyboardInterrupt(), GeneratorExit()])
def test_what_ends_a_thread_and_not_only_a_call_comes_from_a_source_too(
    service: Service, session_id: str, error: BaseException
) -> None:
    def batches() -> Iterator[list[Operation]]:
        yield [Commit(session_id).increment("n")]
        raise error

    with Client(service.url) as client:
        pipeline = client.pipeline(batches())
        seen: list[object] = []

        def read() -> None:
            try:
                seen.extend(pipeline)
            except BaseException as raised:
                seen.append(raised)
            seen.extend(pipeline)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert len(seen) == 2
    assert seen[1] is error


async def test_a_source_that_somebody_cancels_ends_its_pipeline_and_not_its_reader(
    service: Service, session_id: str
) -> None:
    async def batches() -> AsyncIterator[list[Operation]]:
        yield [Commit(session_id).increment("n")]
        of_others = asyncio.ensure_future(asyncio.sleep(3600))
        of_others.cancel()
        await of_others

    async with AsyncClient(service.url) as client:
        pipeline = client.pipeline(batches())
        await taken(pipeline, 1)
        with pytest.raises(RuntimeError, match="source") as caught:
            await taken(pipeline, 1)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert [results async for results in pipeline] == []
