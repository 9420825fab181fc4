"""Python values to `google.protobuf.Value` and back: what comes back equals what was written, or it is not written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf import struct_pb2

from .errors import Reason, WorkflowStateError

Json: TypeAlias = bool | int | float | str | list[Any] | Mapping[str, Any] | None
"""What can be stored: None, bool, int, float, str, and lists and dicts with str keys of these, 32 levels deep.

Refused with INVALID_VALUE and the path inside the value is what would not come back equal: an int beyond 2**53, NaN and the
infinities, bytes, tuples, sets, text with lone surrogates, dicts with other keys, anything that holds itself.
"""

#: Numbers are doubles on the wire: up to here every whole one is exact.
LARGEST_INT = 2**53
#: Levels of a value; a scalar has one. Parsers of some languages stop at 100 nested messages, and an object costs three.
MAX_DEPTH = 32
#: A longer path, or name in it, is cut.
_LONGEST_PATH = 1000
_LONGEST_NAME = 100


def to_value(value: Json) -> struct_pb2.Value:
    """The value as a message. Fails with INVALID_VALUE and its `path`."""
    message = struct_pb2.Value()
    fill(message, value)
    return message


def fill(message: struct_pb2.Value, value: Json, key: str | None = None) -> None:
    """Writes a value into an empty message. Fails with INVALID_VALUE and its `path`; a `key` is named in the error."""
    try:
        _fill(message, value, MAX_DEPTH)
    except _Fault as fault:
        raise fault.error(key) from None


def from_value(message: struct_pb2.Value) -> Any:
    """The message as a value of its own: changing it changes nothing else.

    A number that is whole and within 2**53 is an int, any other a float. The members of an object are ordered by key.
    """
    kind = message.WhichOneof("kind")
    if kind == "string_value":
        return message.string_value
    if kind == "number_value":
        number = message.number_value
        return int(number) if number.is_integer() and -LARGEST_INT <= number <= LARGEST_INT else number
    if kind == "struct_value":
        # The order in the message is another in each process.
        return {
            key: from_value(member) for key, member in sorted(message.struct_value.fields.items(), key=_key)
        }
    if kind == "list_value":
        return [from_value(item) for item in message.list_value.values]
    if kind == "bool_value":
        return message.bool_value
    return None


def _key(member: tuple[str, struct_pb2.Value]) -> str:
    return member[0]


def _fill(message: struct_pb2.Value, value: object, levels: int) -> None:
    kind = type(value)
    # What is most common first, and by its exact type: subclasses come below.
    if isinstance(value, str):
        try:
            message.string_value = value
        except UnicodeEncodeError:
            raise _Fault("is not well-formed Unicode: it has a lone surrogate") from None
    elif kind is bool:
        message.bool_value = value is True
    elif isinstance(value, int):
        if not -LARGEST_INT <= value <= LARGEST_INT:
            raise _Fault("is an int beyond 2**53, which numbers here can't hold exactly: pass it as str")
        message.number_value = value
    elif isinstance(value, float):
        if value - value != 0:
            raise _Fault("is not a finite number")
        message.number_value = value
    elif value is None:
        message.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, list):
        _fill_list(message.list_value, value, levels - 1)
    elif isinstance(value, Mapping):
        _fill_struct(message.struct_value, value, levels - 1)
    else:
        raise _Fault(f"is of the type {kind.__qualname__}, which would not come back: {_instead(value)}")


def _fill_list(message: struct_pb2.ListValue, items: list[object], levels: int) -> None:
    # An empty list is a list, too.
    message.SetInParent()
    values = message.values
    for index, item in enumerate(items):
        try:
            if levels <= 0:
                raise _Fault("is too deep: a value has 32 levels at most")
            _fill(values.add(), item, levels)
        except _Fault as fault:
            fault.within(items, index)
            raise


def _fill_struct(message: struct_pb2.Struct, members: Mapping[Any, object], levels: int) -> None:
    message.SetInParent()
    fields = message.fields
    for key, member in members.items():
        if not isinstance(key, str):
            raise _Fault(f"has a key of the type {type(key).__qualname__}: the keys of an object are str")
        try:
            field = fields[key]
        except UnicodeEncodeError:
            raise _Fault("has a key that is not well-formed Unicode: it has a lone surrogate") from None
        try:
            if levels <= 0:
                raise _Fault("is too deep: a value has 32 levels at most")
            _fill(field, member, levels)
        except _Fault as fault:
            fault.within(members, key)
            raise


def _instead(value: object) -> str:
    if isinstance(value, (tuple, set, frozenset)):
        return "pass a list"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "pass text, such as base64"
    return "pass None, bool, int, float, str, list or dict"


class _Fault(Exception):
    """What is wrong with a value; the path to it grows on the way out."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self._what = what
        self._steps: list[str | int] = []
        self._containers: list[object] = []

    def within(self, container: object, step: str | int) -> None:
        """Says where it is, one level further out."""
        if any(other is container for other in self._containers):
            # Too deep because it has no end.
            self._what = "holds itself"
            self._steps.clear()
        self._containers.append(container)
        self._steps.append(step)

    def error(self, key: str | None) -> WorkflowStateError:
        path = "$"
        for step in reversed(self._steps):
            path = _joined(path, step)
        where = "The value" if path == "$" else f"The value at {path}"
        metadata = {"path": path} if key is None else {"path": path, "key": key}
        return WorkflowStateError(Reason.INVALID_VALUE, f"{where} {self._what}.", metadata=metadata)


def _joined(path: str, step: str | int) -> str:
    if len(path) > _LONGEST_PATH:
        return path if path.endswith("…") else f"{path}…"
    if isinstance(step, int):
        return f"{path}[{step}]"
    if re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$]*", step) and len(step) <= _LONGEST_NAME:
        return f"{path}.{step}"
    name = step if len(step) <= _LONGEST_NAME else f"{step[:_LONGEST_NAME]}…"
    return f"{path}[{json.dumps(name, ensure_ascii=False)}]"
