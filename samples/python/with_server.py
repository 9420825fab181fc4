"""What the samples run against: the service at the URL that the command line names, or one of their own."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parents[2]


@contextmanager
def with_server(url: str | None) -> Iterator[str]:
    """The URL of a service; one that was started for it is stopped afterwards."""
    if url is not None:
        yield url
        return
    node = CHECKOUT / "node_modules" / ".bin" / "node"
    if not node.exists():
        raise SystemExit("The service needs its packages: run `npm ci` in the checkout first.")
    command = [str(node), "src/cli.ts", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            # "listening on http://127.0.0.1:PORT"
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()
