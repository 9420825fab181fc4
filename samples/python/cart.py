"""`python samples/python/cart.py [URL]`: a workflow that stops and goes on, as samples/cart.ts is in TypeScript.

Each of its three runs is a process of its own, with its own connection; between them the cart lives in the service.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from typing import Any

from agenterra_workflow_state import Client, Commit
from with_server import with_server

CART = "shopping-cart"
COPY = f"{CART}-copy"


def fill(client: Client) -> None:
    # What a run of this sample that was interrupted may have left.
    client.delete_session(CART)
    client.delete_session(COPY)

    client.set_state(CART, "shopping_list", ["milk", "bread"])
    client.set_state(CART, "total_items", 2)

    session = client.get_session(CART)
    print("  created     ", shown_time(session.create_time if session else None))


def add(client: Client) -> None:
    client.fork_session(CART, COPY)

    # Read, change, set: fine as long as nobody else writes to the cart meanwhile.
    items: list[str] = client.get_state(CART, "shopping_list", [])
    print("  found       ", ", ".join(items))
    client.set_state(CART, "shopping_list", [*items, "eggs"])
    client.set_state(CART, "total_items", len(items) + 1)
    print("  read and set", shown(state_of(client, CART)))

    # The safe way, here on the copy: one atomic commit that the service computes, whoever else writes.
    client.commit(Commit(COPY).append("shopping_list", "eggs").increment("total_items"))
    print("  one commit  ", shown(state_of(client, COPY)))
    client.delete_session(COPY)


def check(client: Client) -> None:
    state = state_of(client, CART)
    if state != {"shopping_list": ["milk", "bread", "eggs"], "total_items": 3}:
        raise SystemExit("The cart is not what the runs before have left.")
    print("  list        ", ", ".join(state["shopping_list"]))
    print("  total       ", state["total_items"])
    session = client.get_session(CART)
    print("  last updated", shown_time(session.update_time if session else None))


RUNS = (fill, add, check)


def state_of(client: Client, session_id: str) -> dict[str, Any]:
    session = client.get_session(session_id)
    return {} if session is None else session.state


def shown(value: object) -> str:
    """A value as the sample in TypeScript shows it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {shown(member)}" for key, member in value.items()) + " }"
    if isinstance(value, list):
        return "[ " + ", ".join(map(shown, value)) + " ]"
    return repr(value)


def shown_time(time: datetime | None) -> str:
    return "never" if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main(url: str) -> None:
    for number in range(1, len(RUNS) + 1):
        subprocess.run([sys.executable, __file__, "--run", str(number), url], check=True)
    with Client(url) as client:
        print("sessions      ", shown(client.get_all_session_ids()))
        print("deleted       ", shown(client.delete_session(CART)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        number, url = sys.argv[2:]
        print(f"run {number}, process {os.getpid()}")
        with Client(url) as client:
            RUNS[int(number) - 1](client)
    else:
        with with_server(sys.argv[1] if len(sys.argv) > 1 else None) as url:
            main(url)
