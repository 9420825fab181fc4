"""Watches: nothing missed, nothing twice, over however many connections."""

from __future__ import annotations

import asyncio
import gc
import itertools
import queue
import threading
from typing import Any

import pytest

from agenterra_workflow_state import (
    AsyncClient,
    Client,
    Commit,
    Event,
    EventKind,
    GetState,
    Reason,
    Snapshot,
    WatchMessage,
    WorkflowStateError,
)

from .support.proxy import proxied
from .support.raw import serving
from .support.service import Service, configured
from .support.streams import PATIENCE, is_live, revisions, taken, until
from .support.twins import Kind, opened

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
        await asyncio.wait_for(waiting, PATIENCE)
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
                await asyncio.wait_for(one, PATIENCE)
            assert caught.value.reason is Reason.SHUTTING_DOWN
        with pytest.raises(WorkflowStateError, match="SHUTTING_DOWN"):
            await taken(client.watch_session(session_id), 1)


async def test_a_cancelled_reading_loses_no_message(service: Service, session_id: str) -> None:
    async with AsyncClient(service.url) as client:
        watch = client.watch_session(session_id)
        await taken(watch, 1)
        other = client.watch_sessions(session_id_prefix=session_id)
        await is_live(other, client, session_id)
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
        await is_live(watch, client, session_id, labels)
        await client.save_session(f"{session_id}/1", {"a": 1}, labels=labels, user_id="u")
        await client.save_session(f"{session_id}/2", {"a": 1})
        await client.set_state(f"{session_id}/1", "a", 2)
        await client.delete_session(f"{session_id}/1")
        changes = await taken(watch, 3)
    assert [change.kind for change in changes] == [EventKind.SAVED, EventKind.COMMITTED, EventKind.DELETED]
    assert {change.session.session_id for change in changes} == {f"{session_id}/1"}
    assert [change.session.revision for change in changes] == [1, 2, 3]
    assert (changes[0].session.state, changes[0].session.user_id) == ({}, "u")


async def test_a_watch_on_sessions_sees_what_happens_before_it_is_read(kind: Kind) -> None:
    with serving() as raw:
        async with opened(kind, raw.url) as client, client.watch_sessions() as watch:
            # Nobody reads, and the service has heard of it all the same.
            await until(lambda: raw.carried)
            [change] = await taken(watch, 1)
            assert change.session.revision == 1


async def test_a_watch_on_sessions_says_when_it_is_lost(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with proxied(service.address) as proxy, opened(kind, proxy.url) as client:
        watch = client.watch_sessions(session_id_prefix=session_id)
        await is_live(watch, client, session_id)
        waiting = asyncio.ensure_future(taken(watch, 1))
        proxy.cut()
        with pytest.raises(WorkflowStateError) as caught:
            await waiting
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        assert [change async for change in watch] == []


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
