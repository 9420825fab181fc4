"""Errors: each reason as the service says it, with its code and its facts, and none taken from a text."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Any

import grpc
import pytest

from agenterra_workflow_state import (
    CODE_OF_REASON,
    AsyncClient,
    Commit,
    EventKind,
    FailedCheck,
    GetState,
    Operation,
    Reason,
    Retry,
    SetState,
    WorkflowStateError,
)
from agenterra_workflow_state.proto import service_pb2, state_pb2

from .support.raw import Raw, serving
from .support.service import Service, configured
from .support.streams import is_live
from .support.twins import Kind, opened

# What the service itself can be made to say: a call, its reason, and some of its facts.
Call = Callable[[AsyncClient, str], Awaitable[Any]]


async def _page_of_another_listing(client: AsyncClient, s: str) -> None:
    await client.save_session(s, {"a": 1, "b": 2})
    async for page in client.list_state(s, page_size=1).pages():
        async for _ in client.list_state(s, reverse=True, page_token=page.next_page_token):
            pass


async def _reused(client: AsyncClient, s: str) -> None:
    await client.set_state(s, "k", 1, request_id="r")
    await client.set_state(s, "k", 2, request_id="r")


async def _mismatched_type(client: AsyncClient, s: str) -> None:
    await client.set_state(s, "k", "text")
    await client.commit(Commit(s).increment("k"))


async def _fork_onto_itself(client: AsyncClient, s: str) -> None:
    await client.set_state(s, "k", 1)
    await client.fork_session(s, s)


async def _too_far(client: AsyncClient, s: str) -> None:
    await client.set_state(s, "k", 2**53 - 1)
    await client.commit(Commit(s).increment("k"))


async def _from_the_future(client: AsyncClient, s: str) -> None:
    await client.set_state(s, "k", 1)
    await client.get_state(s, "k", at_revision=9)


def _many_changes(s: str) -> Commit:
    commit = Commit(s)
    for n in range(129):
        commit.set(f"k{n}", n)
    return commit


PROVOKED: list[tuple[Reason, Call, dict[str, str]]] = [
    (Reason.INVALID_SESSION_ID, lambda c, s: c.get_session(""), {"field": "session_id"}),
    (Reason.INVALID_SESSION_ID, lambda c, s: c.set_state("s" * 257, "k", 1), {}),
    (Reason.INVALID_KEY, lambda c, s: c.get_state(s, ""), {"field": "key"}),
    (Reason.INVALID_KEY, lambda c, s: c.set_state(s, "k" * 513, 1), {}),
    (Reason.INVALID_VALUE, lambda c, s: c.set_state(s, "k", [[0] * 10_000]), {}),
    (Reason.INVALID_PAGE_TOKEN, _page_of_another_listing, {}),
    (Reason.REQUEST_ID_REUSED, _reused, {}),
    (
        Reason.INVALID_REQUEST,
        lambda c, s: c.set_state(s, "k", 1, request_id="r" * 129),
        {"field": "request_id"},
    ),
    (Reason.INVALID_REQUEST, lambda c, s: c.set_state(s, "k", 1, ttl=-1), {"field": "ttl"}),
    (Reason.INVALID_REQUEST, lambda c, s: c.save_session(s, {}, labels={"": "x"}), {}),
    (Reason.REVISION_MISMATCH, lambda c, s: c.set_state(s, "k", 1, if_revision=1), {}),
    (Reason.VALUE_TYPE_MISMATCH, _mismatched_type, {"key": "k"}),
    (Reason.SESSION_NOT_FOUND, lambda c, s: c.fork_session(s, f"{s}-copy"), {}),
    (Reason.SESSION_NOT_FOUND, lambda c, s: c.restore_session(s, 1), {}),
    (Reason.SESSION_EXISTS, _fork_onto_itself, {}),
    (Reason.FUTURE_REVISION, _from_the_future, {"current_revision": "1"}),
    (Reason.NUMBER_OUT_OF_RANGE, _too_far, {}),
    (Reason.VALUE_TOO_LARGE, lambda c, s: c.set_state(s, "k", "x" * (1 << 20)), {"limit": "1048576"}),
    (Reason.REQUEST_TOO_LARGE, lambda c, s: c.commit(_many_changes(s)), {"limit": "128"}),
    (Reason.REQUEST_TOO_LARGE, lambda c, s: c.batch([GetState(s, "k")] * 257), {"limit": "256"}),
]


@pytest.mark.parametrize(("reason", "call", "facts"), PROVOKED)
async def test_an_error_of_the_service_has_its_reason_code_and_facts(
    client: AsyncClient, session_id: str, reason: Reason, call: Call, facts: dict[str, str]
) -> None:
    with pytest.raises(WorkflowStateError) as caught:
        await call(client, session_id)
    error = caught.value
    assert error.reason is reason
    assert error.code is CODE_OF_REASON[reason]
    assert {name: error.metadata.get(name) for name in facts} == facts
    assert error.message
    assert str(error) == f"{reason}: {error.message}"
    # What gRPC said stays with it.
    assert isinstance(error.__cause__, grpc.RpcError)


async def test_errors_of_limits_come_from_a_service_that_has_them(kind: Kind, tmp_path: Any) -> None:
    limits = {"entries": 2, "sessionBytes": 1000, "requestBytes": 100_000}
    with configured(tmp_path, limits=limits, memory={"history": 2, "maxBytes": 30_000}) as service:
        async with opened(kind, service.url) as client:

            async def fails(call: Awaitable[Any]) -> WorkflowStateError:
                with pytest.raises(WorkflowStateError) as caught:
                    await call
                return caught.value

            for n in range(5):
                await client.set_state("s", "n", n)
            compacted = await fails(client.get_state("s", "n", at_revision=1))
            assert compacted.reason is Reason.HISTORY_COMPACTED
            assert int(compacted.metadata["oldest_revision"]) > 1
            await client.set_state("s", "m", 1)
            assert (await fails(client.set_state("s", "o", 1))).reason is Reason.TOO_MANY_ENTRIES
            assert (await fails(client.set_state("s", "n", "x" * 2_000))).reason is Reason.SESSION_TOO_LARGE
            assert (await fails(client.set_state("s", "n", "x" * 200_000))).reason is Reason.REQUEST_TOO_LARGE
            full = None
            for n in range(100):
                try:
                    await client.set_state(f"s{n}", "n", "x" * 800)
                except WorkflowStateError as error:
                    full = error.reason
                    break
            assert full is Reason.STORAGE_FULL


async def test_a_service_that_stops_says_so_to_who_watches(kind: Kind) -> None:
    service = Service()
    async with opened(kind, service.url) as client:
        watch = client.watch_sessions()
        await is_live(watch, client, "s")
        waiting = asyncio.ensure_future(watch.__anext__())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(service.stop)
        with pytest.raises(WorkflowStateError) as caught:
            await waiting
    assert caught.value.reason is Reason.SHUTTING_DOWN


async def test_another_namespace_than_the_default_is_denied(kind: Kind, service: Service) -> None:
    async with opened(kind, service.url, namespace="other") as client:
        with pytest.raises(WorkflowStateError) as caught:
            await client.get_state("s", "k")
    assert caught.value.reason is Reason.PERMISSION_DENIED


# What is wrong before it is sent


WRONG: Any = b"x"


@pytest.mark.parametrize(
    ("call", "reason", "field"),
    [
        (lambda c: c.get_state("\ud800", "k"), Reason.INVALID_SESSION_ID, "session_id"),
        (lambda c: c.get_state(WRONG, "k"), Reason.INVALID_SESSION_ID, "session_id"),
        (lambda c: c.get_state("s", "a\udfff"), Reason.INVALID_KEY, "key"),
        (lambda c: c.get_state("s", WRONG), Reason.INVALID_KEY, "key"),
        (lambda c: c.get_state("s", "k", at_revision=-1), Reason.INVALID_REQUEST, "at_revision"),
        (lambda c: c.get_state("s", "k", at_revision=2**63), Reason.INVALID_REQUEST, "at_revision"),
        (lambda c: c.set_state("s", "k", 1, if_revision=WRONG), Reason.INVALID_REQUEST, "if_revision"),
        (lambda c: c.set_state("s", "k", 1, if_revision=True), Reason.INVALID_REQUEST, "if_revision"),
        (lambda c: c.set_state("s", "k", 1, ttl=WRONG), Reason.INVALID_REQUEST, "ttl"),
        (lambda c: c.set_state("s", "k", 1, ttl=float("nan")), Reason.INVALID_REQUEST, "ttl"),
        (lambda c: c.set_state("s", "k", 1, ttl=1e300), Reason.INVALID_REQUEST, "ttl"),
        (lambda c: c.set_state("s", "k", 1, request_id=WRONG), Reason.INVALID_REQUEST, "request_id"),
        (lambda c: c.save_session("s", WRONG), Reason.INVALID_REQUEST, "session.state"),
        (lambda c: c.save_session("s", {WRONG: 1}), Reason.INVALID_KEY, "key"),
        (lambda c: c.save_session("s", {}, labels=WRONG), Reason.INVALID_REQUEST, "labels"),
        (lambda c: c.save_session("s", {}, labels={"a": WRONG}), Reason.INVALID_REQUEST, "labels"),
        (lambda c: c.save_session("s", {}, user_id=WRONG), Reason.INVALID_REQUEST, "user_id"),
        (lambda c: c.fork_session("s", WRONG), Reason.INVALID_SESSION_ID, "new_session_id"),
        (lambda c: c.restore_session("s", WRONG), Reason.INVALID_REQUEST, "at_revision"),
    ],
)
async def test_an_argument_that_no_message_can_hold_is_refused_by_name(
    client: AsyncClient, call: Callable[[AsyncClient], Awaitable[Any]], reason: Reason, field: str
) -> None:
    with pytest.raises(WorkflowStateError) as caught:
        await call(client)
    assert (caught.value.reason, caught.value.metadata) == (reason, {"field": field})


async def test_wrong_arguments_of_listings_and_commits_are_refused_when_they_are_given(
    client: AsyncClient,
) -> None:
    wrong: Any = b"x"
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: client.list_state("s", page_size=2**31), "page_size"),
        (lambda: client.list_state("s", key_prefix=wrong), "key_prefix"),
        (lambda: client.list_state("s", page_token=wrong), "page_token"),
        (lambda: client.list_sessions(view=wrong), "view"),
        (lambda: client.list_sessions(order=wrong), "order"),
        (lambda: client.list_sessions(updated_after=datetime(2026, 1, 1)), "updated_after"),
        (lambda: client.watch_sessions(updated_before=wrong), "updated_before"),
        (lambda: client.list_events("s", after_revision=-1), "after_revision"),
        (lambda: client.watch_session("s", after_revision=-1), "after_revision"),
        (lambda: Commit("s", user_id=wrong), "user_id"),
        (lambda: Commit("s", idle_ttl=wrong), "idle_ttl"),
        (lambda: Commit("s").check("k", -1), "if_revision"),
        (lambda: Commit("s").increment("k", float("inf")), "delta"),
        (lambda: Commit("s").increment("k", 2**53 + 1), "delta"),
        (lambda: Commit("s").increment("k", wrong), "delta"),
        (lambda: Commit("s").append("k", 1, max_items=-1), "max_items"),
    ]
    for call, field in calls:
        with pytest.raises(WorkflowStateError) as caught:
            call()
        assert (caught.value.reason, caught.value.metadata) == (Reason.INVALID_REQUEST, {"field": field})


async def test_a_view_and_an_order_can_be_given_by_name(client: AsyncClient, session_id: str) -> None:
    await client.save_session(session_id, {"a": 1})
    view: Any = "FULL"
    order: Any = "UPDATE_TIME_DESC"
    [session] = [s async for s in client.list_sessions(session_id_prefix=session_id, view=view, order=order)]
    assert session.state == {"a": 1}


# The wire


@pytest.fixture(scope="module")
def raw() -> Iterator[Raw]:
    with serving() as raw:
        yield raw


@pytest.fixture
def told(raw: Raw) -> Iterator[Raw]:
    yield raw
    raw.code = raw.detail = None
    raw.results = []


def test_every_reason_of_the_service_is_known_and_has_a_code() -> None:
    names = {
        name.removeprefix("ERROR_REASON_") for name in state_pb2.ErrorReason.DESCRIPTOR.values_by_name
    } - {"UNSPECIFIED"}
    assert set(Reason.__members__) == names
    assert set(CODE_OF_REASON) == set(Reason)
    kinds = {name.removeprefix("EVENT_KIND_") for name in state_pb2.EventKind.DESCRIPTOR.values_by_name} - {
        "UNSPECIFIED"
    }
    assert set(EventKind.__members__) - {"UNKNOWN"} == kinds


@pytest.mark.parametrize("reason", Reason)
async def test_a_reason_comes_with_the_details_of_the_status(kind: Kind, told: Raw, reason: Reason) -> None:
    told.code = CODE_OF_REASON[reason]
    told.detail = state_pb2.ErrorDetail(
        reason=state_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"),
        metadata={"path": "$.a", "schlüssel": "wert"},
        failed_checks=[state_pb2.FailedCheck(key="k", if_revision=1, actual_revision=2**53)],
    )
    async with opened(kind, told.url, retry=Retry(attempts=1)) as client:
        with pytest.raises(WorkflowStateError) as caught:
            await client.get_state("s", "k")
    error = caught.value
    assert (error.reason, error.code, error.message) == (reason, told.code, "what the service says")
    assert error.metadata == {"path": "$.a", "schlüssel": "wert"}
    assert error.failed_checks == (FailedCheck("k", 1, 2**53),)


async def test_only_unavailable_is_tried_again(kind: Kind, told: Raw) -> None:
    for reason, attempts in (
        (Reason.STORE_UNAVAILABLE, 3),
        (Reason.RATE_LIMITED, 1),
        (Reason.REVISION_MISMATCH, 1),
    ):
        told.code = CODE_OF_REASON[reason]
        told.detail = state_pb2.ErrorDetail(reason=state_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"))
        told.carried.clear()
        async with opened(kind, told.url, retry=Retry(attempts=3, base=0.001)) as client:
            with pytest.raises(WorkflowStateError) as caught:
                await client.set_state("s", "k", 1)
        assert caught.value.reason is reason
        assert len(told.carried) == attempts


@pytest.mark.parametrize(
    ("reason", "final"),
    [
        # Says that the first attempt was not done: had it been, its answer would have come again.
        (Reason.REVISION_MISMATCH, Reason.REVISION_MISMATCH),
        # Decided before anybody looks whether it was done.
        (Reason.UNAUTHENTICATED, Reason.OUTCOME_UNKNOWN),
        (Reason.RATE_LIMITED, Reason.OUTCOME_UNKNOWN),
        (Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN),
    ],
)
async def test_what_a_retry_says_counts_only_if_it_is_about_the_first_attempt_too(
    kind: Kind, told: Raw, reason: Reason, final: Reason
) -> None:
    told.first = [grpc.StatusCode.UNAVAILABLE]
    told.code = CODE_OF_REASON[reason]
    told.detail = state_pb2.ErrorDetail(reason=state_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"))
    async with opened(kind, told.url, retry=Retry(attempts=2, base=0.001)) as client:
        with pytest.raises(WorkflowStateError) as caught:
            await client.set_state("s", "k", 1)
        assert caught.value.reason is final
        assert caught.value.__cause__ is not None
        # A read changes nothing: what is said last counts.
        told.first = [grpc.StatusCode.UNAVAILABLE]
        with pytest.raises(WorkflowStateError) as caught:
            await client.get_state("s", "k")
        assert caught.value.reason is reason


WITHOUT_DETAIL = [
    (grpc.StatusCode.INVALID_ARGUMENT, Reason.INVALID_REQUEST, Reason.INVALID_REQUEST),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.REQUEST_TOO_LARGE, Reason.REQUEST_TOO_LARGE),
    (grpc.StatusCode.UNAUTHENTICATED, Reason.UNAUTHENTICATED, Reason.UNAUTHENTICATED),
    (grpc.StatusCode.PERMISSION_DENIED, Reason.PERMISSION_DENIED, Reason.PERMISSION_DENIED),
    (grpc.StatusCode.UNIMPLEMENTED, Reason.INVALID_REQUEST, Reason.INVALID_REQUEST),
    (grpc.StatusCode.NOT_FOUND, Reason.INVALID_REQUEST, Reason.INVALID_REQUEST),
    (grpc.StatusCode.UNAVAILABLE, Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN),
    (grpc.StatusCode.INTERNAL, Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN),
    (grpc.StatusCode.UNKNOWN, Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN),
    (grpc.StatusCode.CANCELLED, Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN),
    (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN),
    (grpc.StatusCode.ABORTED, Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN),
]


@pytest.mark.parametrize(("code", "of_read", "of_write"), WITHOUT_DETAIL)
async def test_a_status_without_a_detail_is_told_by_its_code(
    kind: Kind, told: Raw, code: grpc.StatusCode, of_read: Reason, of_write: Reason
) -> None:
    told.code = code
    # What is there but says nothing is as if it were not there.
    for told.detail in (None, b"", b"\xff\xff", b"\x1a\x02\x0a\xff", state_pb2.Entry(key="k")):  # type: ignore[assignment]
        async with opened(kind, told.url, retry=Retry(attempts=1)) as client:
            with pytest.raises(WorkflowStateError) as caught:
                await client.get_state("s", "k")
            assert caught.value.reason is of_read
            with pytest.raises(WorkflowStateError) as caught:
                await client.set_state("s", "k", 1)
            assert caught.value.reason is of_write


async def test_a_reason_of_a_newer_service_survives_with_its_code(kind: Kind, told: Raw) -> None:
    told.code = grpc.StatusCode.FAILED_PRECONDITION
    told.detail = state_pb2.ErrorDetail(reason=99, metadata={"new": "fact"}, message="in a batch")  # type: ignore[arg-type]
    told.carried.clear()
    async with opened(kind, told.url, retry=Retry(attempts=3, base=0.001)) as client:
        with pytest.raises(WorkflowStateError) as caught:
            await client.set_state("s", "k", 1)
        error = caught.value
        assert (error.reason, error.code) == ("UNKNOWN_99", grpc.StatusCode.FAILED_PRECONDITION)
        assert str(error) == "UNKNOWN_99: what the service says"
        assert error.metadata == {"new": "fact"}
        assert len(told.carried) == 1
        for same in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
            assert (same.reason, same.code) == (error.reason, error.code)
        # Of a write that is unavailable for a reason not known nobody can say whether it was done.
        told.code = grpc.StatusCode.UNAVAILABLE
        with pytest.raises(WorkflowStateError) as caught:
            await client.set_state("s", "k", 1)
        assert caught.value.reason is Reason.OUTCOME_UNKNOWN
        assert len(told.carried) == 4
        with pytest.raises(WorkflowStateError) as caught:
            await client.get_state("s", "k")
        assert caught.value.reason == "UNKNOWN_99"
        told.code = None
        told.results = [service_pb2.Result(error=told.detail)]
        [result] = await client.batch([GetState("s", "k")])
    assert isinstance(result, WorkflowStateError)
    assert (result.reason, result.message) == ("UNKNOWN_99", "in a batch")


async def test_a_result_of_a_newer_kind_says_nothing_of_its_operation(kind: Kind, told: Raw) -> None:
    told.results = [service_pb2.Result(), service_pb2.Result()]
    async with opened(kind, told.url) as client:
        results: list[Any] = await client.batch([GetState("s", "k"), SetState("s", "k", 1)])
    assert [result.reason for result in results] == [Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN]
    assert all(result.message for result in results)


@pytest.mark.parametrize("reason", [Reason.UNAUTHENTICATED, Reason.PERMISSION_DENIED, Reason.RATE_LIMITED])
async def test_a_refusal_leaves_what_an_earlier_connection_of_a_pipeline_took_in_doubt(
    kind: Kind, told: Raw, reason: Reason
) -> None:
    told.code = CODE_OF_REASON[reason]
    told.detail = state_pb2.ErrorDetail(reason=state_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"))
    told.results = [service_pb2.Result()]
    write: Operation = SetState("s", "k", 1)
    read: Operation = GetState("s", "k")
    async with opened(kind, told.url, retry=Retry(attempts=3, base=0.001)) as client:
        for losses, answers, operations, final in (
            (1, 0, [write], Reason.OUTCOME_UNKNOWN),
            # What was answered is in no doubt, nor is what nobody took, nor what only reads.
            (1, 1, [write, read], reason),
            (0, 0, [write], reason),
            (1, 0, [read], reason),
        ):
            told.losses, told.answers = losses, answers
            pipeline = client.pipeline([[operation] for operation in operations])
            for _ in range(answers):
                assert len(await pipeline.__anext__()) == 1
            with pytest.raises(WorkflowStateError) as caught:
                await pipeline.__anext__()
            assert caught.value.reason is final
            assert caught.value.__cause__ is not None


@pytest.mark.parametrize("reason", [Reason.UNAUTHENTICATED, Reason.PERMISSION_DENIED, Reason.RATE_LIMITED])
async def test_what_a_pipelines_connection_took_is_in_doubt_once_it_was_let_in(
    kind: Kind, told: Raw, reason: Reason
) -> None:
    told.code = CODE_OF_REASON[reason]
    told.detail = state_pb2.ErrorDetail(reason=state_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"))
    told.results = [service_pb2.Result()]
    told.let_in = 1
    write: Operation = SetState("s", "k", 1)
    read: Operation = GetState("s", "k")
    async with opened(kind, told.url) as client:
        for operation, final in ((write, Reason.OUTCOME_UNKNOWN), (read, reason)):
            pipeline = client.pipeline([[write], [operation]])
            assert len(await pipeline.__anext__()) == 1
            with pytest.raises(WorkflowStateError) as caught:
                await pipeline.__anext__()
            assert caught.value.reason is final
            assert caught.value.__cause__ is not None


def test_a_reason_that_is_none_is_refused() -> None:
    for name in ("", "UNKNOWN", "UNKNOWN_x", "NEWER", 99):
        with pytest.raises(ValueError, match="is not a valid Reason"):
            Reason(name)


async def test_messages_and_kinds_of_a_newer_service_do_no_harm(kind: Kind, told: Raw) -> None:
    async with opened(kind, told.url) as client, client.watch_session("s") as watch:
        event: Any = await watch.__anext__()
    assert (event.revision, event.kind) == (1, EventKind.UNKNOWN)


# The class


def test_a_reason_is_its_name() -> None:
    assert Reason.REVISION_MISMATCH == "REVISION_MISMATCH"
    assert str(Reason.REVISION_MISMATCH) == f"{Reason.REVISION_MISMATCH}" == "REVISION_MISMATCH"


def test_an_error_can_be_copied_and_sent_to_another_process() -> None:
    error = WorkflowStateError(
        Reason.REVISION_MISMATCH, "text", metadata={"a": "b"}, failed_checks=(FailedCheck("k", 1, 2),)
    )
    for same in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(same) is WorkflowStateError
        assert (same.reason, same.message, same.metadata, same.failed_checks, str(same)) == (
            error.reason,
            error.message,
            error.metadata,
            error.failed_checks,
            str(error),
        )
