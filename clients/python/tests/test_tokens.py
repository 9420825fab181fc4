"""A token function that hangs holds nobody up for longer than they wait."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from agenterra_workflow_state import AsyncClient, GetState, Reason, Retry, WorkflowStateError

from .support.raw import serving
from .support.streams import PATIENCE, until

#: Nobody is asked for anything before there is a token.
NOWHERE = "http://127.0.0.1:9"


class Hanging:
    """A token function that gives so many tokens, and then hangs."""

    def __init__(self, tokens: int = 0) -> None:
        self.tokens = tokens
        self.asked = 0
        self.cancelled = 0

    async def __call__(self) -> str:
        self.asked += 1
        if self.asked > self.tokens:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return "t"


async def failure(call: Any) -> WorkflowStateError:
    with pytest.raises(WorkflowStateError) as caught:
        await asyncio.wait_for(call, PATIENCE)
    return caught.value


async def test_a_token_that_does_not_come_in_time_is_no_call() -> None:
    token = Hanging()
    async with AsyncClient(NOWHERE, token=token) as client:
        error = await failure(client.set_state("s", "k", 1, timeout=0.1))
        assert error.reason is Reason.STORE_UNAVAILABLE
        assert "time" in error.message
        await until(lambda: token.cancelled)
    assert (token.asked, token.cancelled) == (1, 1)


async def test_a_write_in_doubt_that_waits_for_a_token_stays_in_doubt() -> None:
    token = Hanging(tokens=1)
    with serving() as raw:
        raw.code = grpc.StatusCode.UNAVAILABLE
        async with AsyncClient(raw.url, token=token, retry=Retry(base=0.001)) as client:
            write = asyncio.ensure_future(client.set_state("s", "k", 1))
            await until(lambda: token.asked == 2)
            await client.aclose()
            error = await failure(write)
    assert error.reason is Reason.OUTCOME_UNKNOWN
    assert len(raw.carried) == 1


async def test_closing_a_client_ends_its_waiting_for_tokens() -> None:
    token = Hanging()
    client = AsyncClient(NOWHERE, token=token)
    readers: list[Any] = [
        client.watch_sessions().__anext__(),
        client.watch_session("s").__anext__(),
        client.pipeline([[GetState("s", "k")]]).__anext__(),
    ]
    calls = [asyncio.ensure_future(reader) for reader in readers]
    calls.append(asyncio.ensure_future(client.set_state("s", "k", 1)))
    await until(lambda: token.asked == len(calls))
    await client.aclose()
    errors = [await failure(call) for call in calls]
    assert [error.reason for error in errors] == [Reason.SHUTTING_DOWN] * 3 + [Reason.STORE_UNAVAILABLE]
    assert "closed" in errors[-1].message


async def test_a_closed_stream_that_waits_for_a_token_tells_its_reader_that_there_is_nothing() -> None:
    token = Hanging()
    async with AsyncClient(NOWHERE, token=token) as client:
        streams: list[Any] = [
            client.watch_sessions(),
            client.watch_session("s"),
            client.pipeline([[GetState("s", "k")]]),
        ]
        readings = [asyncio.ensure_future(stream.__anext__()) for stream in streams]
        await until(lambda: token.asked == len(streams))
        for stream, reading in zip(streams, readings, strict=True):
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(reading, PATIENCE)


async def test_a_cancelled_reader_of_a_watch_that_is_still_opening_is_cancelled() -> None:
    async with AsyncClient(NOWHERE, token=Hanging()) as client:
        watch = client.watch_sessions()
        reading = asyncio.ensure_future(watch.__anext__())
        await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await watch.aclose()


async def test_one_token_that_many_calls_wait_for_survives_the_end_of_one() -> None:
    with serving() as raw:
        token: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with AsyncClient(raw.url, token=lambda: token) as client:
            waiting = asyncio.ensure_future(client.get_state("s", "k"))
            error = await failure(client.get_state("s", "k", timeout=0.05))
            assert error.reason is Reason.STORE_UNAVAILABLE
            token.set_result("shared")
            assert await asyncio.wait_for(waiting, PATIENCE) is None
        assert [carried["authorization"] for carried in raw.carried] == ["Bearer shared"]


async def test_a_token_function_that_somebody_cancels_does_not_cancel_the_call() -> None:
    async def token() -> str:
        raise asyncio.CancelledError

    async with AsyncClient(NOWHERE, token=token, retry=Retry(attempts=1)) as client:
        error = await failure(client.get_state("s", "k"))
    assert error.reason is Reason.STORE_UNAVAILABLE
    assert error.__cause__ is not None
