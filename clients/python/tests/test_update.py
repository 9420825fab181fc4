"""update: what the function changed is committed under checks on what it looked at, and tried again on a conflict."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agenterra_workflow_state import AsyncClient, Client, Commit, Draft, Reason, WorkflowStateError

from .support.service import Service


async def state_of(client: AsyncClient, session_id: str) -> dict[str, Any]:
    session = await client.get_session(session_id)
    return {} if session is None else session.state


async def test_what_was_changed_is_written_in_one_commit(client: AsyncClient, session_id: str) -> None:
    await client.save_session(session_id, {"items": ["milk"], "old": 1, "same": {"a": [1]}})

    def change(draft: Draft) -> str:
        draft["items"].append("eggs")
        draft["total"] = len(draft["items"])
        draft["same"] = {"a": [1]}
        del draft["old"]
        return "done"

    assert await client.update(session_id, change) == "done"
    assert await state_of(client, session_id) == {"items": ["milk", "eggs"], "total": 2, "same": {"a": [1]}}
    [event] = [event async for event in client.list_events(session_id, after_revision=1)]
    assert sorted(entry.key for entry in event.entries) == ["items", "old", "total"]


async def test_an_update_creates_a_missing_session(client: AsyncClient, session_id: str) -> None:
    await client.update(session_id, lambda draft: draft.setdefault("n", 1))
    assert await state_of(client, session_id) == {"n": 1}


async def test_an_update_that_changes_nothing_writes_nothing(client: AsyncClient, session_id: str) -> None:
    await client.save_session(session_id, {"a": {"x": 1, "y": 2}, "n": 1})

    def look(draft: Draft) -> int:
        draft["a"] = {"y": 2, "x": 1.0}
        draft["new"] = 1
        del draft["new"]
        return len(draft)

    assert await client.update(session_id, look) == 2
    session = await client.get_session(session_id)
    assert session is not None
    assert session.revision == 1


async def test_a_true_in_place_of_a_one_is_a_change(client: AsyncClient, session_id: str) -> None:
    await client.save_session(session_id, {"flag": 1})
    await client.update(session_id, lambda draft: draft.update(flag=True))
    assert await client.get_state(session_id, "flag") is True


async def test_a_function_that_raises_writes_nothing(client: AsyncClient, session_id: str) -> None:
    def fail(draft: Draft) -> None:
        draft["n"] = 1
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await client.update(session_id, fail)
    assert await client.get_session(session_id) is None


async def test_errors_of_the_function_are_not_taken_for_conflicts(
    client: AsyncClient, session_id: str
) -> None:
    calls = []

    def fail(draft: Draft) -> None:
        calls.append(len(draft))
        raise WorkflowStateError(Reason.REVISION_MISMATCH, "mine")

    with pytest.raises(WorkflowStateError, match="mine"):
        await client.update(session_id, fail)
    assert calls == [0]


async def test_the_draft_is_a_dict(client: AsyncClient, session_id: str) -> None:
    await client.save_session(session_id, {"a": 1, "b": [2]})

    odd: Any = 3

    def use(draft: Draft) -> list[Any]:
        seen = [
            draft.get("a"),
            draft.get("nothing", 7),
            "b" in draft,
            "nothing" in draft,
            odd in draft,
            len(draft),
        ]
        draft |= {"c": 3}
        seen += [dict(draft), draft.pop("a"), sorted(draft), repr(draft), draft == {"b": [2], "c": 3}]
        with pytest.raises(KeyError):
            draft["a"]
        with pytest.raises(KeyError):
            del draft["a"]
        return seen

    assert await client.update(session_id, use) == [
        1,
        7,
        True,
        False,
        False,
        2,
        {"a": 1, "b": [2], "c": 3},
        1,
        ["b", "c"],
        "Draft({'b': [2], 'c': 3})",
        True,
    ]
    assert await state_of(client, session_id) == {"b": [2], "c": 3}


async def test_the_draft_itself_is_returned_as_a_plain_dict(client: AsyncClient, session_id: str) -> None:
    def change(draft: Draft) -> Draft:
        draft["n"] = 1
        return draft

    result: Any = await client.update(session_id, change)
    assert type(result) is dict
    assert result == {"n": 1}


async def test_a_draft_can_not_be_changed_when_its_update_has_ended(
    client: AsyncClient, session_id: str
) -> None:
    kept: list[Draft] = []
    await client.update(session_id, kept.append)
    with pytest.raises(WorkflowStateError, match="ended"):
        kept[0]["n"] = 1


async def test_a_key_that_can_not_be_is_refused_when_it_is_written(
    client: AsyncClient, session_id: str
) -> None:
    wrong: Any = 7
    for key in ("", "k" * 513, "\ud800", wrong):

        def write(draft: Draft, key: str = key) -> None:
            assert key not in draft
            draft[key] = 1

        with pytest.raises(WorkflowStateError) as caught:
            await client.update(session_id, write)
        assert caught.value.reason is Reason.INVALID_KEY
    # To have looked for one does no harm.
    await client.update(session_id, lambda draft: draft.update(n=draft.get("k" * 513, 1)))
    assert await state_of(client, session_id) == {"n": 1}


async def test_a_conflict_on_what_was_looked_at_runs_the_function_again(
    client: AsyncClient, session_id: str
) -> None:
    await client.save_session(session_id, {"a": 1, "b": 1})
    for look, key, runs in (
        (lambda draft: draft["a"], "a", 2),
        (lambda draft: draft.get("new"), "new", 2),
        (lambda draft: "c" in draft, "c", 2),
        (lambda draft: sorted(draft), "d", 2),
        (len, "e", 2),
        (lambda draft: draft["a"], "b", 1),
        (repr, "f", 1),
    ):
        calls: list[int] = []

        def change(draft: Draft, look: Any = look, key: str = key, calls: list[int] = calls) -> None:
            look(draft)
            draft["result"] = f"{key}{len(calls)}"
            calls.append(1)
            if len(calls) == 1:
                other.set_state(session_id, key, len(calls) + 100)

        with Client(client_url(client)) as other:
            await client.update(session_id, change)
        assert len(calls) == runs, key
        assert await client.get_state(session_id, "result") == f"{key}{runs - 1}"


async def test_an_update_gives_up_after_its_attempts(client: AsyncClient, session_id: str) -> None:
    calls = []
    with Client(client_url(client)) as other:

        def change(draft: Draft) -> None:
            draft["n"] = draft.get("n", 0) + 1
            calls.append(other.commit(Commit(session_id).increment("n")))

        with pytest.raises(WorkflowStateError) as caught:
            await client.update(session_id, change, attempts=3)
    assert caught.value.reason is Reason.REVISION_MISMATCH
    assert len(calls) == 3


async def test_a_session_that_is_deleted_between_two_attempts_is_created_again(
    client: AsyncClient, session_id: str
) -> None:
    await client.save_session(session_id, {"a": 1, "b": 2})
    # Now the session is ahead of its entries, so that the first attempt has a conflict.
    await client.delete_state(session_id, "b")
    calls: list[list[str]] = []
    with Client(client_url(client)) as other:

        def change(draft: Draft) -> None:
            calls.append(sorted(draft))
            draft["n"] = len(calls[-1])
            if len(calls) == 2:
                other.delete_session(session_id)

        await client.update(session_id, change, attempts=5)
    assert calls == [["a"], ["a"], []]
    assert await state_of(client, session_id) == {"n": 0}


async def test_many_updates_at_once_all_count(client: AsyncClient, session_id: str) -> None:
    def add(n: int) -> Any:
        def change(draft: Draft) -> None:
            draft["total"] = draft.get("total", 0) + 1
            draft["items"] = [*draft.get("items", []), n]

        return change

    await asyncio.gather(*(client.update(session_id, add(n)) for n in range(20)))
    state = await state_of(client, session_id)
    assert state["total"] == 20
    assert sorted(state["items"]) == list(range(20))


def test_updates_of_many_clients_in_threads_all_count(service: Service, session_id: str) -> None:
    def work(n: int) -> None:
        with Client(service.url) as client:
            for m in range(5):

                def change(draft: Draft, m: int = m) -> None:
                    draft.setdefault("items", []).append(f"{n}.{m}")

                client.update(session_id, change)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    with Client(service.url) as client:
        assert sorted(client.get_state(session_id, "items")) == sorted(
            f"{n}.{m}" for n in range(6) for m in range(5)
        )


def test_one_client_serves_many_threads(service: Service, session_id: str) -> None:
    with Client(service.url) as client, ThreadPoolExecutor(8) as threads:
        results = threads.map(
            lambda _: client.commit(Commit(session_id).increment("n"))["n"].value, range(40)
        )
        assert sorted(results) == list(range(1, 41))


async def test_updates_of_many_clients_in_tasks_all_count(service: Service, session_id: str) -> None:
    async def work(n: int) -> None:
        async with AsyncClient(service.url) as client:
            for m in range(5):
                # A coroutine function, too.
                async def change(draft: Draft, m: int = m) -> None:
                    await asyncio.sleep(0)
                    draft["items"] = [*draft.get("items", []), f"{n}.{m}"]

                await client.update(session_id, change)

    await asyncio.gather(*map(work, range(6)))
    async with AsyncClient(service.url) as client:
        items = await client.get_state(session_id, "items")
    assert sorted(items) == sorted(f"{n}.{m}" for n in range(6) for m in range(5))


def test_an_update_within_an_update_of_the_same_session_is_refused_and_of_another_is_not(
    service: Service, session_id: str
) -> None:
    with Client(service.url) as client:

        def outer(draft: Draft) -> None:
            client.update(f"{session_id}-other", lambda inner: inner.update(n=1))
            with pytest.raises(WorkflowStateError, match="itself"):
                client.update(session_id, lambda inner: inner.update(n=1))
            draft["n"] = 2

        client.update(session_id, outer)
        assert client.get_state(session_id, "n") == 2
        assert client.get_state(f"{session_id}-other", "n") == 1


async def test_an_update_within_an_update_of_the_same_session_is_refused_in_tasks_too(
    service: Service, session_id: str
) -> None:
    async with AsyncClient(service.url) as client:

        async def outer(draft: Draft) -> None:
            draft["n"] = 2
            with pytest.raises(WorkflowStateError, match="itself"):
                await asyncio.gather(client.update(session_id, lambda inner: inner.update(n=1)))

        await client.update(session_id, outer)
        assert await client.get_state(session_id, "n") == 2


async def test_a_cancelled_update_lets_the_next_one_in(service: Service, session_id: str) -> None:
    async with AsyncClient(service.url) as client:
        entered = asyncio.Event()

        async def wait(draft: Draft) -> None:
            draft["n"] = 1
            entered.set()
            await asyncio.sleep(60)

        task = asyncio.ensure_future(client.update(session_id, wait))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.update(session_id, lambda draft: draft.update(n=2))
        assert await client.get_state(session_id, "n") == 2


def test_updates_of_one_client_take_turns(service: Service, session_id: str) -> None:
    running = []
    together = []
    lock = threading.Lock()
    with Client(service.url) as client:

        def change(draft: Draft) -> None:
            with lock:
                running.append(1)
            together.append(len(running))
            draft["n"] = draft.get("n", 0) + 1
            with lock:
                running.pop()

        with ThreadPoolExecutor(5) as threads:
            list(threads.map(lambda _: client.update(session_id, change), range(10)))
    # None had to be run again.
    assert together == [1] * 10


@pytest.mark.parametrize("attempts", [0, -1, 1.5, "3", None])
async def test_wrong_attempts_are_refused(client: AsyncClient, session_id: str, attempts: Any) -> None:
    with pytest.raises(WorkflowStateError) as caught:
        await client.update(session_id, lambda draft: None, attempts=attempts)
    assert caught.value.metadata == {"field": "attempts"}


async def test_what_is_no_function_is_refused(client: AsyncClient, session_id: str) -> None:
    wrong: Any = {"n": 1}
    with pytest.raises(WorkflowStateError, match="function"):
        await client.update(session_id, wrong)


def client_url(client: AsyncClient) -> str:
    """Where a client of either kind is connected to."""
    inner: Any = getattr(client, "_client", client)
    target: str = inner._channel.settings.target
    return target.replace("dns:///", "http://")
