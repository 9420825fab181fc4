"""Writes that may have been made, and answers that say nothing of it."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from agenterra_workflow_state import CODE_OF_REASON, GetState, Reason, Retry, SetState, WorkflowStateError
from agenterra_workflow_state.proto import state_pb2

from .support.raw import Raw, serving
from .support.twins import Kind, opened

QUICK = Retry(attempts=3, base=0.001)


@pytest.fixture
def raw() -> Iterator[Raw]:
    with serving() as raw:
        yield raw


#: What proxies answer with for reasons of their own, an HTTP 404 or 429 among them, and what the client makes of it.
OF_PROXIES = [
    (grpc.StatusCode.UNIMPLEMENTED, Reason.INVALID_REQUEST),
    (grpc.StatusCode.NOT_FOUND, Reason.INVALID_REQUEST),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.REQUEST_TOO_LARGE),
]


@pytest.mark.parametrize(("code", "reason"), OF_PROXIES)
async def test_what_a_proxy_says_after_a_lost_answer_leaves_the_write_in_doubt(
    kind: Kind, raw: Raw, code: grpc.StatusCode, reason: Reason
) -> None:
    raw.code = code
    async with opened(kind, raw.url, retry=QUICK) as client:
        raw.first = [grpc.StatusCode.UNAVAILABLE]
        with pytest.raises(WorkflowStateError) as caught:
            await client.set_state("s", "k", 1)
        assert caught.value.reason is Reason.OUTCOME_UNKNOWN
        assert isinstance(caught.value.__cause__, WorkflowStateError)
        assert caught.value.__cause__.reason is reason
        raw.losses = 1
        with pytest.raises(WorkflowStateError) as caught:
            await client.pipeline([[SetState("s", "k", 1)]]).__anext__()
        assert caught.value.reason is Reason.OUTCOME_UNKNOWN
        # In no doubt: what was said at first, and what only reads.
        for write, first in ((True, []), (False, [grpc.StatusCode.UNAVAILABLE])):
            raw.first = first
            with pytest.raises(WorkflowStateError) as caught:
                await (client.set_state("s", "k", 1) if write else client.get_state("s", "k"))
            assert caught.value.reason is reason
        raw.losses = 1
        with pytest.raises(WorkflowStateError) as caught:
            await client.pipeline([[GetState("s", "k")]]).__anext__()
        assert caught.value.reason is reason


@pytest.mark.parametrize("code", [code for code, _ in OF_PROXIES])
async def test_the_same_code_with_a_reason_is_the_services_word(
    kind: Kind, raw: Raw, code: grpc.StatusCode
) -> None:
    raw.first = [grpc.StatusCode.UNAVAILABLE]
    raw.code = code
    raw.detail = state_pb2.ErrorDetail(reason=state_pb2.ERROR_REASON_SESSION_NOT_FOUND)
    async with opened(kind, raw.url, retry=QUICK) as client:
        with pytest.raises(WorkflowStateError) as caught:
            await client.set_state("s", "k", 1)
    assert caught.value.reason is Reason.SESSION_NOT_FOUND


async def test_a_token_function_that_fails_between_two_attempts_leaves_the_write_in_doubt(
    kind: Kind, raw: Raw
) -> None:
    raw.code = grpc.StatusCode.UNAVAILABLE
    asked = 0

    def token() -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            # Of another service, say.
            raise WorkflowStateError(Reason.SESSION_NOT_FOUND, "no such token")
        return "t"

    async with opened(kind, raw.url, retry=QUICK, token=token) as client:
        with pytest.raises(WorkflowStateError) as caught:
            await client.set_state("s", "k", 1)
        assert caught.value.reason is Reason.OUTCOME_UNKNOWN
        with pytest.raises(WorkflowStateError) as caught:
            await client.set_state("s", "k", 1)
        assert caught.value.reason is Reason.SESSION_NOT_FOUND
    assert len(raw.carried) == 1


@pytest.mark.parametrize(
    ("reason", "final"),
    [
        (Reason.RATE_LIMITED, Reason.OUTCOME_UNKNOWN),
        (Reason.UNAUTHENTICATED, Reason.OUTCOME_UNKNOWN),
        (Reason.PERMISSION_DENIED, Reason.OUTCOME_UNKNOWN),
        (Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN),
        # The copy was made, and then others have written so much that what it was is not kept.
        (Reason.HISTORY_COMPACTED, Reason.HISTORY_COMPACTED),
    ],
)
async def test_a_fork_that_was_made_is_not_told_as_refused(
    kind: Kind, raw: Raw, reason: Reason, final: Reason
) -> None:
    raw.code = CODE_OF_REASON[reason]
    raw.detail = state_pb2.ErrorDetail(reason=state_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"))
    async with opened(kind, raw.url, retry=QUICK) as client:
        with pytest.raises(WorkflowStateError) as caught:
            await client.fork_session("large", "copy")
    assert caught.value.reason is final
    if final is Reason.OUTCOME_UNKNOWN:
        assert "The write was made" in caught.value.message
        assert isinstance(caught.value.__cause__, WorkflowStateError)
        assert caught.value.__cause__.reason is reason
