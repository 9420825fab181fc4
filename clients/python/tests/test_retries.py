"""Lost connections, lost answers and lost time: what a call makes of them."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import pytest

from agenterra_workflow_state import (
    AsyncClient,
    Client,
    Commit,
    GetState,
    Reason,
    Retry,
    SetState,
    WorkflowStateError,
)

from .support.proxy import proxied
from .support.service import Service
from .support.streams import PATIENCE, until
from .support.twins import Kind, opened

#: Nothing listens there.
NOWHERE = "http://127.0.0.1:9"


async def test_a_read_of_a_service_that_is_not_there_is_store_unavailable(kind: Kind) -> None:
    async with opened(kind, NOWHERE) as client:
        with pytest.raises(WorkflowStateError) as caught:
            await client.get_state("s", "k")
    assert caught.value.reason is Reason.STORE_UNAVAILABLE


async def test_a_write_that_never_left_is_store_unavailable_and_not_unknown(kind: Kind) -> None:
    async with opened(kind, NOWHERE, retry=Retry(attempts=2)) as client:
        for write in (lambda: client.set_state("s", "k", 1), lambda: client.batch([SetState("s", "k", 1)])):
            with pytest.raises(WorkflowStateError) as caught:
                await write()
            assert caught.value.reason is Reason.STORE_UNAVAILABLE


async def test_a_write_that_finds_its_service_gone_is_store_unavailable_also_after_a_good_one(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with (
        proxied(service.address) as proxy,
        opened(kind, proxy.url, retry=Retry(attempts=2, base=0.01)) as client,
    ):
        await client.set_state(session_id, "n", 1)
        proxy.refusing = True
        proxy.cut()
        reason = Reason.OUTCOME_UNKNOWN
        end = time.monotonic() + PATIENCE
        # A write may still be sent over a connection whose end is not known yet.
        while reason is Reason.OUTCOME_UNKNOWN and time.monotonic() < end:
            with pytest.raises(WorkflowStateError) as caught:
                await client.set_state(session_id, "n", 2)
            reason = caught.value.reason
        assert reason is Reason.STORE_UNAVAILABLE


async def test_a_call_waits_for_a_service_that_comes_late(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with proxied(service.address) as proxy:
        proxy.refusing = True
        async with opened(kind, proxy.url, retry=Retry(attempts=50)) as client:
            call = asyncio.ensure_future(client.set_state(session_id, "k", 1))
            await asyncio.sleep(0.3)
            assert not call.done()
            proxy.refusing = False
            assert (await call).value == 1


async def test_a_write_whose_answer_was_lost_is_done_once(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with proxied(service.address) as proxy, opened(kind, proxy.url) as client:
        await client.set_state(session_id, "warm", 1)
        writes: list[Any] = [
            lambda: client.commit(Commit(session_id).increment("n")),
            lambda: client.batch([Commit(session_id).increment("n"), GetState(session_id, "n")]),
            lambda: client.update(session_id, lambda draft: draft.update(n=draft["n"] + 1)),
        ]
        for count, write in enumerate(writes, 1):
            proxy.lose_answers = 2
            await write()
            # An update first reads, so it may have lost answers before its commit.
            assert proxy.lose_answers == 0
            assert await client.get_state(session_id, "n") == count


async def test_a_write_whose_outcome_can_not_be_known_says_so(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with (
        proxied(service.address) as proxy,
        opened(kind, proxy.url, retry=Retry(attempts=3, base=0.01)) as client,
    ):
        await client.set_state(session_id, "n", 0)
        proxy.lose_answers = 100
        with pytest.raises(WorkflowStateError) as caught:
            await client.commit(Commit(session_id).increment("n"))
        assert caught.value.reason is Reason.OUTCOME_UNKNOWN
        assert caught.value.__cause__ is not None
        # A read changes nothing, so there is nothing to be unknown.
        with pytest.raises(WorkflowStateError) as caught:
            await client.get_state(session_id, "n")
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        proxy.lose_answers = 0
        assert await client.get_state(session_id, "n") == 1


async def test_a_retried_write_that_fails_for_good_says_why(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with proxied(service.address) as proxy, opened(kind, proxy.url) as client:
        await client.set_state(session_id, "text", "x")
        proxy.lose_answers = 1
        with pytest.raises(WorkflowStateError) as caught:
            await client.commit(Commit(session_id).increment("text"))
        assert proxy.lose_answers == 0
        assert caught.value.reason is Reason.VALUE_TYPE_MISMATCH


async def test_a_deadline_ends_a_call_that_is_not_answered(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with proxied(service.address) as proxy, opened(kind, proxy.url) as client:
        await client.set_state(session_id, "n", 1)
        proxy.black_hole = True
        for call, reason in (
            (lambda: client.get_state(session_id, "n", timeout=1), Reason.STORE_UNAVAILABLE),
            (lambda: client.set_state(session_id, "n", 2, timeout=1), Reason.OUTCOME_UNKNOWN),
        ):
            began = time.monotonic()
            with pytest.raises(WorkflowStateError) as caught:
                await call()
            assert caught.value.reason is reason
            assert 0.9 < time.monotonic() - began < 20


async def test_the_default_deadline_is_the_clients(kind: Kind, service: Service, session_id: str) -> None:
    async with proxied(service.address) as proxy, opened(kind, proxy.url, timeout=0.2) as client:
        proxy.black_hole = True
        began = time.monotonic()
        with pytest.raises(WorkflowStateError) as caught:
            await client.set_state(session_id, "n", 2)
        # The connection stood before anything was sent over it, and no more.
        assert caught.value.reason in (Reason.OUTCOME_UNKNOWN, Reason.STORE_UNAVAILABLE)
        assert time.monotonic() - began < 20


async def test_a_deadline_ends_the_retries_too(kind: Kind) -> None:
    async with opened(kind, NOWHERE, retry=Retry(attempts=1000, base=0.01)) as client:
        began = time.monotonic()
        with pytest.raises(WorkflowStateError, match="STORE_UNAVAILABLE"):
            await client.get_state("s", "k", timeout=0.3)
        assert 0.1 < time.monotonic() - began < 20


async def test_a_service_that_has_restarted_is_found_again(kind: Kind) -> None:
    first = Service()
    async with opened(kind, first.url, retry=Retry(attempts=100)) as client:
        await client.set_state("s", "n", 1)
        first.kill()
        call = asyncio.ensure_future(client.set_state("s", "n", 2))
        await asyncio.sleep(0.1)
        second = Service(listen=first.address)
        try:
            # A store in memory begins anew.
            assert (await call).revision == 1
        finally:
            second.stop()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "1", True])
async def test_a_timeout_that_is_none_is_refused(client: AsyncClient, timeout: Any) -> None:
    with pytest.raises(WorkflowStateError) as caught:
        await client.get_state("s", "k", timeout=timeout)
    assert caught.value.metadata == {"field": "timeout"}


# The end of a client


async def test_a_closed_client_sends_nothing(kind: Kind, service: Service, session_id: str) -> None:
    async with opened(kind, service.url) as client:
        await client.set_state(session_id, "n", 1)
        await client.aclose()
        for call in (lambda: client.get_state(session_id, "n"), lambda: client.set_state(session_id, "n", 2)):
            with pytest.raises(WorkflowStateError) as caught:
                await call()
            assert caught.value.reason is Reason.STORE_UNAVAILABLE
            assert "closed" in caught.value.message
        await client.aclose()
    async with opened(kind, service.url) as client:
        assert await client.get_state(session_id, "n") == 1


async def test_closing_a_client_ends_its_calls(kind: Kind, service: Service, session_id: str) -> None:
    async with proxied(service.address) as proxy, opened(kind, proxy.url) as client:
        await client.set_state(session_id, "n", 1)
        proxy.black_hole = True
        read = asyncio.ensure_future(client.get_state(session_id, "n"))
        write = asyncio.ensure_future(client.set_state(session_id, "n", 2))
        await until(lambda: proxy.swallowed >= 2)
        await client.aclose()
        for call, reason in ((read, Reason.STORE_UNAVAILABLE), (write, Reason.OUTCOME_UNKNOWN)):
            with pytest.raises(WorkflowStateError) as caught:
                await asyncio.wait_for(call, PATIENCE)
            assert caught.value.reason is reason


async def test_closing_a_client_ends_its_wait_for_a_connection(kind: Kind) -> None:
    patient = [("grpc.min_reconnect_backoff_ms", 60_000)]
    # What never says a word is no service, and there is no connection to it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with (
            proxied(f"127.0.0.1:{silent.getsockname()[1]}") as proxy,
            opened(kind, proxy.url, timeout=60, channel_options=patient) as client,
        ):
            call = asyncio.ensure_future(client.set_state("s", "k", 1))
            await until(lambda: proxy.connections)
            await asyncio.wait_for(client.aclose(), PATIENCE)
            with pytest.raises(WorkflowStateError, match="STORE_UNAVAILABLE"):
                await asyncio.wait_for(call, PATIENCE)


async def test_closing_a_client_ends_its_pauses(kind: Kind) -> None:
    async with opened(kind, NOWHERE, retry=Retry(attempts=5, base=60, most=60)) as client:
        call = asyncio.ensure_future(client.get_state("s", "k", timeout=300))
        await asyncio.sleep(0.2)
        await client.aclose()
        with pytest.raises(WorkflowStateError, match="STORE_UNAVAILABLE"):
            await asyncio.wait_for(call, PATIENCE)


async def test_a_cancelled_call_leaves_the_client_as_it_was(service: Service, session_id: str) -> None:
    async with proxied(service.address) as proxy, AsyncClient(proxy.url) as client:
        await client.set_state(session_id, "n", 1)
        proxy.black_hole = True
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.get_state(session_id, "n"), 0.1)
        proxy.black_hole = False
        proxy.cut()
        assert await client.get_state(session_id, "n") == 1


def test_a_client_made_outside_an_event_loop_works_in_one(service: Service, session_id: str) -> None:
    client = AsyncClient(service.url)

    async def work() -> int:
        async with client:
            return (await client.set_state(session_id, "n", 1)).revision

    assert asyncio.run(work()) == 1


def test_a_short_life_leaves_no_noise(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(20):
        with Client(service.url) as client:
            client.get_state("s", "k")
        with (
            Client(NOWHERE, retry=Retry(attempts=2, base=0.001)) as client,
            pytest.raises(WorkflowStateError),
        ):
            client.get_state("s", "k")
    time.sleep(0.3)
    assert capfd.readouterr().err == ""
    assert threading.active_count() < 20
