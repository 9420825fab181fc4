"""Reading all of a session's state, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _failures, _requests, _wire
from ..errors import Reason, WorkflowStateError

if TYPE_CHECKING:
    from ..nouns import Session
    from ..proto import service_pb2, state_pb2
    from .channel import Channel

#: No key begins with it, as keys go: it asks for a session without its state.
_NO_KEY = "\U0010ffff" * 8


async def completed(channel: Channel, session: state_pb2.Session, deadline: float) -> Session:
    """The session that a write left, with its state: where the answer has none, page by page, at its revision.

    The write is done by then, so a service that can't be reached, or does not let the caller in, is OUTCOME_UNKNOWN.
    HISTORY_COMPACTED passes on: others have written so much meanwhile that the revision is not kept any more.
    """
    if not session.state:
        try:
            entries = await _entries(channel, session.session_id, session.revision, deadline)
        except WorkflowStateError as error:
            if not _failures.is_before_the_store(error):
                raise
            raise WorkflowStateError(
                Reason.OUTCOME_UNKNOWN,
                "The write was made, but not all of the session's state could be read; "
                "retry it with the same request id.",
            ) from error
        for key, entry in entries.items():
            session.state[key].CopyFrom(entry.value)
    return _wire.session_of(session)


async def read_all(
    channel: Channel, session_id: str, known: int, timeout: float | None
) -> tuple[dict[str, state_pb2.Entry], int]:
    """The entries of a session as they were at one moment, and the revision to check if all of it is to be unchanged.

    A revision that was known before the entries were read, or that one of them carries, is the session's at that moment
    or older: the check can fail needlessly (and says the revision to know next time), but never hold wrongly.
    """
    first = await _page(channel, session_id, None, "", channel.deadline(timeout))
    if not first.next_page_token:
        seen = {entry.key: entry for entry in first.entries}
        return seen, max([known, *(entry.revision for entry in first.entries)])
    # Pages are read one by one: as they were at one revision, they fit together.
    request = _requests.get_session(session_id, _NO_KEY, None)
    answer = await channel.unary(
        channel.connection.stub.GetSession, request, deadline=channel.deadline(timeout)
    )
    if not answer.HasField("session"):
        return {}, 0
    revision = answer.session.revision
    return await _entries(channel, session_id, revision, channel.deadline(timeout)), revision


async def _entries(
    channel: Channel, session_id: str, revision: int, deadline: float
) -> dict[str, state_pb2.Entry]:
    entries: dict[str, state_pb2.Entry] = {}
    token = ""
    while True:
        page = await _page(channel, session_id, revision, token, deadline)
        entries.update((entry.key, entry) for entry in page.entries)
        token = page.next_page_token
        if not token:
            return entries


async def _page(
    channel: Channel, session_id: str, revision: int | None, token: str, deadline: float
) -> service_pb2.ListStateResponse:
    listing = _requests.list_state(session_id, at_revision=revision, page_size=_requests.LARGEST_PAGE)
    request = _requests.page(listing, token)
    return await channel.unary(channel.connection.stub.ListState, request, deadline=deadline)
