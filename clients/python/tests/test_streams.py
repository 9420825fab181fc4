"""Watches and pipelines: nothing missed, nothing twice, over however many connections."""

from __future__ import annotations

import asyncio
import gc
import itertools
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from agenterra_workflow_state import (
    AsyncClient,
    Client,
    Commit,
    Event,
    EventKind,
    GetState,
    Operation,
    Progress,
    Reason,
    Retry,
    SetState,
    Snapshot,
    WatchMessage,
    WorkflowStateError,
)

from .support.proxy import proxied
from .support.service import Service, configured
from .support.twins import Kind, opened


async def taken(items: Any, count: int) -> list[Any]:
    """So many items, progress left out."""
    got: list[Any] = []
    while len(got) < count:
        item = await asyncio.wait_for(items.__anext__(), 15)
        if not isinstance(item, Progress):
            got.append(item)
    return got


def revisions(messages: list[WatchMessage]) -> list[int]:
    return [message.revision for message in messages]


# One session


async def test_a_watch_begins_with_a_snapshot_and_goes_on_with_events(
    client: AsyncClient, session_id: str
) -> None:
    await client.set_state(session_id, "a", 1)
    async with client.watch_session(session_id) as watch:
        [snapshot] = await taken(watch, 1)
        assert isinstance(snapshot, Snapshot)
        assert snapshot == Snapshot(snapshot.session)
        assert (snapshot.session.state, snapshot.revision) == ({"a": 1}, 1)
        await client.commit(Commit(session_id).set("b", None).delete("a"))
        await client.delete_session(session_id)
        await client.set_state(session_id, "c", 3)
        written, deleted, again = await taken(watch, 3)
    assert isinstance(written, Event)
    assert [(e.key, e.value, e.deleted) for e in written.entries] == [("b", None, False), ("a", None, True)]
    assert (deleted.kind, deleted.entries) == (EventKind.DELETED, ())
    assert revisions([written, deleted, again]) == [2, 3, 4]


async def test_a_watch_of_a_session_that_is_not_there_waits_for_it(
    client: AsyncClient, session_id: str
) -> None:
    async with client.watch_session(session_id) as watch:
        [snapshot] = await taken(watch, 1)
        assert (snapshot.revision, snapshot.session.create_time) == (0, None)
        await client.set_state(session_id, "a", 1)
        assert revisions(await taken(watch, 1)) == [1]


async def test_a_watch_goes_on_after_a_revision_and_keeps_to_its_prefix(
    client: AsyncClient, session_id: str
) -> None:
    for n in range(3):
        await client.commit(Commit(session_id).set("a", n).set("b", n))
    async with client.watch_session(session_id, after_revision=1, key_prefix="b") as watch:
        events = await taken(watch, 2)
    assert revisions(events) == [2, 3]
    assert [[entry.key for entry in event.entries] for event in events] == [["b"], ["b"]]


async def test_a_watch_survives_lost_connections_without_a_gap_or_a_repetition(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with (
        proxied(service.address) as proxy,
        opened(kind, proxy.url) as client,
        AsyncClient(service.url) as writer,
    ):
        async with client.watch_session(session_id) as watch:
            assert revisions(await taken(watch, 1)) == [0]

            async def write() -> None:
                for n in range(60):
                    await writer.set_state(session_id, "n", n)
                    if n % 10 == 5:
                        proxy.cut()
                    await asyncio.sleep(0.005)

            writing = asyncio.ensure_future(write())
            events = await taken(watch, 60)
            await writing
        assert proxy.connections >= 4
    assert revisions(events) == list(range(1, 61))
    assert [event.entries[0].value for event in events] == list(range(60))


async def test_a_watch_that_was_cut_before_its_snapshot_begins_with_one(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with proxied(service.address) as proxy, opened(kind, proxy.url) as client:
        await client.set_state(session_id, "a", 1)
        proxy.lose_answers = 2
        async with client.watch_session(session_id) as watch:
            [snapshot] = await taken(watch, 1)
        assert proxy.lose_answers == 0
        assert isinstance(snapshot, Snapshot)


async def test_a_watch_survives_a_restart_of_the_service(kind: Kind) -> None:
    first = Service()
    async with opened(kind, first.url) as client, client.watch_session("s") as watch:
        assert revisions(await taken(watch, 1)) == [0]
        next_one = asyncio.ensure_future(taken(watch, 1))
        await asyncio.sleep(0.1)
        # It tells its watchers, who come back.
        first.stop()
        second = Service(listen=first.address)
        try:
            async with AsyncClient(second.url) as writer:
                await writer.set_state("s", "n", 1)
            assert revisions(await next_one) == [1]
        finally:
            second.stop()


async def test_a_watch_that_hears_nothing_connects_anew(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with proxied(service.address) as proxy, AsyncClient(service.url) as writer:
        async with opened(kind, proxy.url, silence=0.5) as client, client.watch_session(session_id) as watch:
            assert revisions(await taken(watch, 1)) == [0]
            proxy.black_hole = True
            await writer.set_state(session_id, "n", 1)
            waiting = asyncio.ensure_future(taken(watch, 1))
            await asyncio.sleep(0.3)
            proxy.black_hole = False
            # The bytes that were swallowed never come: only another call can bring them.
            assert revisions(await waiting) == [1]


async def test_a_watch_ends_with_what_is_no_matter_of_connections(
    kind: Kind, tmp_path: Any, session_id: str
) -> None:
    with configured(tmp_path, memory={"history": 2}) as service:
        async with opened(kind, service.url) as client:
            for n in range(6):
                await client.set_state(session_id, "n", n)
            watch = client.watch_session(session_id, after_revision=1)
            with pytest.raises(WorkflowStateError) as caught:
                await taken(watch, 1)
            assert caught.value.reason is Reason.HISTORY_COMPACTED
            assert int(caught.value.metadata["oldest_revision"]) > 2
            # And then it is over.
            assert [message async for message in watch] == []
            with pytest.raises(WorkflowStateError, match="FUTURE_REVISION"):
                await taken(client.watch_session(session_id, after_revision=99), 1)


async def test_a_closed_watch_is_over_also_for_who_waits_for_it(client: AsyncClient, session_id: str) -> None:
    watch = client.watch_session(session_id)
    await taken(watch, 1)
    waiting = asyncio.ensure_future(watch.__anext__())
    await asyncio.sleep(0.1)
    await watch.aclose()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 5)
    assert [message async for message in watch] == []
    await watch.aclose()


async def test_a_watch_ends_with_its_client(kind: Kind, service: Service, session_id: str) -> None:
    async with opened(kind, service.url) as client:
        watches: list[Any] = [client.watch_session(session_id), client.watch_sessions()]
        await taken(watches[0], 1)
        waiting = [asyncio.ensure_future(watch.__anext__()) for watch in watches]
        await asyncio.sleep(0.1)
        await client.aclose()
        for one in waiting:
            with pytest.raises(WorkflowStateError) as caught:
                await asyncio.wait_for(one, 5)
            assert caught.value.reason is Reason.SHUTTING_DOWN
        with pytest.raises(WorkflowStateError, match="SHUTTING_DOWN"):
            await taken(client.watch_session(session_id), 1)


async def test_a_cancelled_reading_loses_no_message(service: Service, session_id: str) -> None:
    async with AsyncClient(service.url) as client:
        watch = client.watch_session(session_id)
        await taken(watch, 1)
        other = client.watch_sessions(session_id_prefix=session_id)
        for n in range(1, 4):
            for one in (watch, other):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(one.__anext__(), 0.05)
            await client.set_state(session_id, "n", n)
            assert revisions(await taken(watch, 1)) == [n]
            [change] = await taken(other, 1)
            assert change.session.revision == n
        await watch.aclose()
        await other.aclose()


# All sessions


async def test_a_watch_on_sessions_tells_of_those_that_match(client: AsyncClient, session_id: str) -> None:
    labels = {"of": session_id}
    async with client.watch_sessions(session_id_prefix=session_id, labels=labels) as watch:
        await asyncio.sleep(0.2)
        await client.save_session(f"{session_id}/1", {"a": 1}, labels=labels, user_id="u")
        await client.save_session(f"{session_id}/2", {"a": 1})
        await client.set_state(f"{session_id}/1", "a", 2)
        await client.delete_session(f"{session_id}/1")
        changes = await taken(watch, 3)
    assert [change.kind for change in changes] == [EventKind.SAVED, EventKind.COMMITTED, EventKind.DELETED]
    assert {change.session.session_id for change in changes} == {f"{session_id}/1"}
    assert [change.session.revision for change in changes] == [1, 2, 3]
    assert (changes[0].session.state, changes[0].session.user_id) == ({}, "u")


async def test_a_watch_on_sessions_sees_what_happens_before_it_is_read(
    client: AsyncClient, session_id: str
) -> None:
    watch = client.watch_sessions(session_id_prefix=session_id)
    await asyncio.sleep(0.2)
    await client.set_state(session_id, "a", 1)
    await asyncio.sleep(0.1)
    [change] = await taken(watch, 1)
    assert change.session.revision == 1
    await watch.aclose()


async def test_a_watch_on_sessions_says_when_it_is_lost(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with proxied(service.address) as proxy, opened(kind, proxy.url) as client:
        watch = client.watch_sessions(session_id_prefix=session_id)
        await client.set_state(session_id, "a", 1)
        waiting = asyncio.ensure_future(taken(watch, 100))
        await asyncio.sleep(0.2)
        proxy.cut()
        with pytest.raises(WorkflowStateError) as caught:
            await waiting
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        assert [change async for change in watch] == []


# Pipelines


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
    await asyncio.wait_for(closed.wait(), 5)


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
        await asyncio.wait_for(ended.wait(), 5)


def test_a_watch_in_a_thread_can_be_closed_from_another(service: Service, session_id: str) -> None:
    with Client(service.url) as client:
        watch = client.watch_session(session_id)
        messages: queue.SimpleQueue[WatchMessage | None] = queue.SimpleQueue()

        def follow() -> None:
            for message in watch:
                messages.put(message)
            messages.put(None)

        thread = threading.Thread(target=follow)
        thread.start()
        snapshot = messages.get(timeout=10)
        assert isinstance(snapshot, Snapshot)
        watch.close()
        assert messages.get(timeout=10) is None
        thread.join(10)
        assert not thread.is_alive()


async def test_a_stream_that_nobody_holds_any_more_is_ended(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with proxied(service.address) as proxy, opened(kind, proxy.url, silence=0.2) as client:
        await taken(client.watch_session(session_id), 1)
        await taken(client.pipeline(itertools.repeat([GetState(session_id, "n")])), 1)
        client.watch_sessions(session_id_prefix=session_id)
        gc.collect()
        await asyncio.sleep(0.5)
        inner: Any = getattr(client, "_client", client)
        assert list(inner._channel.streams) == []
        # A stream that was still open would come back.
        proxy.cut()
        connections = proxy.connections
        await asyncio.sleep(0.5)
        assert proxy.connections == connections
        assert threading.active_count() < 30
