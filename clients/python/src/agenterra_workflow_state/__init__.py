"""Client of AgenTerra workflow state: session state for workflow engines, blocking and in asyncio, over gRPC.

`Client` and `AsyncClient` have the same methods under the same names.
"""

from ._async.client import AsyncClient
from ._async.pages import AsyncPages
from ._async.pipeline import AsyncPipeline
from ._async.watch import AsyncWatch
from ._settings import Pem, Retry, Token
from ._sync.client import Client
from ._sync.pages import Pages
from ._sync.pipeline import Pipeline
from ._sync.watch import Watch
from ._wire import Ttl
from .draft import Draft
from .errors import CODE_OF_REASON, FailedCheck, Reason, WorkflowStateError
from .nouns import (
    Committed,
    Deletion,
    Entry,
    Event,
    EventKind,
    ForkedFrom,
    Page,
    Progress,
    Session,
    SessionChange,
    SessionOrder,
    SessionView,
    Snapshot,
    WatchMessage,
)
from .operations import Commit, DeleteState, GetSession, GetState, Operation, Result, SetState
from .values import Json, from_value, to_value

__all__ = [
    "CODE_OF_REASON",
    "AsyncClient",
    "AsyncPages",
    "AsyncPipeline",
    "AsyncWatch",
    "Client",
    "Commit",
    "Committed",
    "DeleteState",
    "Deletion",
    "Draft",
    "Entry",
    "Event",
    "EventKind",
    "FailedCheck",
    "ForkedFrom",
    "GetSession",
    "GetState",
    "Json",
    "Operation",
    "Page",
    "Pages",
    "Pem",
    "Pipeline",
    "Progress",
    "Reason",
    "Result",
    "Retry",
    "Session",
    "SessionChange",
    "SessionOrder",
    "SessionView",
    "SetState",
    "Snapshot",
    "Token",
    "Ttl",
    "Watch",
    "WatchMessage",
    "WorkflowStateError",
    "from_value",
    "to_value",
]
