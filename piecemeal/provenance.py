"""Where a number came from: code, commit, files and machine, as they enter names and records."""

from __future__ import annotations

import ast
import errno
import fcntl
import functools
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from piecemeal.errors import InputError

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = __package__.split(".")[0]


def is_full_disk(error: OSError) -> bool:
    """Whether a disk, or a quota, was full."""
    if error.errno is None:  # numpy says in words alone that it could not write all of an array
        return re.search(r"\d requested and \d+ written", str(error)) is not None
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def share(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where the disk cannot link."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def short_hash(thing: Any) -> str:
    """Ten hexadecimal digits that change when `thing` (JSON-able) changes."""
    text = json.dumps(thing, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def file_sha256(path: Path) -> str:
    """SHA-256 of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """SHA-256 of the names and the bytes of all files in a folder and those below it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = [[path.relative_to(folder).as_posix(), file_sha256(path)] for path in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def source_hash(*modules: str) -> str:
    """Hash of `modules` and every module of this package that they import, near or far.

    A module is named by its path from the main folder, scripts too: `workflow.scripts.train`.
    The syntax tree without docstrings is hashed, not the bytes: comments, formatting and file
    times change nothing, so they rerun nothing.
    """
    closure: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in closure:
            closure.add(module)
            waiting += _parsed(module)[1]
    return short_hash({module: _parsed(module)[0] for module in sorted(closure)})


@functools.cache
def _parsed(module: str) -> tuple[str, tuple[str, ...]]:
    """Digest of one module's syntax tree, and the modules of this package that it imports."""
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        _drop_docstring(node)
    ours = {m for m in imported if m.split(".")[0] == PACKAGE and _file(m) is not None}
    return short_hash(_plain(tree)), tuple(sorted(ours))


def _plain(node: Any) -> Any:
    """A syntax tree as nested lists without empty fields, which differ from Python to Python."""
    if isinstance(node, ast.AST):
        fields = [[name, _plain(value)] for name, value in ast.iter_fields(node)]
        return [type(node).__name__, *(f for f in fields if f[1] not in (None, []))]
    if isinstance(node, list):
        return [_plain(item) for item in node]
    return None if node is None else repr(node)


def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _drop_docstring(node: ast.AST) -> None:
    body = getattr(node, "body", None)
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
        body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    ):
        node.body = body[1:]


def git_state() -> dict[str, Any]:
    """The commit and whether tracked files are as committed; nulls outside a git checkout.

    What the workflow itself writes, results and DVC's record of them, does not count.
    """

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    made = (":(exclude)results", ":(exclude)dvc.lock")
    changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", *made)
    return {"commit": commit, "clean": None if changes is None else not changes}


def lock_sha256() -> str | None:
    """SHA-256 of requirements.lock; None where the package is installed without it."""
    lock = ROOT / "requirements.lock"
    return file_sha256(lock) if lock.exists() else None


def read_json(path: Path) -> dict[str, Any]:
    """The content of a record; InputError where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it and start again") from None


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: to a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class replacing:  # noqa: N801  (a context manager, used like a function)
    """`with replacing(path) as temporary:` write to `temporary`; it becomes `path` if all is well.

    On any error, a full disk included, `path` stays as it was and the temporary file goes.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    def __enter__(self) -> Path:
        handle, name = tempfile.mkstemp(
            dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".partial"
        )
        os.close(handle)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                with self.temporary.open("rb") as file:
                    os.fsync(file.fileno())  # may be the first to notice that the disk is full
                self.temporary.chmod(0o666 & ~_umask())
                self.temporary.replace(self.path)
        finally:
            self.temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[IO[str]]:
    """Hold `folder`, which is made if need be: a second process waits here until the first is done.

    The lock is that of the file LOCK in it, which stays and says who holds it; the system lets it
    go when the holder and every process that inherited the open file have ended, however they end.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "LOCK").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            log.warning("%s is held by %s; waiting until it ends", folder, holder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(this_process() + "\n")
        lock.flush()
        yield lock


def this_process() -> str:
    """Who this is, for people who look for it: the SLURM job if there is one, process and host."""
    process = f"process {os.getpid()} on {socket.gethostname()}"
    job = os.environ.get("SLURM_JOB_ID")
    return f"SLURM job {job}, {process}" if job else process


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
