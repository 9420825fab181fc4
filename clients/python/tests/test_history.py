"""The past: events, forks, restores, and sessions larger than an answer."""

from __future__ import annotations

from typing import Any

import pytest

from agenterra_workflow_state import AsyncClient, Commit, EventKind, ForkedFrom, Reason, WorkflowStateError


async def test_events_say_what_each_commit_did(client: AsyncClient, session_id: str) -> None:
    await client.set_state(session_id, "a", 1, request_id="mine")
    await client.commit(Commit(session_id).delete("a").set("b", None))
    await client.save_session(session_id, {"c": 1})
    await client.delete_session(session_id)
    await client.restore_session(session_id, 1)
    events = [event async for event in client.list_events(session_id, page_size=2)]
    assert [event.revision for event in events] == [1, 2, 3, 4, 5]
    assert [event.kind for event in events] == [
        EventKind.COMMITTED,
        EventKind.COMMITTED,
        EventKind.SAVED,
        EventKind.DELETED,
        EventKind.RESTORED,
    ]
    assert events[0].request_id == "mine"
    assert events[0].session_id == session_id
    assert events[0].time == events[0].entries[0].update_time
    assert [(e.key, e.value, e.deleted) for e in events[1].entries] == [("a", None, True), ("b", None, False)]
    later = [event.revision async for event in client.list_events(session_id, after_revision=3)]
    assert later == [4, 5]
    newest = [event.revision async for event in client.list_events(session_id, reverse=True)]
    assert newest == [5, 4, 3, 2, 1]


async def test_a_session_is_forked_as_it_was_and_knows_where_from(
    client: AsyncClient, session_id: str
) -> None:
    await client.set_state(session_id, "a", 1)
    await client.set_state(session_id, "a", 2)
    old = await client.fork_session(session_id, f"{session_id}-old", at_revision=1)
    assert (old.state, old.revision, old.forked_from) == ({"a": 1}, 1, ForkedFrom(session_id, 1))
    new = await client.fork_session(session_id, f"{session_id}-new")
    assert (new.state, new.forked_from) == ({"a": 2}, ForkedFrom(session_id, 2))


async def test_a_session_is_restored_as_a_new_revision(client: AsyncClient, session_id: str) -> None:
    await client.set_state(session_id, "a", 1)
    await client.set_state(session_id, "a", 2)
    restored = await client.restore_session(session_id, 1, if_revision=2)
    assert (restored.state, restored.revision) == ({"a": 1}, 3)
    with pytest.raises(WorkflowStateError, match="REVISION_MISMATCH"):
        await client.restore_session(session_id, 1, if_revision=2)


async def test_sessions_larger_than_an_answer_are_saved_forked_restored_and_updated(
    client: AsyncClient, session_id: str
) -> None:
    megabyte = "x" * (1 << 20)
    for n in range(5):
        await client.set_state(session_id, f"k{n}", megabyte[: -n - 100])
    with pytest.raises(WorkflowStateError) as caught:
        await client.get_session(session_id)
    assert caught.value.reason is Reason.SESSION_TOO_LARGE
    copy = await client.fork_session(session_id, f"{session_id}-copy")
    assert {key: len(value) for key, value in copy.state.items()} == {
        f"k{n}": (1 << 20) - n - 100 for n in range(5)
    }
    await client.delete_state(session_id, "k0")
    restored = await client.restore_session(session_id, 5)
    assert restored.state == copy.state

    def shorten(draft: Any) -> list[int]:
        draft["k4"] = "short"
        return [len(draft[key]) for key in sorted(draft)]

    lengths = await client.update(session_id, shorten)
    assert lengths == [*((1 << 20) - n - 100 for n in range(4)), 5]
    assert await client.get_state(session_id, "k4") == "short"
    for session in (session_id, f"{session_id}-copy"):
        await client.delete_session(session)
