"""The asyncio client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .. import _requests, _wire
from .._settings import Pem, Retry, Settings, Token
from .._wire import Ttl
from ..errors import invalid
from ..nouns import (
    Committed,
    Deletion,
    Entry,
    Event,
    Page,
    Session,
    SessionChange,
    SessionOrder,
    SessionView,
    WatchMessage,
)
from ..operations import (
    Commit,
    Operation,
    Result,
    commit_request,
    operations_to_wire,
    results_from_wire,
    writes,
)
from ..proto import service_pb2
from ..values import Json
from . import io
from .channel import Channel
from .pages import AsyncPages
from .pipeline import AsyncPipeline
from .reading import completed
from .update import Updater
from .watch import AsyncWatch, SessionsWatch, SessionWatch

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ..draft import Draft

R = TypeVar("R")


class AsyncClient:
    """The sessions that a service keeps, for an asyncio program.

        async with AsyncClient("http://127.0.0.1:7410") as client:
            await client.set_state("cart-1", "items", ["milk"])

    Every call takes `timeout`, the seconds that it may take with all its attempts; watches and pipelines have none. A
    call that fails with UNAVAILABLE is tried again until its attempts or its time run out; every write carries a request
    id, made once for the call unless one is given, so that it is done once. What fails is a `WorkflowStateError`.

    :param url: `http://HOST:PORT` or, with TLS, `https://HOST:PORT`.
    :param timeout: Seconds that a call may take unless it says otherwise.
    :param retry: How calls are tried again.
    :param token: Sent as `authorization: Bearer …`, or a function that gives it for each attempt. Use it with https.
    :param namespace: Which of the caller's namespaces to work in.
    :param metadata: Further headers of every call.
    :param root_certificates: PEM bytes or a file: who may have signed the service's certificate. None: gRPC's own list.
    :param client_certificate: PEM bytes or a file, for mutual TLS, with `client_key`.
    :param silence: A watch on a session that hears nothing for so many seconds connects anew.
    :param channel_options: Options of the gRPC channel, which win over the client's own.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        retry: Retry = Retry(),  # noqa: B008
        token: Token | None = None,
        namespace: str | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
        root_certificates: Pem | None = None,
        client_certificate: Pem | None = None,
        client_key: Pem | None = None,
        silence: float = 45.0,
        channel_options: Sequence[tuple[str, str | int]] = (),
    ) -> None:
        settings = Settings.of(
            url,
            timeout=timeout,
            retry=retry,
            token=token,
            namespace=namespace,
            metadata=metadata,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
            silence=silence,
            channel_options=channel_options,
        )
        self._channel = Channel(settings)
        self._updater = Updater(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends what is under way: streams with SHUTTING_DOWN, writes with OUTCOME_UNKNOWN, reads with STORE_UNAVAILABLE."""
        await self._channel.close()

    # One entry

    async def get_state(
        self,
        session_id: str,
        key: str,
        default: Any = None,
        *,
        at_revision: int | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Reads a value; `default` if there is none, as of a dict. A stored null is None."""
        entry = await self.get_entry(session_id, key, at_revision=at_revision, timeout=timeout)
        return default if entry is None else entry.value

    async def get_entry(
        self, session_id: str, key: str, *, at_revision: int | None = None, timeout: float | None = None
    ) -> Entry | None:
        """Reads an entry: the value with its revision and times. None: there is none."""
        request = _requests.get_state(session_id, key, at_revision)
        answer = await self._channel.unary(self._stub.GetState, request, deadline=self._deadline(timeout))
        return _wire.entry_of(answer.entry) if answer.HasField("entry") else None

    async def set_state(
        self,
        session_id: str,
        key: str,
        value: Json,
        *,
        if_revision: int | None = None,
        ttl: Ttl | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Entry:
        """Writes an entry; creates the session if it is missing.

        With `if_revision` only if the entry is at that revision, 0: only if there is none. Without a ttl it does not
        expire, also if it did before.
        """
        request = _requests.set_state(session_id, key, value, if_revision, ttl, request_id)
        answer = await self._channel.unary(
            self._stub.SetState, request, write=True, deadline=self._deadline(timeout)
        )
        return _wire.entry_of(answer.entry)

    async def delete_state(
        self,
        session_id: str,
        key: str,
        *,
        if_revision: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Deletion:
        """Deletes an entry; the answer is true if there was one."""
        request = _requests.delete_state(session_id, key, if_revision, request_id)
        answer = await self._channel.unary(
            self._stub.DeleteState, request, write=True, deadline=self._deadline(timeout)
        )
        return _wire.deletion_of(answer)

    def list_state(
        self,
        session_id: str,
        *,
        key_prefix: str = "",
        start_after: str = "",
        reverse: bool = False,
        at_revision: int | None = None,
        page_size: int | None = None,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPages[Entry]:
        """Lists the entries of a session by key. The timeout is of each page."""
        request = _requests.list_state(
            session_id,
            key_prefix=key_prefix,
            start_after=start_after,
            reverse=reverse,
            at_revision=at_revision,
            page_size=page_size,
        )

        async def fetch(token: str) -> Page[Entry]:
            asked = _requests.page(request, token)
            answer = await self._channel.unary(self._stub.ListState, asked, deadline=self._deadline(timeout))
            return Page(tuple(map(_wire.entry_of, answer.entries)), answer.next_page_token)

        return AsyncPages(fetch, _wire.text(page_token, "page_token"))

    # Sessions

    async def get_session(
        self,
        session_id: str,
        *,
        key_prefix: str = "",
        at_revision: int | None = None,
        timeout: float | None = None,
    ) -> Session | None:
        """Reads a session with its state, or the part of it under a prefix. None: there is none.

        One that is larger than an answer may be fails with SESSION_TOO_LARGE: read it with `list_state`.
        """
        request = _requests.get_session(session_id, key_prefix, at_revision)
        answer = await self._channel.unary(self._stub.GetSession, request, deadline=self._deadline(timeout))
        return _wire.session_of(answer.session) if answer.HasField("session") else None

    async def save_session(
        self,
        session_id: str,
        state: Mapping[str, Json],
        *,
        workflow_id: str | None = None,
        user_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        if_revision: int | None = None,
        ttl: Ttl | None = None,
        idle_ttl: Ttl | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Session:
        """Creates a session, or replaces all of its state and metadata; to change a part use `commit` or `update`.

        With `if_revision` only if the session is at that revision, 0: only if there is none. A ttl of None leaves the
        expiry as it is, 0 takes it away.
        """
        request = _requests.save_session(
            session_id,
            state,
            workflow_id=workflow_id,
            user_id=user_id,
            labels=labels,
            if_revision=if_revision,
            ttl=ttl,
            idle_ttl=idle_ttl,
            request_id=request_id,
        )
        answer = await self._channel.unary(
            self._stub.SaveSession, request, write=True, deadline=self._deadline(timeout)
        )
        if not answer.session.state:
            # Also where one answer could not hold it: what is there now is what was sent.
            for key, message in request.session.state.items():
                answer.session.state[key].CopyFrom(message)
        return _wire.session_of(answer.session)

    async def delete_session(
        self,
        session_id: str,
        *,
        if_revision: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Deletes a session and all its entries. Says whether there was one."""
        request = _requests.delete_session(session_id, if_revision, request_id)
        answer = await self._channel.unary(
            self._stub.DeleteSession, request, write=True, deadline=self._deadline(timeout)
        )
        return answer.deleted

    def list_sessions(
        self,
        *,
        workflow_id: str = "",
        user_id: str = "",
        session_id_prefix: str = "",
        labels: Mapping[str, str] | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
        view: SessionView = SessionView.METADATA,
        order: SessionOrder = SessionOrder.ID,
        page_size: int | None = None,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPages[Session]:
        """Lists the sessions that match every filter that is given. The timeout is of each page."""
        request = _requests.list_sessions(
            workflow_id=workflow_id,
            user_id=user_id,
            session_id_prefix=session_id_prefix,
            labels=labels,
            updated_after=updated_after,
            updated_before=updated_before,
            view=view,
            order=order,
            page_size=page_size,
        )

        async def fetch(token: str) -> Page[Session]:
            asked = _requests.page(request, token)
            answer = await self._channel.unary(
                self._stub.ListSessions, asked, deadline=self._deadline(timeout)
            )
            return Page(tuple(map(_wire.session_of, answer.sessions)), answer.next_page_token)

        return AsyncPages(fetch, _wire.text(page_token, "page_token"))

    async def get_all_session_ids(self, *, timeout: float | None = None) -> list[str]:
        """The ids of all sessions, in order."""
        listing = self.list_sessions(view=SessionView.IDS, page_size=_requests.LARGEST_PAGE, timeout=timeout)
        return [session.session_id async for session in listing]

    # Many changes at once

    async def commit(self, commit: Commit, *, timeout: float | None = None) -> Committed:
        """Makes one atomic write: see `Commit`. Sent again, the same commit counts again, unless it has a request id."""
        if not isinstance(commit, Commit):
            raise invalid("commit", 'A commit is made by Commit("session-1").increment("n").')
        answer = await self._channel.unary(
            self._stub.Commit, commit_request(commit), write=True, deadline=self._deadline(timeout)
        )
        return _wire.committed_of(answer)

    # <asyncio>
    @overload
    async def update(
        self,
        session_id: str,
        change: Callable[[Draft], Awaitable[R]],
        *,
        attempts: int = 50,
        timeout: float | None = None,
    ) -> R: ...
    @overload
    async def update(
        self,
        session_id: str,
        change: Callable[[Draft], R],
        *,
        attempts: int = 50,
        timeout: float | None = None,
    ) -> R: ...
    # </asyncio>
    async def update(
        self, session_id: str, change: io.Change[R], *, attempts: int = 50, timeout: float | None = None
    ) -> R:
        """Has a function change the session's state as a dict, and commits what it changed.

            def add(cart: Draft) -> None:
                cart["items"] = [*cart.get("items", []), "eggs"]

        The commit is made under checks on what the function looked at. On a conflict all is done again, so the function may
        run several times: keep other effects out of it. A key that it changes is written whole and without an expiry. If it
        raises, nothing is written. Gives what it returns. The timeout is of each of its calls.
        """
        return await self._updater.update(session_id, change, attempts, timeout)

    async def batch(self, operations: Iterable[Operation], *, timeout: float | None = None) -> list[Result]:
        """Runs operations in order, on any sessions; gives one result for each, which can be a `WorkflowStateError`.

        Each is atomic by itself, the batch is not.
        """
        messages = operations_to_wire(operations)
        answer = await self._channel.unary(
            self._stub.Batch,
            service_pb2.BatchRequest(operations=messages),
            write=writes(messages),
            deadline=self._deadline(timeout),
        )
        return results_from_wire(answer.results, messages)

    def pipeline(self, batches: io.Source[Sequence[Operation]]) -> AsyncPipeline:
        """Runs batches over one stream, the fastest way in: gives an iterator of their results. It has no timeout."""
        return AsyncPipeline(self._channel, batches)

    # History

    async def fork_session(
        self,
        session_id: str,
        new_session_id: str,
        *,
        at_revision: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Session:
        """Copies a session, as it is or as it was at a revision, to a new one."""
        request = _requests.fork_session(session_id, new_session_id, at_revision, request_id)
        deadline = self._deadline(timeout)
        answer = await self._channel.unary(self._stub.ForkSession, request, write=True, deadline=deadline)
        return await completed(self._channel, answer.session, deadline)

    async def restore_session(
        self,
        session_id: str,
        at_revision: int,
        *,
        if_revision: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Session:
        """Gives a session the content that it had at a revision, as a new revision. Brings back a deleted session, too."""
        request = _requests.restore_session(session_id, at_revision, if_revision, request_id)
        deadline = self._deadline(timeout)
        answer = await self._channel.unary(self._stub.RestoreSession, request, write=True, deadline=deadline)
        return await completed(self._channel, answer.session, deadline)

    def list_events(
        self,
        session_id: str,
        *,
        after_revision: int = 0,
        reverse: bool = False,
        page_size: int | None = None,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPages[Event]:
        """Lists what the commits to a session did. The timeout is of each page."""
        request = _requests.list_events(
            session_id, after_revision=after_revision, reverse=reverse, page_size=page_size
        )

        async def fetch(token: str) -> Page[Event]:
            asked = _requests.page(request, token)
            answer = await self._channel.unary(self._stub.ListEvents, asked, deadline=self._deadline(timeout))
            return Page(tuple(map(_wire.event_of, answer.events)), answer.next_page_token)

        return AsyncPages(fetch, _wire.text(page_token, "page_token"))

    # Watching

    def watch_session(
        self, session_id: str, *, after_revision: int | None = None, key_prefix: str = ""
    ) -> AsyncWatch[WatchMessage]:
        """Follows a session: a `Snapshot` first, or after a revision none, then every commit as an `Event`, in order.

        It outlives lost connections, without a gap and nothing twice, and a deletion of the session. `Progress` says that
        nothing is new. Each message has the `revision` to go on after.
        """
        request = _requests.watch_session(session_id, after_revision, key_prefix)
        return SessionWatch(self._channel, request)

    def watch_sessions(
        self,
        *,
        workflow_id: str = "",
        user_id: str = "",
        session_id_prefix: str = "",
        labels: Mapping[str, str] | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
    ) -> AsyncWatch[SessionChange]:
        """Follows the commits to all sessions that match, from now on.

        A lost connection ends it with STORE_UNAVAILABLE, as what happened meanwhile can't be had from a watch: watch again,
        then close the gap with `list_sessions(updated_after=...)`.
        """
        request = _requests.watch_sessions(
            workflow_id=workflow_id,
            user_id=user_id,
            session_id_prefix=session_id_prefix,
            labels=labels,
            updated_after=updated_after,
            updated_before=updated_before,
        )
        return SessionsWatch(self._channel, request)

    @property
    def _stub(self) -> io.Stub:
        return self._channel.connection.stub

    def _deadline(self, timeout: float | None) -> float:
        return self._channel.deadline(timeout)
