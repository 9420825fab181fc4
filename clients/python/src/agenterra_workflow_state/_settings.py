"""What a client was told: where the service is, how calls are made, and what they carry."""

from __future__ import annotations

import inspect
import os
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import grpc

from .errors import Reason, WorkflowStateError, invalid

Pem: TypeAlias = bytes | str | os.PathLike[str]
"""A certificate or a key in PEM: its bytes, or the path of its file."""

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that gives one for each attempt, for tokens that run out; in asyncio also a coroutine function."""

#: The header that names the tenant.
_NAMESPACE = "x-workflow-state-namespace"

_SCHEMES = {"http": 80, "https": 443}

#: Options of gRPC channels; see `channel_options` of a client.
_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # An answer has 4 MiB by default, but services can be set up for more. What is sent the service bounds.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", -1),
    # An error names every check that failed, in trailers that gRPC would bound to 8 KiB.
    ("grpc.max_metadata_size", 4 << 20),
    ("grpc.absolute_max_metadata_size", 4 << 20),
    # A dead connection is found by a ping, also while only a watch is open.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Retries pause by themselves: a connection that failed is to be tried again by then.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Each client has a connection of its own: a service takes 100 streams on one.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Retry:
    """How a call that failed with UNAVAILABLE is tried again."""

    attempts: int = 5
    """How often a call is tried in all, 1 or more."""
    base: float = 0.05
    """The longest pause before the second attempt, in seconds; it doubles with each."""
    most: float = 2.0
    """The longest pause, in seconds."""

    def __post_init__(self) -> None:
        if not isinstance(self.attempts, int) or self.attempts < 1:
            raise invalid("retry.attempts", "retry.attempts must be an int, 1 or more.")
        for name in ("base", "most"):
            seconds("retry." + name, getattr(self, name))

    def pause(self, count: int) -> float:
        """How long to wait after so many attempts, in seconds: exponential, with a random half."""
        longest: float = min(self.most, self.base * 2.0 ** min(count - 1, 60))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311


def seconds(name: str, value: float) -> float:
    """Checks a time in seconds."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise invalid(name, f"{name} must be a number of seconds, more than 0.")
    return value


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client was told, checked."""

    target: str
    credentials: grpc.ChannelCredentials | None
    channel_options: tuple[tuple[str, str | int], ...]
    timeout: float
    retry: Retry
    silence: float
    token: Token | None
    metadata: tuple[tuple[str, str | bytes], ...]

    @classmethod
    def of(
        cls,
        url: str,
        *,
        timeout: float,
        retry: Retry,
        token: Token | None,
        namespace: str | None,
        metadata: Mapping[str, str | bytes] | None,
        root_certificates: Pem | None,
        client_certificate: Pem | None,
        client_key: Pem | None,
        silence: float,
        channel_options: Sequence[tuple[str, str | int]],
    ) -> Settings:
        """Checks what a client was told. Fails with INVALID_REQUEST and the `field`."""
        scheme, target = _target(url)
        pems = [root_certificates, client_key, client_certificate]
        if scheme == "http" and any(pem is not None for pem in pems):
            raise invalid("url", "Certificates need an https:// URL.")
        if (client_key is None) != (client_certificate is None):
            raise invalid("client_key", "client_certificate and client_key belong together: give both.")
        if isinstance(token, str):
            _authorization(token)
        given = dict(metadata or {})
        if namespace is not None:
            given[_NAMESPACE] = namespace
        return cls(
            target=target,
            credentials=grpc.ssl_channel_credentials(*map(_pem, pems)) if scheme == "https" else None,
            # The later of two wins.
            channel_options=tuple({**dict(_CHANNEL_OPTIONS), **dict(channel_options)}.items()),
            timeout=seconds("timeout", timeout),
            retry=retry,
            silence=seconds("silence", silence),
            token=token,
            metadata=tuple(_header(name, value) for name, value in given.items()),
        )

    async def metadata_async(
        self, wait: Callable[[Awaitable[str]], Awaitable[str]]
    ) -> tuple[tuple[str, str | bytes], ...]:
        """What a call carries, in asyncio, with a way to wait for a token."""
        token = self._ask()
        return self._with(await wait(token) if inspect.isawaitable(token) else token)

    def metadata_sync(self) -> tuple[tuple[str, str | bytes], ...]:
        """What a call carries."""
        token = self._ask()
        if inspect.isawaitable(token):
            if inspect.iscoroutine(token):
                token.close()
            raise invalid("token", "A token function that is a coroutine function needs AsyncClient.")
        return self._with(token)

    def _ask(self) -> str | Awaitable[str] | None:
        return self.token() if callable(self.token) else self.token

    def _with(self, token: str | None) -> tuple[tuple[str, str | bytes], ...]:
        return self.metadata if token is None else (*self.metadata, ("authorization", _authorization(token)))


def _target(url: str) -> tuple[str, str]:
    # No message repeats the URL: it could hold a password.
    expected = "expected one such as http://127.0.0.1:7410 or https://state.example.com"
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except (ValueError, AttributeError, TypeError):
        raise invalid("url", f"The URL can't be read: {expected}.") from None
    if parts.scheme not in _SCHEMES or not host:
        raise invalid("url", f"The URL has no scheme that is known, or no host: {expected}.")
    if parts.username is not None or parts.password is not None:
        raise invalid("url", "The URL must have no user or password: pass `token` or `metadata`.")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise invalid("url", f"The URL must have nothing after the port: {expected}.")
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", host):
        raise invalid("url", f"The URL's host can't be read: {expected}.")
    named = f"[{host}]" if ":" in host else host
    return parts.scheme, f"dns:///{named}:{_SCHEMES[parts.scheme] if port is None else port}"


def _pem(pem: Pem | None) -> bytes | None:
    if pem is None or isinstance(pem, bytes):
        return pem
    return Path(pem).read_bytes()


def _header(name: str, value: str | bytes) -> tuple[str, str | bytes]:
    binary = isinstance(name, str) and name.endswith("-bin")
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[0-9a-z_.-]+", name)
        or name.startswith(("grpc-", ":"))
    ):
        raise invalid(
            "metadata", "A name in metadata is of a-z, 0-9, -, _ and ., and does not begin with grpc-."
        )
    if binary != isinstance(value, bytes) or not (binary or _is_visible(value)):
        raise invalid("metadata", f"{name} must be printable ASCII, or bytes if its name ends in -bin.")
    return name, value


def _authorization(token: str) -> str:
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise invalid("token", "A token is visible ASCII, without spaces.", Reason.UNAUTHENTICATED)
    return f"Bearer {token}"


def _is_visible(value: object) -> bool:
    return (
        isinstance(value, str) and re.fullmatch(r"[\x20-\x7e]*", value) is not None and value == value.strip()
    )


def no_metadata(error: Exception) -> WorkflowStateError:
    """The error of a call whose token could not be had."""
    if isinstance(error, WorkflowStateError):
        return error
    failure = WorkflowStateError(Reason.STORE_UNAVAILABLE, "The token of the call could not be had.")
    failure.__cause__ = error
    return failure
