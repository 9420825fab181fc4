"""Where a client connects to, and what its calls carry: URLs, TLS, tokens, metadata."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from agenterra_workflow_state import AsyncClient, Client, Reason, Retry, WorkflowStateError

from .support.raw import Raw, serving
from .support.service import Service, running, self_signed
from .support.twins import Kind, opened


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key."""
    return self_signed(tmp_path_factory.mktemp("identity"))


@pytest.fixture
def raw() -> Iterator[Raw]:
    with serving() as raw:
        yield raw


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_url_names_a_host_and_a_port(kind: Kind, service: Service, host: str) -> None:
    port = service.url.rsplit(":")[-1]
    for url in (f"http://{host}:{port}", f"http://{host}:{port}/", f"HTTP://{host}:{port}"):
        async with opened(kind, url) as client:
            assert await client.get_state("s", "none") is None


async def test_a_url_can_name_an_ipv6_address(kind: Kind) -> None:
    with running(listen="[::1]:0") as service:
        async with opened(kind, service.url) as client:
            assert await client.get_state("s", "none") is None


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:7410",
        "localhost:7410",
        "grpc://localhost:7410",
        "http://",
        "http://:7410",
        "http://user:secret@localhost:7410",
        "http://secret@localhost",
        "http://localhost:99999",
        "http://localhost:port",
        "http://localhost/secret",
        "http://localhost?token=secret",
        "http://localhost#secret",
        "http://[::1",
        "http://a b",
        None,
        7,
    ],
)
def test_a_url_that_is_none_is_refused_without_repeating_it(client: type[Client], url: Any) -> None:
    with pytest.raises(WorkflowStateError) as caught:
        client(url)
    assert caught.value.metadata == {"field": "url"}
    assert "secret" not in str(caught.value)


# TLS


async def test_a_service_with_tls_is_reached_by_who_trusts_its_certificate(
    kind: Kind, identity: tuple[Path, Path]
) -> None:
    certificate, key = identity
    with running("--tls-cert", str(certificate), "--tls-key", str(key)) as service:
        url = service.url.replace("127.0.0.1", "localhost")
        assert url.startswith("https://")
        for roots in (certificate, str(certificate), certificate.read_bytes()):
            async with opened(kind, url, root_certificates=roots) as client:
                await client.set_state("s", "k", 1)
                assert await client.get_state("s", "k") == 1
        # The authorities that gRPC knows did not sign it.
        async with opened(kind, url, retry=Retry(attempts=1)) as client:
            with pytest.raises(WorkflowStateError) as caught:
                await client.set_state("s", "k", 2)
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        async with opened(kind, url.replace("https", "http"), retry=Retry(attempts=1)) as client:
            with pytest.raises(WorkflowStateError):
                await client.set_state("s", "k", 2)


async def test_a_client_shows_its_certificate(kind: Kind, identity: tuple[Path, Path]) -> None:
    certificate, key = identity
    pair = (key.read_bytes(), certificate.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], certificate.read_bytes(), require_client_auth=True)
    with serving(credentials) as raw:
        options: dict[str, Any] = {"root_certificates": certificate, "retry": Retry(attempts=1)}
        async with opened(kind, raw.url, client_certificate=certificate, client_key=key, **options) as client:
            assert await client.get_state("s", "k") is None
        async with opened(kind, raw.url, **options) as client:
            with pytest.raises(WorkflowStateError, match="STORE_UNAVAILABLE"):
                await client.get_state("s", "k")


@pytest.mark.parametrize(
    ("url", "options", "field"),
    [
        ("http://localhost", {"root_certificates": b"x"}, "url"),
        ("http://localhost", {"client_certificate": b"x", "client_key": b"x"}, "url"),
        ("https://localhost", {"client_certificate": b"x"}, "client_key"),
        ("https://localhost", {"client_key": b"x"}, "client_key"),
        ("http://localhost", {"timeout": 0}, "timeout"),
        ("http://localhost", {"silence": -1}, "silence"),
        ("http://localhost", {"metadata": {"Upper": "x"}}, "metadata"),
        ("http://localhost", {"metadata": {"grpc-x": "x"}}, "metadata"),
        ("http://localhost", {"metadata": {"x": "line\nbreak"}}, "metadata"),
        ("http://localhost", {"metadata": {"x": " spaces "}}, "metadata"),
        ("http://localhost", {"metadata": {"x": "ü"}}, "metadata"),
        ("http://localhost", {"metadata": {"x": b"bytes"}}, "metadata"),
        ("http://localhost", {"metadata": {"x-bin": "text"}}, "metadata"),
        ("http://localhost", {"metadata": {7: "x"}}, "metadata"),
        ("http://localhost", {"token": "two words"}, "token"),
        ("http://localhost", {"token": ""}, "token"),
    ],
)
def test_wrong_options_are_refused_by_name(url: str, options: dict[str, Any], field: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(WorkflowStateError) as caught:
            client(url, **options)
        assert caught.value.metadata == {"field": field}


@pytest.mark.parametrize("options", [{"attempts": 0}, {"attempts": 1.5}, {"base": 0}, {"most": "x"}])
def test_wrong_retries_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(WorkflowStateError) as caught:
        Retry(**options)
    assert caught.value.metadata == {"field": f"retry.{next(iter(options))}"}


def test_pauses_grow_and_vary_within_bounds() -> None:
    retry = Retry(base=1, most=10)
    for count, longest in ((1, 1), (2, 2), (3, 4), (5, 10), (1000, 10)):
        pauses = {retry.pause(count) for _ in range(50)}
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


# What calls carry


async def test_every_call_carries_the_token_the_namespace_and_the_metadata(kind: Kind, raw: Raw) -> None:
    metadata = {"x-tenant": "ada", "x-trace-bin": b"\x00\xff"}
    async with opened(kind, raw.url, token="abc.def", namespace="blue", metadata=metadata) as client:
        await client.get_state("s", "k")
        async with client.watch_session("s") as watch:
            await watch.__anext__()
    assert len(raw.carried) == 2
    for carried in raw.carried:
        assert carried["authorization"] == "Bearer abc.def"
        assert carried["x-workflow-state-namespace"] == "blue"
        assert (carried["x-tenant"], carried["x-trace-bin"]) == ("ada", b"\x00\xff")


async def test_a_token_function_is_asked_for_each_attempt(kind: Kind, raw: Raw) -> None:
    tokens = itertools.count(1)
    raw.code = grpc.StatusCode.UNAVAILABLE
    retry = Retry(attempts=3, base=0.001)
    async with opened(kind, raw.url, token=lambda: f"t{next(tokens)}", retry=retry) as client:
        with pytest.raises(WorkflowStateError):
            await client.get_state("s", "k")
    assert [carried["authorization"] for carried in raw.carried] == ["Bearer t1", "Bearer t2", "Bearer t3"]


async def test_a_token_can_come_from_a_coroutine_function(raw: Raw) -> None:
    async def token() -> str:
        return "later"

    async with AsyncClient(raw.url, token=token) as client:
        await client.get_state("s", "k")
    assert raw.carried[0]["authorization"] == "Bearer later"
    with Client(raw.url, token=token) as blocking, pytest.raises(WorkflowStateError) as caught:
        blocking.get_state("s", "k")
    assert caught.value.metadata == {"field": "token"}


async def test_a_token_that_can_not_be_had_is_no_call(kind: Kind, raw: Raw) -> None:
    def token() -> str:
        raise OSError("the issuer is away")

    async with opened(kind, raw.url, token=token, retry=Retry(attempts=2, base=0.001)) as client:
        with pytest.raises(WorkflowStateError) as caught:
            await client.set_state("s", "k", 1)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert isinstance(caught.value.__cause__, OSError)
    assert raw.carried == []


async def test_channel_options_win_over_the_clients_own(
    kind: Kind, service: Service, session_id: str
) -> None:
    async with opened(
        kind, service.url, channel_options=[("grpc.max_receive_message_length", 1000)]
    ) as client:
        await client.batch([])
        with pytest.raises(WorkflowStateError) as caught:
            await client.set_state(session_id, "k", "x" * 2000)
    assert caught.value.reason is Reason.REQUEST_TOO_LARGE
