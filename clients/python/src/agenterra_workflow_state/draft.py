"""The draft of an update: a session's state as a dict that remembers what was looked at and what was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from google.protobuf.struct_pb2 import Value

from . import _wire
from .errors import invalid
from .operations import Commit, add_set
from .proto import state_pb2
from .values import fill, from_value

if TYPE_CHECKING:
    from typing_extensions import Self

#: A commit takes so many checks by default, and a key so many bytes.
_MAX_CHECKS = 1000
_MAX_KEY_BYTES = 512


class _Deleted:
    pass


_DELETED = _Deleted()


class Draft(MutableMapping[str, Any]):
    """A session's state to change, as `update` gives it to its function: use it as a dict.

    Lists and dicts in it can be changed in place. What was looked at is checked by the commit, so that it is made only if
    that is unchanged; whoever iterates over the draft, or asks for its length, has looked at everything.
    """

    def __init__(self, seen: Mapping[str, state_pb2.Entry]) -> None:
        self._seen = seen
        # Keys that were looked at or written, in that order; a dict serves as an ordered set.
        self._touched: dict[str, None] = {}
        # The values of those that were read or written.
        self._values: dict[str, Any] = {}
        self._enumerated = False
        self._closed = False

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        if key not in self._values:
            self._values[key] = from_value(self._seen[key].value)
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._write(key, value)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._write(key, _DELETED)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        self._touched[key] = None
        return self._has(key)

    def __iter__(self) -> Iterator[str]:
        self._enumerated = True
        return iter(self._keys())

    def __len__(self) -> int:
        self._enumerated = True
        return len(self._keys())

    def __ior__(self, other: Mapping[str, Any]) -> Self:
        self.update(other)
        return self

    def __repr__(self) -> str:
        # Looks at nothing, so that printing it makes no conflict.
        return f"Draft({self.copy()!r})"

    def copy(self) -> dict[str, Any]:
        """The state as a plain dict, its values those of the draft. To copy is not to look."""
        return {
            key: self._values[key] if key in self._values else from_value(self._seen[key].value)
            for key in self._keys()
        }

    def close(self) -> None:
        """Ends the changing: what came later would be lost, so it fails."""
        self._closed = True

    def commit(self, session_id: str, revision: int) -> Commit | None:
        """What is to be committed to the session, which is at that revision; None: nothing was changed."""
        changes: list[tuple[str, Value | None]] = []
        for key in self._touched:
            if key not in self._values:
                continue
            value = self._values[key]
            before = self._seen.get(key)
            if value is _DELETED:
                if before is not None:
                    changes.append((key, None))
                continue
            after = Value()
            fill(after, value, key)
            # Compared as messages: 1 and True differ there, and the order of members does not count.
            if before is None or before.value != after:
                changes.append((key, after))
        if not changes:
            return None
        everything = self._enumerated or len(self._touched) > _MAX_CHECKS
        commit = Commit(session_id, if_revision=revision if everything else None)
        if not everything:
            for key in self._touched:
                # What can't be a key can't appear either; one that was written is refused with the changes.
                if _may_be_key(key):
                    commit.check(key, self._seen[key].revision if key in self._seen else 0)
        for key, message in changes:
            if message is None:
                commit.delete(key)
            else:
                add_set(commit, key, message)
        return commit

    def _keys(self) -> list[str]:
        keys = [*self._seen, *(key for key in self._values if key not in self._seen)]
        return [key for key in keys if self._has(key)]

    def _has(self, key: str) -> bool:
        return self._values[key] is not _DELETED if key in self._values else key in self._seen

    def _write(self, key: str, value: Any) -> None:
        if self._closed:
            raise invalid("change", "A draft can't be changed when its update has ended.")
        self._touched[_wire.key(key)] = None
        self._values[key] = value


def _may_be_key(key: str) -> bool:
    try:
        return 1 <= len(key.encode()) <= _MAX_KEY_BYTES
    except UnicodeEncodeError:
        return False
