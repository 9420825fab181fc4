"""Values: what is written comes back equal, at every limit, and what would not is refused with its path."""

from __future__ import annotations

import math
import random
import sys
from collections import OrderedDict, defaultdict
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from google.protobuf import struct_pb2

from agenterra_workflow_state import (
    AsyncClient,
    Commit,
    GetSession,
    GetState,
    Reason,
    SetState,
    Snapshot,
    WorkflowStateError,
    from_value,
    to_value,
)


def nested(levels: int, wrap: Any) -> Any:
    value: Any = "x"
    for _ in range(levels - 1):
        value = wrap(value)
    return value


class Colour(str, Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


ACCEPTED: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "negative": -17,
    "the largest int": 2**53,
    "the smallest int": -(2**53),
    "half": 0.5,
    "tenth": 0.1,
    "the largest float": sys.float_info.max,
    "the smallest normal float": sys.float_info.min,
    "the smallest float": 5e-324,
    "a whole float beyond ints": 1e300,
    "a float next to one": 1 + sys.float_info.epsilon,
    "empty text": "",
    "NUL": "\0",
    "NUL inside": "a\0b",
    "astral": "𝒜😀\U0010ffff",
    "noncharacters": "\ufffe\uffff",
    "combining": "é vs e\u0301",
    "controls": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "bidi and separators": "\u202e\u2028\u2029\ufeff",
    "what looks like an escape": '\\u0000 \\ "quoted" \n',
    "long text": "ä" * 500_000,
    "empty list": [],
    "empty dict": {},
    "nulls in a list": [None, [None], {"a": None}],
    "empties inside": [[], {}, "", [[]], {"": {}}],
    "odd keys": {
        "__proto__": {"x": 1},
        "constructor": 1,
        "toString": 2,
        "": 3,
        "\0": 4,
        "a.b": 5,
        "😀": 6,
        " ": 7,
        "length": 8,
        "0": 9,
        "then": 10,
    },
    "mixed": [1, "1", True, 1.5, None, {"1": 1}],
    "32 lists": nested(32, lambda value: [value]),
    "32 dicts": nested(32, lambda value: {"k": value}),
    "9,999 in a list": list(range(9_999)),
    "9,999 in a dict": {f"key {n}": n for n in range(9_999)},
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_a_value_reads_back_equal_and_of_the_same_type(
    client: AsyncClient, session_id: str, name: str
) -> None:
    value = ACCEPTED[name]
    entry = await client.set_state(session_id, "key", value)
    for read in (entry.value, await client.get_state(session_id, "key")):
        assert read == value
        assert repr(read) == repr(_ordered(value))


async def test_a_value_reads_back_equal_from_every_call(client: AsyncClient, session_id: str) -> None:
    # The long ones would not fit one message together.
    state = {name: value for name, value in ACCEPTED.items() if not name.startswith(("9,999", "long"))}
    saved = await client.save_session(session_id, state)
    assert saved.state == state
    session = await client.get_session(session_id)
    assert session is not None
    assert session.state == state
    assert {entry.key: entry.value async for entry in client.list_state(session_id)} == state
    [event] = [event async for event in client.list_events(session_id)]
    assert {entry.key: entry.value for entry in event.entries} == state
    async with client.watch_session(session_id) as watch:
        snapshot = await watch.__anext__()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.session.state == state
    results = await client.batch([GetSession(session_id), *(GetState(session_id, name) for name in state)])
    assert getattr(results[0], "state", None) == state
    assert [getattr(result, "value", "none") for result in results[1:]] == list(state.values())
    copy = await client.fork_session(session_id, f"{session_id}-copy")
    assert copy.state == state
    # One level deeper.
    shallow = [value for name, value in state.items() if not name.startswith("32")]
    committed = await client.commit(Commit(session_id).append("list", *shallow))
    assert committed["list"].value == shallow


async def test_every_key_that_may_be_is_a_key(client: AsyncClient, session_id: str) -> None:
    keys = ["__proto__", "constructor", "\0", "a/b", "😀", " ", "ключ", "x" * 512, "é" * 256, "then"]
    for key in keys:
        await client.set_state(session_id, key, key)
    for key in keys:
        assert await client.get_state(session_id, key) == key
    session = await client.get_session(session_id)
    assert session is not None
    assert session.state == {key: key for key in keys}
    assert list(session.state) == sorted(keys)


async def test_random_values_read_back_equal(client: AsyncClient, session_id: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source = random.Random(seed)
    values = [_random_value(source, 4) for _ in range(200)]
    results = await client.batch([SetState(session_id, f"key {n}", value) for n, value in enumerate(values)])
    assert [getattr(result, "value", result) for result in results] == values
    session = await client.get_session(session_id)
    assert session is not None
    assert session.state == {f"key {n}": value for n, value in enumerate(values)}


def test_a_whole_float_comes_back_as_an_int_and_negative_zero_as_zero() -> None:
    read = from_value(to_value([1.0, -0.0, 2.0**53, 2.0**53 + 2, 1.5]))
    assert [type(number) for number in read] == [int, int, int, float, float]
    assert str(read) == "[1, 0, 9007199254740992, 9007199254740994.0, 1.5]"


def test_what_equals_a_plain_value_is_accepted_as_that() -> None:
    values = [Colour.RED, Level.HIGH, OrderedDict(a=1), defaultdict(int, b=2), MappingProxyType({"c": 3})]
    assert from_value(to_value(values)) == ["red", 3, {"a": 1}, {"b": 2}, {"c": 3}]


def test_members_come_in_the_same_order_in_every_process() -> None:
    value = dict.fromkeys("hgfedcba")
    assert list(from_value(to_value(value))) == list("abcdefgh")


def test_what_comes_back_is_the_callers_own() -> None:
    message = to_value({"list": [1]})
    from_value(message)["list"].append(2)
    assert from_value(message) == {"list": [1]}


endless_list: list[Any] = []
endless_list.append(endless_list)
endless_dict: dict[str, Any] = {}
endless_dict["a"] = [1, {"b": endless_dict}]

REFUSED: dict[str, tuple[Any, str, str]] = {
    "int beyond 2**53": (2**53 + 1, "$", "2**53"),
    "negative int beyond 2**53": ([-(2**53) - 1], "$[0]", "2**53"),
    "huge int": ({"n": 10**400}, "$.n", "2**53"),
    "NaN": (math.nan, "$", "finite"),
    "infinity": ([math.inf], "$[0]", "finite"),
    "negative infinity": ({"a b": -math.inf}, '$["a b"]', "finite"),
    "bytes": (b"bytes", "$", "bytes"),
    "bytearray": ([[bytearray(b"x")]], "$[0][0]", "bytearray"),
    "tuple": ((1, 2), "$", "list"),
    "named tuple": ({"at": Point(1, 2)}, "$.at", "list"),
    "set": ({"tags": {"a"}}, "$.tags", "list"),
    "frozenset": (frozenset(), "$", "list"),
    "decimal": (Decimal(1), "$", "Decimal"),
    "complex": (1j, "$", "complex"),
    "datetime": (datetime(2026, 1, 1), "$", "datetime"),
    "object": ([object()], "$[0]", "object"),
    "generator": ((n for n in range(3)), "$", "generator"),
    "function": (len, "$", "builtin_function_or_method"),
    "lone surrogate": ("a\ud800", "$", "surrogate"),
    "reversed surrogates": (["ok", "\udc00\ud800"], "$[1]", "surrogate"),
    "lone surrogate in a key": ({"x": {"\udfff": 1}}, "$.x", "surrogate"),
    "int key": ({1: "one"}, "$", "key"),
    "None key": ({"a": [{None: 1}]}, "$.a[0]", "key"),
    "33 lists": (nested(33, lambda value: [value]), "$" + "[0]" * 32, "deep"),
    "33 dicts": (nested(33, lambda value: {"k": value}), "$" + ".k" * 32, "deep"),
    "a list that holds itself": (endless_list, "$[0]", "itself"),
    "a dict that holds itself": (endless_dict, "$.a", "itself"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_would_not_come_back_is_refused_with_its_path(name: str) -> None:
    value, path, why = REFUSED[name]
    with pytest.raises(WorkflowStateError) as caught:
        to_value(value)
    assert caught.value.reason is Reason.INVALID_VALUE
    assert caught.value.metadata == {"path": path}
    assert why in caught.value.message


@pytest.mark.parametrize("name", ["NaN", "tuple", "33 dicts"])
async def test_a_refused_value_is_not_written_by_any_call(
    client: AsyncClient, session_id: str, name: str
) -> None:
    value, path, _ = REFUSED[name]
    calls: list[Any] = [
        lambda: client.set_state(session_id, "key", value),
        lambda: client.save_session(session_id, {"key": value}),
        lambda: client.commit(Commit(session_id).increment("n").set("key", value)),
        lambda: client.commit(Commit(session_id).append("key", 1, value)),
        lambda: client.commit(Commit(session_id).merge("key", {"member": value})),
        lambda: client.batch([SetState(session_id, "n", 1), SetState(session_id, "key", value)]),
        lambda: client.update(session_id, lambda draft: draft.update(key=value)),
    ]
    for call in calls:
        with pytest.raises(WorkflowStateError) as caught:
            await call()
        assert caught.value.reason is Reason.INVALID_VALUE
        assert caught.value.metadata["key"] == "key"
        assert caught.value.metadata["path"].startswith("$")
    assert await client.get_session(session_id) is None
    assert path.startswith("$")


def test_an_error_does_not_repeat_the_value() -> None:
    with pytest.raises(WorkflowStateError) as caught:
        to_value({"password": [b"hunter2"]})
    assert "hunter2" not in str(caught.value)


def test_a_long_path_is_cut() -> None:
    with pytest.raises(WorkflowStateError) as caught:
        to_value({"k" * 3_000: {"l" * 3_000: math.nan}})
    assert len(caught.value.metadata["path"]) < 300


async def test_too_many_and_too_large_values_are_refused_by_the_service(
    client: AsyncClient, session_id: str
) -> None:
    with pytest.raises(WorkflowStateError, match="INVALID_VALUE"):
        await client.set_state(session_id, "key", [None] * 10_000)
    with pytest.raises(WorkflowStateError) as caught:
        await client.set_state(session_id, "key", "x" * (1 << 20))
    assert caught.value.reason is Reason.VALUE_TOO_LARGE
    assert caught.value.metadata["limit"] == str(1 << 20)


def test_a_message_without_a_kind_reads_as_none() -> None:
    assert from_value(struct_pb2.Value()) is None


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def _random_value(source: random.Random, depth: int) -> Any:
    kinds = 5 if depth == 0 else 7
    match source.randrange(kinds):
        case 0:
            return None
        case 1:
            return source.random() < 0.5
        case 2:
            return source.randrange(-(2**53), 2**53)
        case 3:
            return source.uniform(-1, 1) * 10 ** source.randrange(-300, 300)
        case 4:
            return _random_text(source)
        case 5:
            return [_random_value(source, depth - 1) for _ in range(source.randrange(4))]
        case _:
            return {
                _random_text(source): _random_value(source, depth - 1) for _ in range(source.randrange(4))
            }


def _random_text(source: random.Random) -> str:
    points = [source.randrange(0x110000) for _ in range(source.randrange(6))]
    return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
