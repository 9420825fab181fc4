"""The service itself, from the checkout, as a process."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parents[4]
NODE = CHECKOUT / "node_modules" / ".bin" / "node"


class Service:
    """A running service."""

    def __init__(self, *options: str, listen: str = "127.0.0.1:0") -> None:
        self._process = subprocess.Popen(
            [NODE, CHECKOUT / "src" / "cli.ts", "serve", "--listen", listen, *options],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("listening on "), line
        self.url = line.split()[-1]
        self.address = self.url.split("//")[1]

    def stop(self) -> None:
        """Has it end as it does when it is told to."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        self._process.wait(timeout=20)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def running(*options: str, listen: str = "127.0.0.1:0") -> Iterator[Service]:
    """A service for a while."""
    service = Service(*options, listen=listen)
    try:
        yield service
    finally:
        service.stop()


@contextmanager
def configured(folder: Path, **config: Any) -> Iterator[Service]:
    """A service with limits or other settings of its own."""
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    with running("--config", str(path)) as service:
        yield service


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A fresh certificate for localhost, and its key."""
    program = "import { selfSigned } from './test/support/self-signed.ts'; console.log(JSON.stringify(selfSigned()));"
    made = subprocess.run(
        [NODE, "--input-type=module", "-e", program], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    identity = json.loads(made.stdout)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_text(identity["cert"], encoding="utf-8")
    key.write_text(identity["key"], encoding="utf-8")
    return certificate, key
