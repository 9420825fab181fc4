"""Every method of both clients, on the service itself."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from agenterra_workflow_state import (
    AsyncClient,
    Client,
    Commit,
    Committed,
    DeleteState,
    Deletion,
    Entry,
    GetSession,
    GetState,
    Reason,
    Session,
    SessionOrder,
    SessionView,
    SetState,
    WorkflowStateError,
)

MISSING = object()


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(client: type[Any]) -> dict[str, list[tuple[str, object, object]]]:
        return {
            name.replace("aclose", "close"): [
                (parameter.name, parameter.default, parameter.kind)
                for parameter in inspect.signature(getattr(client, name)).parameters.values()
            ]
            for name in dir(client)
            if not name.startswith("_") or name == "__init__"
        }

    assert methods(AsyncClient) == methods(Client)


# One entry


async def test_an_entry_has_its_value_revision_and_times(client: AsyncClient, session_id: str) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    written = await client.set_state(session_id, "key", [1])
    assert written == Entry("key", [1], 1, written.update_time, None, deleted=False)
    assert before < written.update_time < datetime.now(timezone.utc) + timedelta(seconds=1)
    assert await client.get_entry(session_id, "key") == written


async def test_a_missing_key_is_told_from_a_stored_null(client: AsyncClient, session_id: str) -> None:
    assert await client.get_state(session_id, "key") is None
    assert await client.get_state(session_id, "key", MISSING) is MISSING
    assert await client.get_entry(session_id, "key") is None
    await client.set_state(session_id, "key", None)
    assert await client.get_state(session_id, "key", MISSING) is None
    entry = await client.get_entry(session_id, "key")
    assert entry is not None
    assert (entry.value, entry.deleted) == (None, False)


async def test_an_entry_is_read_as_it_was(client: AsyncClient, session_id: str) -> None:
    for n in range(3):
        await client.set_state(session_id, "key", n)
    assert await client.get_state(session_id, "key", at_revision=2) == 1
    entry = await client.get_entry(session_id, "key", at_revision=1)
    assert entry is not None
    assert (entry.value, entry.revision) == (0, 1)


async def test_a_set_under_a_condition_writes_only_if_it_holds(client: AsyncClient, session_id: str) -> None:
    first = await client.set_state(session_id, "key", 1, if_revision=0)
    await client.set_state(session_id, "other", 1)
    second = await client.set_state(session_id, "key", 2, if_revision=first.revision)
    for stale in (0, first.revision):
        with pytest.raises(WorkflowStateError) as caught:
            await client.set_state(session_id, "key", 3, if_revision=stale)
        assert caught.value.reason is Reason.REVISION_MISMATCH
        [failed] = caught.value.failed_checks
        assert (failed.key, failed.if_revision, failed.actual_revision) == ("key", stale, second.revision)
    assert await client.get_state(session_id, "key") == 2


async def test_an_entry_lives_as_long_as_its_ttl(client: AsyncClient, session_id: str) -> None:
    for ttl in (timedelta(hours=1), 3600, 3600.0):
        entry = await client.set_state(session_id, "key", 1, ttl=ttl)
        assert entry.expire_time is not None
        assert entry.expire_time - entry.update_time == timedelta(hours=1)
    # What is short does not become "none".
    entry = await client.set_state(session_id, "key", 1, ttl=timedelta(microseconds=1))
    assert entry.expire_time is not None
    # The service's clock counts milliseconds: the next one may be still to come.
    await asyncio.sleep(0.01)
    assert await client.get_state(session_id, "key", MISSING) is MISSING
    entry = await client.set_state(session_id, "key", 1)
    assert entry.expire_time is None


@pytest.mark.parametrize("ttl", [1e-7, 4e-7, 0.0004, timedelta(microseconds=1)])
async def test_a_ttl_that_is_short_is_a_millisecond(
    client: AsyncClient, session_id: str, ttl: float | timedelta
) -> None:
    entry = await client.set_state(session_id, "key", 1, ttl=ttl)
    assert entry.expire_time is not None
    assert entry.expire_time - entry.update_time == timedelta(milliseconds=1)


@pytest.mark.parametrize("ttl", [-1e-9, -0.0005, -0.001, timedelta(microseconds=-500)])
async def test_a_ttl_that_ran_out_just_now_is_refused_and_not_for_ever(
    client: AsyncClient, session_id: str, ttl: float | timedelta
) -> None:
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: client.set_state(session_id, "key", 1, ttl=ttl),
        lambda: client.save_session(session_id, {}, ttl=ttl),
        lambda: client.save_session(session_id, {}, idle_ttl=ttl),
        lambda: client.commit(Commit(session_id, ttl=ttl).set("key", 1)),
        lambda: client.commit(Commit(session_id).set("key", 1, ttl=ttl)),
    ]
    for call in calls:
        with pytest.raises(WorkflowStateError) as caught:
            await call()
        assert caught.value.reason is Reason.INVALID_REQUEST
    assert await client.get_session(session_id) is None


async def test_a_deletion_says_whether_there_was_an_entry(client: AsyncClient, session_id: str) -> None:
    assert await client.delete_state(session_id, "key") == Deletion(deleted=False, revision=0)
    await client.set_state(session_id, "key", 1)
    with pytest.raises(WorkflowStateError, match="REVISION_MISMATCH"):
        await client.delete_state(session_id, "key", if_revision=7)
    deletion = await client.delete_state(session_id, "key", if_revision=1)
    assert deletion == Deletion(deleted=True, revision=2)
    assert deletion
    assert not await client.delete_state(session_id, "key")


async def test_entries_are_listed_by_key_over_pages(client: AsyncClient, session_id: str) -> None:
    keys = [f"{kind}-{n}" for kind in "ab" for n in range(5)]
    await client.save_session(session_id, {key: n for n, key in enumerate(keys)})

    async def listed(**options: Any) -> list[str]:
        return [entry.key async for entry in client.list_state(session_id, **options)]

    assert await listed() == keys
    assert await listed(page_size=3) == keys
    assert await listed(reverse=True, page_size=4) == keys[::-1]
    assert await listed(key_prefix="b-", page_size=2) == keys[5:]
    assert await listed(start_after="a-3") == keys[4:]
    await client.delete_state(session_id, "a-0")
    assert await listed(at_revision=1) == keys
    assert await listed() == keys[1:]
    assert [entry.value async for entry in client.list_state(session_id, key_prefix="b-")] == [5, 6, 7, 8, 9]
    assert [entry async for entry in client.list_state("nothing")] == []


async def test_a_listing_goes_on_with_a_token_and_can_be_iterated_again(
    client: AsyncClient, session_id: str
) -> None:
    await client.save_session(session_id, dict.fromkeys("abcde", 1))
    listing = client.list_state(session_id, page_size=2)
    pages = [page async for page in listing.pages()]
    assert [[entry.key for entry in page.items] for page in pages] == [["a", "b"], ["c", "d"], ["e"]]
    assert [entry.key async for entry in listing] == list("abcde")
    rest = client.list_state(session_id, page_size=2, page_token=pages[0].next_page_token)
    assert [entry.key async for entry in rest] == ["c", "d", "e"]


# Sessions


async def test_a_session_is_saved_and_read_whole(client: AsyncClient, session_id: str) -> None:
    saved = await client.save_session(
        session_id,
        {"b": 1, "a": [2]},
        workflow_id="w",
        user_id="u",
        labels={"stage": "open"},
        ttl=60,
        idle_ttl=30,
    )
    assert saved.create_time is not None
    assert saved == Session(
        session_id=session_id,
        state={"a": [2], "b": 1},
        revision=1,
        create_time=saved.create_time,
        update_time=saved.create_time,
        workflow_id="w",
        user_id="u",
        labels={"stage": "open"},
        expire_time=saved.create_time + timedelta(seconds=30),
    )
    assert await client.get_session(session_id) == saved
    part = await client.get_session(session_id, key_prefix="a")
    assert part is not None
    assert part.state == {"a": [2]}
    replaced = await client.save_session(session_id, {"c": 3}, if_revision=1, ttl=0, idle_ttl=0)
    assert replaced.state == {"c": 3}
    assert (replaced.workflow_id, replaced.user_id, replaced.labels) == (None, None, {})
    assert replaced.expire_time is None
    old = await client.get_session(session_id, at_revision=1)
    assert old is not None
    assert old.state == {"a": [2], "b": 1}


async def test_a_missing_session_is_none_and_an_empty_one_is_a_session(
    client: AsyncClient, session_id: str
) -> None:
    assert await client.get_session(session_id) is None
    saved = await client.save_session(session_id, {}, if_revision=0)
    assert saved.state == {}
    session = await client.get_session(session_id)
    assert session is not None
    assert session.state == {}


async def test_a_session_is_deleted_once(client: AsyncClient, session_id: str) -> None:
    await client.set_state(session_id, "key", 1)
    with pytest.raises(WorkflowStateError) as caught:
        await client.delete_session(session_id, if_revision=9)
    # The session's own condition has no key.
    assert [(check.key, check.actual_revision) for check in caught.value.failed_checks] == [("", 1)]
    assert await client.delete_session(session_id, if_revision=1) is True
    assert await client.delete_session(session_id) is False
    assert await client.get_session(session_id) is None


async def test_sessions_are_listed_by_filters_views_and_orders(client: AsyncClient, session_id: str) -> None:
    ids = [f"{session_id}/{n}" for n in range(5)]
    for n, one in enumerate(ids):
        await client.save_session(
            one, {"n": n}, workflow_id=f"w{session_id}{n % 2}", user_id=f"u{n}", labels={"parity": str(n % 2)}
        )

    async def listed(**options: Any) -> list[str]:
        listing = client.list_sessions(session_id_prefix=f"{session_id}/", **options)
        return [session.session_id async for session in listing]

    assert await listed() == ids
    assert await listed(page_size=2) == ids
    assert await listed(workflow_id=f"w{session_id}1") == [ids[1], ids[3]]
    assert await listed(user_id="u2") == [ids[2]]
    assert await listed(labels={"parity": "0"}) == [ids[0], ids[2], ids[4]]
    assert sorted(await listed(order=SessionOrder.UPDATE_TIME_DESC, page_size=2)) == ids
    [full] = [s async for s in client.list_sessions(session_id_prefix=ids[3], view=SessionView.FULL)]
    assert (full.state, full.labels) == ({"n": 3}, {"parity": "1"})
    [bare] = [s async for s in client.list_sessions(session_id_prefix=ids[3], view=SessionView.IDS)]
    assert bare == Session(ids[3], {}, 0)
    [known] = [s async for s in client.list_sessions(session_id_prefix=ids[3])]
    assert (known.state, known.user_id, known.revision) == ({}, "u3", 1)
    assert known.update_time is not None
    assert await listed(updated_after=known.update_time + timedelta(minutes=1)) == []
    assert await listed(updated_before=known.update_time + timedelta(minutes=1)) == ids
    assert set(ids) <= set(await client.get_all_session_ids())


# Commits


async def test_a_commit_makes_all_its_changes_in_order(client: AsyncClient, session_id: str) -> None:
    await client.save_session(session_id, {"old": 1, "list": [1, 2], "o": {"a": 1, "b": 2}})
    committed = await client.commit(
        Commit(session_id)
        .check("old", 1)
        .check("new", 0)
        .set("new", {"x": None})
        .delete("old")
        .increment("n")
        .increment("n", 2.5)
        .append("list", 3, 4, max_items=3)
        .merge("o", {"a": None, "c": [3]})
    )
    assert isinstance(committed, Committed)
    assert committed.revision == 2
    assert [entry.key for entry in committed.entries] == ["new", "old", "n", "list", "o"]
    assert committed["n"].value == 3.5
    assert (committed["old"].deleted, committed["old"].value) == (True, None)
    with pytest.raises(KeyError):
        committed["nothing"]
    session = await client.get_session(session_id)
    assert session is not None
    assert session.state == {"list": [2, 3, 4], "n": 3.5, "new": {"x": None}, "o": {"b": 2, "c": [3]}}


async def test_a_commit_whose_checks_fail_writes_nothing_and_names_every_one(
    client: AsyncClient, session_id: str
) -> None:
    await client.save_session(session_id, {"a": 1, "b": 2})
    with pytest.raises(WorkflowStateError) as caught:
        await client.commit(Commit(session_id).check("a", 9).check("b", 1).check("c", 3).set("d", 1))
    assert caught.value.reason is Reason.REVISION_MISMATCH
    assert [(c.key, c.if_revision, c.actual_revision) for c in caught.value.failed_checks] == [
        ("a", 9, 1),
        ("c", 3, 0),
    ]
    with pytest.raises(WorkflowStateError, match="REVISION_MISMATCH"):
        await client.commit(Commit(session_id, if_revision=7).set("d", 1))
    assert await client.get_state(session_id, "d", MISSING) is MISSING


async def test_of_very_many_failed_checks_the_first_are_named_and_all_are_counted(
    client: AsyncClient, session_id: str
) -> None:
    keys = [f"{n} ".ljust(100, "x") for n in range(300)]
    commit = Commit(session_id).set("k", 1)
    for key in keys:
        commit.check(key, 7)
    with pytest.raises(WorkflowStateError) as caught:
        await client.commit(commit)
    named = [check.key for check in caught.value.failed_checks]
    assert named == keys[: len(named)]
    assert len(named) > 20
    assert caught.value.metadata["failed_checks"] == "300"


async def test_a_commit_sets_keeps_and_clears_what_is_known_of_the_session(
    client: AsyncClient, session_id: str
) -> None:
    everything: dict[str, Any] = {
        "workflow_id": "w",
        "user_id": "u",
        "labels": {"a": "b"},
        "ttl": 60,
        "idle_ttl": 90,
    }
    await client.commit(Commit(session_id, **everything).set("k", 1))
    await client.commit(Commit(session_id).set("k", 2))
    kept = await client.get_session(session_id)
    assert kept is not None
    assert (kept.workflow_id, kept.user_id, kept.labels) == ("w", "u", {"a": "b"})
    assert kept.expire_time is not None
    await client.commit(
        Commit(session_id, workflow_id="", user_id="", labels={}, ttl=0, idle_ttl=timedelta(0))
    )
    cleared = await client.get_session(session_id)
    assert cleared is not None
    assert (cleared.workflow_id, cleared.user_id, cleared.labels) == (None, None, {})
    assert cleared.expire_time is None


async def test_a_set_in_a_commit_has_a_ttl_of_its_own_or_keeps_the_old(
    client: AsyncClient, session_id: str
) -> None:
    committed = await client.commit(Commit(session_id).set("k", 1, ttl=60))
    expires = committed["k"].expire_time
    assert expires == committed["k"].update_time + timedelta(minutes=1)
    assert (await client.commit(Commit(session_id).set("k", 2, keep_expiry=True)))["k"].expire_time == expires
    assert (await client.commit(Commit(session_id).set("k", 3)))["k"].expire_time is None


async def test_a_value_is_taken_over_when_it_is_given(client: AsyncClient, session_id: str) -> None:
    items = [1]
    commit = Commit(session_id).set("items", items)
    items.append(2)
    assert (await client.commit(commit))["items"].value == [1]


async def test_a_commit_without_changes_writes_nothing(client: AsyncClient, session_id: str) -> None:
    assert await client.commit(Commit(session_id)) == Committed(0, None, ())
    assert await client.get_session(session_id) is None


async def test_the_same_commit_counts_each_time_it_is_made(client: AsyncClient, session_id: str) -> None:
    commit = Commit(session_id).increment("n")
    assert commit.session_id == session_id
    assert [(await client.commit(commit))["n"].value for _ in range(3)] == [1, 2, 3]


# Replays


async def test_a_replayed_request_id_writes_nothing_and_answers_the_same(
    client: AsyncClient, session_id: str
) -> None:
    await client.save_session(session_id, {"old": 1})
    copy = f"{session_id}-copy"
    writes: list[Any] = [
        lambda: client.set_state(session_id, "a", 1, request_id="r1"),
        lambda: client.delete_state(session_id, "old", request_id="r2"),
        lambda: client.commit(Commit(session_id, request_id="r3").increment("n")),
        lambda: client.save_session(session_id, {"n": 5}, labels={"a": "1", "b": "2"}, request_id="r4"),
        lambda: client.fork_session(session_id, copy, request_id="r5"),
        lambda: client.restore_session(session_id, 1, request_id="r6"),
        lambda: client.delete_session(copy, request_id="r7"),
        lambda: client.batch([Commit(session_id, request_id="r8").append("log", "x")]),
    ]
    for write in writes:
        first = await write()
        before = await client.get_session(session_id)
        assert await write() == first
        assert await client.get_session(session_id) == before


async def test_a_request_id_of_another_request_is_refused(client: AsyncClient, session_id: str) -> None:
    await client.set_state(session_id, "a", 1, request_id="r1")
    with pytest.raises(WorkflowStateError) as caught:
        await client.set_state(session_id, "a", 2, request_id="r1")
    assert caught.value.reason is Reason.REQUEST_ID_REUSED


async def test_every_write_carries_a_request_id_of_its_own(client: AsyncClient, session_id: str) -> None:
    for _ in range(2):
        await client.set_state(session_id, "a", 1)
        await client.batch(
            [SetState(session_id, "b", 1), DeleteState(session_id, "b"), Commit(session_id).increment("n")]
        )
    ids = [event.request_id async for event in client.list_events(session_id)]
    assert len(ids) == 8
    assert len(set(ids)) == 8
    assert None not in ids


# Batches


async def test_a_batch_answers_each_operation_in_order_errors_among_them(
    client: AsyncClient, session_id: str
) -> None:
    other = f"{session_id}-other"
    results = await client.batch(
        [
            SetState(session_id, "a", 1, ttl=60),
            GetState(session_id, "a"),
            GetState(session_id, "nothing"),
            SetState(session_id, "a", 2, if_revision=9),
            Commit(other).increment("n", 5),
            DeleteState(session_id, "a", if_revision=1),
            GetSession(other, key_prefix="n"),
            GetSession("nothing"),
        ]
    )
    written, read, missing, refused, committed, deletion, session, nothing = results
    assert isinstance(written, Entry)
    assert read == written
    assert missing is None
    assert isinstance(refused, WorkflowStateError)
    assert refused.reason is Reason.REVISION_MISMATCH
    assert refused.failed_checks[0].actual_revision == 1
    assert "revision 1" in refused.message
    assert isinstance(committed, Committed)
    assert committed["n"].value == 5
    assert deletion == Deletion(deleted=True, revision=2)
    assert isinstance(session, Session)
    assert session.state == {"n": 5}
    assert nothing is None
    assert await client.batch([]) == []


async def test_what_is_no_operation_is_refused_before_anything_is_sent(
    client: AsyncClient, session_id: str
) -> None:
    wrong: Any = {"kind": "getState"}
    with pytest.raises(WorkflowStateError) as caught:
        await client.batch([SetState(session_id, "a", 1), wrong])
    assert caught.value.metadata == {"field": "operations"}
    with pytest.raises(WorkflowStateError, match="INVALID_REQUEST"):
        await client.commit(wrong)
    assert await client.get_session(session_id) is None
