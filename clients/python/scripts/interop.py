"""`clients/python/interop.sh COMMAND URL PROTOCOL PREFIX FILE`: what interop/README.md asks of every client."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from agenterra_workflow_state import (
    Client,
    Commit,
    Draft,
    Event,
    Progress,
    Snapshot,
    WatchMessage,
    WorkflowStateError,
)

#: How long a step may take that does not say so, in seconds.
PATIENCE = 60.0

Step = dict[str, Any]


def main(command: str, url: str, protocol: str, prefix: str, file: str) -> None:
    if protocol != "grpc":
        raise SystemExit("This client speaks grpc.")
    data = json.loads(Path(file).read_text(encoding="utf-8"))
    if command == "behave":
        Behaviour(url, prefix, data["clients"]).run(data["cases"])
        return
    with Client(url) as client:
        {"write": write, "read": read}[command](client, prefix, data["vectors"])


def say(name: str, message: str | None = None) -> None:
    line = {"name": name, "ok": True} if message is None else {"name": name, "ok": False, "message": message}
    print(json.dumps(line), flush=True)


def write(client: Client, session_id: str, vectors: list[dict[str, Any]]) -> None:
    for vector in vectors:
        try:
            client.set_state(session_id, vector["key"], vector["value"])
        except WorkflowStateError as error:
            say(vector["name"], str(error))
        else:
            say(vector["name"])


def read(client: Client, session_id: str, vectors: list[dict[str, Any]]) -> None:
    listed = {entry.key: entry.value for entry in client.list_state(session_id, page_size=50)}
    session = client.get_session(session_id)
    whole = {} if session is None else session.state
    for vector in vectors:
        key, value = vector["key"], vector["value"]
        entry = client.get_entry(session_id, key)
        ways = {
            "GetState": entry is not None and identical(entry.value, value),
            "ListState": key in listed and identical(listed[key], value),
            "GetSession": key in whole and identical(whole[key], value),
        }
        wrong = [way for way, right in ways.items() if not right]
        say(vector["name"], f"not identical by {', '.join(wrong)}" if wrong else None)


def identical(a: object, b: object) -> bool:
    """Whether two values are the same, of the same type: 1 is not True, but 1.0, and -0.0 is 0."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(identical(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(identical, a, b))
    return type(a) is type(b) and a == b


class Behaviour:
    """Runs the steps of cases, and says which do as they should."""

    def __init__(self, url: str, prefix: str, clients: dict[str, dict[str, str]]) -> None:
        self.prefix = prefix
        self.clients = {
            name: Client(options.get("url", url), token=options.get("token"))
            for name, options in clients.items()
        }

    def run(self, cases: list[dict[str, Any]]) -> None:
        for number, case in enumerate(cases):
            at = 0
            try:
                for at, step in enumerate(case["steps"]):  # noqa: B007 - the message names it
                    self.step(f"{self.prefix}-{number}-", step)
            except Exception as error:
                say(case["name"], f"step {at}: {error}")
            else:
                say(case["name"])
        for client in self.clients.values():
            client.close()

    def step(self, sessions: str, step: Step) -> None:
        client = self.clients[step.get("client", "default")]
        do: Callable[[Client, str, Step], dict[str, Any]] = getattr(Doers, step["do"])
        answers: list[dict[str, Any]] = []
        errors: list[Exception] = []

        def work() -> None:
            try:
                answers.append(do(client, sessions, step))
            except Exception as error:
                errors.append(error)

        # One that never ends must not keep the program from ending.
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(step.get("within_ms", PATIENCE * 1000) / 1000)
        if thread.is_alive():
            raise Unexpected("it was not over in time")
        for error in errors:
            if "error" not in step or not isinstance(error, WorkflowStateError):
                raise error
            compare_error(error, step["error"])
        for answer in answers:
            if "error" in step:
                raise Unexpected(f"it succeeded, and should fail with {step['error']}")
            for field, expected in step.get("expect", {}).items():
                compare(field, expected, answer.get(field))


class Doers:
    """What each step does; what it gives is compared with what is expected, in the words of the file."""

    @staticmethod
    def set(client: Client, sessions: str, step: Step) -> dict[str, Any]:
        entry = client.set_state(
            sessions + step["session"],
            step["key"],
            step["value"],
            if_revision=step.get("if_revision"),
            ttl=seconds(step.get("ttl_ms")),
            request_id=step.get("request_id"),
        )
        return {"revision": entry.revision}

    @staticmethod
    def get(client: Client, sessions: str, step: Step) -> dict[str, Any]:
        entry = client.get_entry(
            sessions + step["session"],
            step["key"],
            at_revision=step.get("at_revision"),
            timeout=seconds(step.get("timeout_ms")),
        )
        return {"missing": True} if entry is None else {"value": entry.value, "revision": entry.revision}

    @staticmethod
    def delete(client: Client, sessions: str, step: Step) -> dict[str, Any]:
        deletion = client.delete_state(
            sessions + step["session"],
            step["key"],
            if_revision=step.get("if_revision"),
            request_id=step.get("request_id"),
        )
        return {"deleted": deletion.deleted, "revision": deletion.revision}

    @staticmethod
    def commit(client: Client, sessions: str, step: Step) -> dict[str, Any]:
        commit = Commit(
            sessions + step["session"],
            if_revision=step.get("if_revision"),
            request_id=step.get("request_id"),
            labels=step.get("labels"),
            workflow_id=step.get("workflow_id"),
        )
        for check in step.get("checks", []):
            commit.check(check["key"], check["if_revision"])
        for change in step["changes"]:
            [(kind, of)] = change.items()
            if kind == "set":
                commit.set(of["key"], of["value"])
            elif kind == "delete":
                commit.delete(of["key"])
            elif kind == "increment":
                commit.increment(of["key"], of["delta"])
            elif kind == "append":
                commit.append(of["key"], *of["values"], max_items=of.get("max_items", 0))
            else:
                commit.merge(of["key"], of["value"])
        committed = client.commit(commit)
        entries = [
            {"key": entry.key} if entry.deleted else {"key": entry.key, "value": entry.value}
            for entry in committed.entries
        ]
        return {"revision": committed.revision, "entries": entries}

    @staticmethod
    def get_session(client: Client, sessions: str, step: Step) -> dict[str, Any]:
        session = client.get_session(
            sessions + step["session"],
            key_prefix=step.get("key_prefix", ""),
            at_revision=step.get("at_revision"),
        )
        if session is None:
            return {"missing": True}
        return {
            "state": session.state,
            "revision": session.revision,
            "labels": dict(session.labels),
            "workflow_id": session.workflow_id,
        }

    @staticmethod
    def save_session(client: Client, sessions: str, step: Step) -> dict[str, Any]:
        session = client.save_session(
            sessions + step["session"],
            step["state"],
            labels=step.get("labels", {}),
            if_revision=step.get("if_revision"),
        )
        return {"revision": session.revision}

    @staticmethod
    def delete_session(client: Client, sessions: str, step: Step) -> dict[str, Any]:
        return {"deleted": client.delete_session(sessions + step["session"])}

    @staticmethod
    def fork(client: Client, sessions: str, step: Step) -> dict[str, Any]:
        copy = client.fork_session(
            sessions + step["session"], sessions + step["new_session"], at_revision=step.get("at_revision")
        )
        return {"revision": copy.revision, "state": copy.state}

    @staticmethod
    def update(client: Client, sessions: str, step: Step) -> dict[str, Any]:
        key = step["increment"]

        def increment(draft: Draft) -> None:
            draft[key] = draft.get(key, 0) + 1

        with ThreadPoolExecutor(step["times"]) as threads:
            done = [
                threads.submit(client.update, sessions + step["session"], increment)
                for _ in range(step["times"])
            ]
        for one in done:
            one.result()
        return {}

    @staticmethod
    def events(client: Client, sessions: str, step: Step) -> dict[str, Any]:
        listing = client.list_events(
            sessions + step["session"], after_revision=step.get("after_revision", 0), page_size=2
        )
        events: list[dict[str, Any]] = []
        for page in listing.pages():
            if len(page.items) > 2:
                raise Unexpected("a page is larger than it was asked to be")
            events.extend(map(plain, page.items))
        return {"events": events}

    @staticmethod
    def watch(client: Client, sessions: str, step: Step) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        after: int | None = step.get("after_revision")
        while len(messages) < step["count"]:
            with client.watch_session(sessions + step["session"], after_revision=after) as watch:
                for message in news(watch):
                    after = message.revision
                    messages.append(
                        {"snapshot": {"revision": message.revision, "state": message.session.state}}
                        if isinstance(message, Snapshot)
                        else {"event": plain(message)}
                    )
                    if step.get("reconnect") or len(messages) == step["count"]:
                        break
        return {"messages": messages}

    @staticmethod
    def sleep(_client: Client, _sessions: str, step: Step) -> dict[str, Any]:
        time.sleep(step["ms"] / 1000)
        return {}


def news(watch: Iterator[WatchMessage]) -> Iterator[Snapshot | Event]:
    for message in watch:
        if not isinstance(message, Progress):
            yield message


def plain(event: Event) -> dict[str, Any]:
    return {
        "revision": event.revision,
        "kind": str(event.kind),
        "keys": [entry.key for entry in event.entries],
    }


def seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


class Unexpected(Exception):
    """A step that did not do as it says."""


def compare_error(error: WorkflowStateError, expected: dict[str, Any]) -> None:
    checks = [
        {"key": check.key, "if_revision": check.if_revision, "actual_revision": check.actual_revision}
        for check in error.failed_checks
    ]
    found = {
        "reason": str(error.reason),
        "code": error.code.name,
        "failed_checks": by_key(checks),
        "path": error.metadata.get("path"),
    }
    for field, value in expected.items():
        compare(field, by_key(value) if field == "failed_checks" else value, found[field])


def by_key(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(checks, key=lambda check: str(check["key"]))


def compare(field: str, expected: object, found: object) -> None:
    if not identical(expected, found):
        raise Unexpected(f"{field} is {short(found)}, and should be {short(expected)}")


def short(value: object) -> str:
    return json.dumps(value)[:300]


if __name__ == "__main__":
    main(*sys.argv[1:])
