"""What a user of the package writes: it passes the strictest type checker."""

from typing import TypedDict

from typing_extensions import assert_type

from agenterra_workflow_state import (
    AsyncClient,
    AsyncWatch,
    Client,
    Commit,
    Committed,
    Deletion,
    Draft,
    Entry,
    Event,
    GetState,
    Operation,
    Page,
    Pages,
    Progress,
    Reason,
    Result,
    Session,
    SessionChange,
    SetState,
    Snapshot,
    Watch,
    WatchMessage,
    WorkflowStateError,
)


class Cart(TypedDict):
    items: list[str]
    total: int


def count(draft: Draft) -> int:
    draft["n"] = draft.get("n", 0) + 1
    return len(draft)


async def count_later(draft: Draft) -> str:
    return str(count(draft))


def blocking(client: Client) -> None:
    items: list[str] = ["milk"]
    cart: Cart = {"items": items, "total": 1}
    assert_type(client.set_state("s", "items", items), Entry)
    assert_type(client.set_state("s", "cart", cart), Entry)
    assert_type(client.save_session("s", {"items": items, "n": None}), Session)
    assert_type(client.get_session("s"), Session | None)
    assert_type(client.get_entry("s", "items"), Entry | None)
    assert_type(client.delete_state("s", "items"), Deletion)
    assert_type(client.delete_session("s"), bool)
    assert_type(client.list_state("s"), Pages[Entry])
    for entry in client.list_state("s"):
        assert_type(entry, Entry)
    for page in client.list_sessions().pages():
        assert_type(page, Page[Session])
    assert_type(client.commit(Commit("s").check("n", 0).increment("n").append("items", "a", cart)), Committed)
    operations: list[Operation] = [SetState("s", "n", 1), GetState("s", "n"), Commit("s")]
    assert_type(client.batch(operations), list[Result])
    for results in client.pipeline([operations, operations]):
        assert_type(results, list[Result])
    assert_type(client.update("s", count), int)
    assert_type(client.update("s", lambda draft: draft.clear()), None)
    with client.watch_session("s") as watch:
        assert_type(watch, Watch[WatchMessage])
        for message in watch:
            match message:
                case Snapshot(session=session):
                    assert_type(session, Session)
                case Event(entries=entries):
                    assert_type(entries, tuple[Entry, ...])
                case Progress(revision=revision):
                    assert_type(revision, int)
    try:
        client.set_state("s", "n", 1, if_revision=0)
    except WorkflowStateError as error:
        if error.reason is not Reason.REVISION_MISMATCH:
            raise
        assert_type(error.failed_checks[0].actual_revision, int)


async def in_asyncio(client: AsyncClient) -> None:
    assert_type(await client.set_state("s", "n", 1), Entry)
    assert_type(await client.update("s", count), int)
    assert_type(await client.update("s", count_later), str)
    async for entry in client.list_state("s"):
        assert_type(entry, Entry)
    async with client.watch_sessions(labels={"a": "b"}) as watch:
        assert_type(watch, AsyncWatch[SessionChange])
        async for change in watch:
            assert_type(change.session, Session)


with Client("http://127.0.0.1:7410", token=lambda: "t") as opened:
    assert_type(opened, Client)
