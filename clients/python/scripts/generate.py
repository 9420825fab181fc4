"""Writes the generated half of the package; `--check` only looks whether it is as it would be written.

Messages and stubs come from the service's .proto files, by the tools of requirements-generate.txt:

    python scripts/generate.py --proto [--check]

The blocking client comes from the asyncio one, formatted by ruff:

    python scripts/generate.py --sync [--check]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "agenterra_workflow_state"
PROTO = ROOT.parent.parent / "proto"
SCHEMA = "agenterra/state/v1"

#: What is another word without asyncio, longest first.
WORDS = {
    "StopAsyncIteration": "StopIteration",
    "asynccontextmanager": "contextmanager",
    "AsyncContextManager": "ContextManager",
    "AsyncIterable": "Iterable",
    "AsyncIterator": "Iterator",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "AsyncClient": "Client",
    "AsyncWatch": "Watch",
    "AsyncStreaming": "Streaming",
    "AsyncPages": "Pages",
    "AsyncPipeline": "Pipeline",
    "aclosing": "closing",
    "aclose": "close",
    "_async": "_sync",
    "an asyncio": "a blocking",
    "The asyncio": "The blocking",
    "task": "thread",
}


def generated_protos() -> dict[Path, str]:
    """The messages, the service, and their types."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
        well_known = Path(protoc.__file__).parent / "_proto"
        schemas = [f"{SCHEMA}/state.proto", f"{SCHEMA}/service.proto"]
        arguments = [
            "protoc",
            f"-I{PROTO}",
            f"-I{well_known}",
            *outputs,
            "--mypy_opt=quiet",
            "--mypy_grpc_opt=quiet",
        ]
        if protoc.main([*arguments, *schemas]) != 0:
            sys.exit("protoc has failed.")
        written = {
            PACKAGE / "proto" / path.name: localised(path.read_text(encoding="utf-8"))
            for path in sorted((Path(folder) / SCHEMA).iterdir())
            # Nouns only: there is no service in it.
            if not path.name.startswith("state_pb2_grpc")
        }
    about = '"""The messages and the service as they were generated, for who wants to call it without the client."""\n'
    return {PACKAGE / "proto" / "__init__.py": about, **written}


def localised(code: str) -> str:
    """Generated code that imports its neighbours from this package."""
    package = SCHEMA.replace("/", ".")
    return re.sub(
        rf"\bfrom {re.escape(package)} import\b", "from agenterra_workflow_state.proto import", code
    )


def generated_twins() -> dict[Path, str]:
    """The blocking client."""
    note = "# Generated from _async/{} by scripts/generate.py: change that.\n"
    return {
        PACKAGE / "_sync" / source.name: formatted(
            note.format(source.name) + blocking(source.read_text(encoding="utf-8"))
        )
        for source in sorted((PACKAGE / "_async").glob("*.py"))
        # Written for each: it is where they differ.
        if source.name not in ("io.py", "__init__.py")
    }


def blocking(code: str) -> str:
    """The code without asyncio."""
    # What is needed only where a function may be a coroutine function.
    code = re.sub(r" *# <asyncio>\n.*?# </asyncio>\n", "", code, flags=re.DOTALL)
    code = without_awaitable(code)
    code = re.sub(r"\basync (def|with|for)\b", r"\1", code)
    code = re.sub(r"\bawait ", "", code)
    for word, other in WORDS.items():
        code = re.sub(rf"(?<![A-Za-z]){word}(?![a-z])", other, code)
    return code


def formatted(code: str) -> str:
    """The code as ruff formats it, its imports sorted."""
    ruff = [sys.executable, "-m", "ruff"]
    name = f"--stdin-filename={PACKAGE / '_sync' / 'client.py'}"
    for arguments in (["check", "--quiet", "--select=F401,I", "--fix", name, "-"], ["format", name, "-"]):
        code = subprocess.run(
            [*ruff, *arguments], input=code, capture_output=True, text=True, check=True
        ).stdout
    return code


def without_awaitable(code: str) -> str:
    """`Awaitable[X]` as `X`, however X is made."""
    while (start := code.find("Awaitable[")) >= 0:
        depth, end = 0, start + len("Awaitable")
        while True:
            depth += {"[": 1, "]": -1}.get(code[end], 0)
            end += 1
            if depth == 0:
                break
        code = code[:start] + code[start + len("Awaitable[") : end - 1] + code[end:]
    return code


def main() -> None:
    """Writes, or checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proto", action="store_true", help="the messages and the service")
    parser.add_argument("--sync", action="store_true", help="the blocking client")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something would change")
    options = parser.parse_args()
    files: dict[Path, str] = {}
    if options.proto:
        files |= generated_protos()
    if options.sync:
        files |= generated_twins()
    if not files:
        parser.error("say what: --proto, --sync or both")
    stale = [
        path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if not options.check:
            path.write_text(files[path], encoding="utf-8")
        print(path.relative_to(ROOT))
    if options.check and stale:
        sys.exit("These are not as they would be generated: run scripts/generate.py without --check.")


if __name__ == "__main__":
    main()
