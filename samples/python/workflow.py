"""`python samples/python/workflow.py [URL] [--seed N]`: a workflow whose steps die and are run again.

Each step is a process of its own that keeps what it has done in the service and nowhere else. The workflow runs twice: once
undisturbed, and once with its steps killed (SIGKILL) at random in the middle of their work and run again until they are
through. Both end in the same state: no order is lost, and none counts twice.
"""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

from agenterra_workflow_state import (
    Client,
    Commit,
    Draft,
    Event,
    Reason,
    WorkflowStateError,
)
from with_server import with_server

if TYPE_CHECKING:
    from collections.abc import Callable

ORDERS = 12
#: Steps that come after each other; those in one line run at the same time.
PLAN = (("receive",), ("charge",), ("pack", "label"), ("report",))
MOST_KILLS = 2


# The steps. Each can be killed between any two of its instructions, and is then run again from its beginning. There are
# three ways to make that harmless.


def receive(client: Client, session_id: str) -> None:
    """Takes orders in. A request id of its own makes each write count once, however often it is sent."""
    for number in range(ORDERS):
        order = {"id": f"order-{number}", "amount": 5 + number % 3}
        client.commit(Commit(session_id, request_id=f"receive-{number}").append("orders", order))


def charge(client: Client, session_id: str) -> None:
    """Charges orders: two changes in one atomic write, again with a request id."""
    for order in client.get_state(session_id, "orders"):
        commit = Commit(session_id, request_id=f"charge-{order['id']}")
        client.commit(commit.increment("balance", order["amount"]).append("ledger", order["id"]))


def pack(client: Client, session_id: str) -> None:
    """Packs orders: an update that looks whether it is done already, in the same atomic step."""
    for order in client.get_state(session_id, "orders"):

        def pack_one(draft: Draft, order_id: str = order["id"]) -> None:
            packed = draft.setdefault("packed", [])
            if order_id not in packed:
                packed.append(order_id)
                draft["parcels"] = draft.get("parcels", 0) + 1

        client.update(session_id, pack_one)


def label(client: Client, session_id: str) -> None:
    """Labels orders: a write under the check that the label is not there yet."""
    for order in client.get_state(session_id, "orders"):
        key = f"label/{order['id']}"
        try:
            client.commit(Commit(session_id).check(key, 0).set(key, f"to {order['id']}").increment("labels"))
        except WorkflowStateError as error:
            if error.reason is not Reason.REVISION_MISMATCH:
                raise


def report(client: Client, session_id: str) -> None:
    """Sums up. Writing the same again changes nothing."""
    session = client.get_session(session_id)
    state = {} if session is None else session.state
    totals = {name: state[name] for name in ("balance", "labels", "parcels")}
    client.set_state(session_id, "report", {**totals, "orders": len(state["orders"])})


STEPS: dict[str, Callable[[Client, str], None]] = {
    step.__name__: step for step in (receive, charge, pack, label, report)
}


# The engine.


class Engine:
    """Runs the steps of a workflow, each until it is through."""

    def __init__(self, url: str, client: Client, session_id: str, chaos: random.Random | None) -> None:
        self._url = url
        self._client = client
        self._session_id = session_id
        self._chaos = chaos
        self.kills = 0

    def run(self) -> dict[str, Any]:
        """Gives the state that the workflow ends in."""
        for steps in PLAN:
            threads = [threading.Thread(target=self._run_step, args=(step,)) for step in steps]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        session = self._client.get_session(self._session_id)
        return {} if session is None else session.state

    def _run_step(self, step: str) -> None:
        kills = self._chaos.randint(1, MOST_KILLS) if self._chaos and step != "report" else 0
        while True:
            # Before the step begins, so that all of its writes are seen.
            session = self._client.get_session(self._session_id, key_prefix="no key has this")
            revision = 0 if session is None else session.revision
            process = subprocess.Popen(
                [sys.executable, __file__, self._url, "--step", step, self._session_id]
            )
            if kills > 0:
                kills -= 1
                status = self._disturbed(process, revision)
            else:
                status = process.wait()
            if status == 0:
                return
            if status > 0:
                raise SystemExit(f"The step {step} has failed.")
            self.kills += 1

    def _disturbed(self, process: subprocess.Popen[bytes], revision: int) -> int:
        """Kills a process when so much has been written, if it comes to that; gives its status."""
        writes = self._chaos.randint(1, ORDERS // 3) if self._chaos else 0
        watch = self._client.watch_session(self._session_id, after_revision=revision)

        def kill() -> None:
            events = (message for message in watch if isinstance(message, Event))
            if len(list(itertools.islice(events, writes))) == writes:
                process.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        status = process.wait()
        # The killer may still wait for a write.
        watch.close()
        killer.join()
        return status


def main(url: str, seed: int) -> None:
    with Client(url) as client:
        ends = []
        for name, chaos in (("undisturbed", None), ("disturbed  ", random.Random(seed))):
            session_id = f"workflow-{uuid.uuid4()}"
            engine = Engine(url, client, session_id, chaos)
            state = engine.run()
            writes = sum(1 for _ in client.list_events(session_id))
            ends.append((state, writes))
            print(f"{name}  {len(STEPS)} steps, {engine.kills} kills, {writes} writes")
            client.delete_session(session_id)
    # Not only the same state: not one write more.
    same = ends[0] == ends[1] and ends[0][0]["report"]["orders"] == ORDERS
    print(f"same state   {'true' if same else f'false (seed {seed})'}")
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A workflow whose steps die and are run again.")
    parser.add_argument("url", nargs="?", help="of a running service; without it one is started")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the kills")
    parser.add_argument("--step", nargs=2, metavar=("STEP", "SESSION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is not None:
        step, session_id = options.step
        with Client(options.url) as client:
            STEPS[step](client, session_id)
    else:
        with with_server(options.url) as url:
            main(url, options.seed)
