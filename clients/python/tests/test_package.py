"""The package as users get it: what the README says is run, and the samples do what those in TypeScript do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from .support.service import CHECKOUT, NODE, Service, running

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLES = CHECKOUT / "samples" / "python"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def expected(program: str) -> list[str]:
    """What the comments behind `print`, or alone on lines after it, say that it prints."""
    return re.findall(r"(?:^\s*|\)  )# (.+)$", program, re.MULTILINE)


def plain(output: str) -> str:
    """Output without times and process ids."""
    return re.sub(r"process \d+", "process N", re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", output))


def ran(command: Sequence[str | Path], **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)  # type: ignore[call-overload]
    assert (done.returncode, done.stderr) == (0, "")
    output: str = done.stdout
    return output


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """What programs run with: the package from its sources."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}


def test_the_version_is_the_services() -> None:
    package = json.loads((CHECKOUT / "package.json").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'^version = "(.+)"$', project, re.MULTILINE) == [package["version"]]


@pytest.mark.parametrize("script", ["build.sh", "check.sh"])
def test_the_client_is_left_out_where_there_is_no_venv(tmp_path: Path, script: str) -> None:
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\necho "No module named ensurepip" >&2\nexit 1\n', encoding="utf-8")
    python.chmod(0o700)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        [ROOT / script], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert done.returncode == 3
    assert done.stderr == "left out: python3 3.10 or newer with venv not found\n"


def test_the_programs_of_the_readme_print_what_it_says() -> None:
    programs = blocks("python")
    assert len(programs) >= 6
    with running() as service:
        for program in programs:
            text = program.replace("http://127.0.0.1:7410", service.url)
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(text, "README.md", "exec"), {"__name__": "__main__"})
            assert output.getvalue().splitlines() == expected(program)


def test_the_programs_of_the_readme_pass_the_linter(tmp_path: Path) -> None:
    for number, program in enumerate(blocks("python")):
        (tmp_path / f"program_{number}.py").write_text(program, encoding="utf-8")
    ran(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--quiet",
            "--isolated",
            "--select=E,F,I,B",
            "--line-length=110",
            tmp_path,
        ]
    )


def test_the_readmes_commands_install_the_package_and_run_the_cart(tmp_path: Path) -> None:
    for name in ("clients", "samples", "src", "node_modules", "gen", "package.json"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    # What the package is to run with at least; the other tests run with the newest.
    lowest = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints-lowest.txt")}
    lowest.pop("PYTHONPATH", None)
    # The first is how this checkout came to be.
    installed, commands = blocks("sh")
    assert installed == "npm ci\n"
    outputs = [ran(shlex.split(line), cwd=tmp_path, env=lowest) for line in commands.splitlines()]
    assert "Successfully installed" in outputs[1]
    assert "agenterra-workflow-state-0.1.0" in outputs[1]
    for pin in (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").split():
        assert pin.replace("==", "-") in outputs[1]
    assert plain(outputs[2]).splitlines()[-2:] == [
        "sessions       [ 'shopping-cart' ]",
        "deleted        true",
    ]
    [site] = (tmp_path / ".venv").glob("lib/python*/site-packages")
    files = {
        str(path.relative_to(site))
        for path in (site / "agenterra_workflow_state").rglob("*")
        if path.is_file()
    }
    assert {"agenterra_workflow_state/py.typed", "agenterra_workflow_state/proto/service_pb2.pyi"} <= files
    assert not [path for path in site.iterdir() if path.name in ("tests", "scripts", "agenterra")]
    # What is different within an old gRPC is the same without.
    program = (
        "import agenterra_workflow_state as w\n"
        "with w.Client('http://127.0.0.1:9', retry=w.Retry(attempts=2)) as client:\n"
        "    try:\n"
        "        client.set_state('s', 'k', 1)\n"
        "    except w.WorkflowStateError as error:\n"
        "        print(error.reason)\n"
    )
    assert ran([tmp_path / ".venv/bin/python", "-c", program]) == "STORE_UNAVAILABLE\n"


def test_the_cart_prints_what_it_prints_in_typescript(environment: dict[str, str], service: Service) -> None:
    theirs = plain(ran([NODE, CHECKOUT / "samples" / "cart.ts"], cwd=CHECKOUT)).splitlines()
    ours = plain(ran([sys.executable, SAMPLES / "cart.py", service.url], env=environment)).splitlines()
    # This service has other sessions, too.
    [sessions] = [line for line in ours if line.startswith("sessions")]
    assert "'shopping-cart'" in sessions
    assert [line for line in ours if line != sessions] == [
        line for line in theirs if not line.startswith("sessions")
    ]


def test_a_workflow_whose_steps_are_killed_ends_as_if_they_were_not(
    environment: dict[str, str], service: Service
) -> None:
    seed = random.randrange(2**32)
    output = ran([sys.executable, SAMPLES / "workflow.py", service.url, "--seed", str(seed)], env=environment)
    print(output)
    plain_run, disturbed, same = output.splitlines()
    assert re.fullmatch(r"undisturbed  5 steps, 0 kills, 49 writes", plain_run)
    assert int(re.findall(r"disturbed    5 steps, (\d+) kills", disturbed)[0]) >= 1
    assert same == "same state   true"


def test_the_tests_run_with_what_the_requirements_say() -> None:
    pins = re.findall(
        r"^([\w-]+)==(\S+)$", (ROOT / "requirements-dev.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {name: version(name) for name, _ in pins} == dict(pins)
