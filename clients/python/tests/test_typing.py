"""The package's types: what is right passes the strictest checks, what is wrong does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

FOLDER = Path(__file__).parent / "typing"
SOURCE = FOLDER.parent.parent / "src"


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    """The file and line of each error that mypy finds."""
    folder = tmp_path_factory.mktemp("mypy")
    config = folder / "mypy.ini"
    config.write_text(
        f"[mypy]\nstrict = True\nmypy_path = {SOURCE}\ncache_dir = {folder}\n", encoding="utf-8"
    )
    programs = [str(FOLDER / name) for name in ("good.py", "bad.py")]
    out, problems, _ = api.run(["--config-file", str(config), *programs])
    assert problems == ""
    assert "errors in 1 file (checked 2 source files)" in out
    return [(name, int(line)) for name, line in re.findall(r"(\w+)\.py:(\d+): error", out)]


def test_what_is_right_passes(errors: list[tuple[str, int]]) -> None:
    assert [error for error in errors if error[0] != "bad"] == []


def test_what_is_wrong_does_not_pass(errors: list[tuple[str, int]]) -> None:
    lines = (FOLDER / "bad.py").read_text(encoding="utf-8").splitlines()
    wrong = [number for number, line in enumerate(lines, 1) if line.endswith("# wrong")]
    assert sorted({line for name, line in errors if name == "bad"}) == wrong
