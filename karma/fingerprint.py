"""What an artefact depends on, as a dict that can be compared, and its key.

A fingerprint holds everything that can change a stage's bytes, by kind:

    config    its own slice of the recipe
    code      each module of this project that its job imports, transitively
    sql       each of its SQL files
    file      each other file that it opens and that is no input
    input     the digest of each input, by role
    version   the libraries that can change its result, to the minor level
    compute   cpu or cuda

Two dicts differ in exactly the causes that make a stage stale. Comments, docstrings and formatting
do not count as code.
"""

import ast
import hashlib
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

from karma.store import canonical, sha256

PROJECT = Path(__file__).parents[1]
# What of a fingerprint a machine can look up by itself.
HERE = ("code", "sql", "file", "version")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Cause(TypedDict):
    """One reason why a stage has to run: what changed, from what, to what."""

    kind: str
    what: str
    old: Any
    new: Any


def key_of(fingerprint: dict[str, Any]) -> str:
    """The key of a fingerprint: the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(fingerprint)).hexdigest()


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[Cause]:
    """All causes that tell two fingerprints apart, the user's own changes first."""
    causes: list[Cause] = []
    for kind in ("config", "compute", "file", "sql", "code", "version", "input"):
        before, after = _leaves(old.get(kind, {}), kind), _leaves(new.get(kind, {}), kind)
        causes += [
            Cause(kind=kind, what=what, old=before.get(what), new=after.get(what))
            for what in sorted(before.keys() | after.keys())
            if before.get(what) != after.get(what)
        ]
    return causes


def _leaves(value: Any, path: str, top: bool = True) -> dict[str, Any]:
    """The leaves of nested dicts by their dotted path; the kind itself is not part of the path."""
    if not isinstance(value, dict):
        return {path: value}
    leaves: dict[str, Any] = {}
    for name, below in value.items():
        leaves |= _leaves(below, name if top else f"{path}.{name}", top=False)
    return leaves


@cache
def minor(library: str) -> str:
    """A library's version to the minor level: ``2.13`` of ``2.13.0``."""
    return _minor(library)


def _minor(library: str) -> str:
    return ".".join(version(library).split(".")[:2])


@cache
def text_digest(path: Path) -> str:
    """The SHA-256 of a file of the project."""
    return sha256(path)


def changed(document: dict[str, Any], kinds: tuple[str, ...] = HERE) -> list[str]:
    """What of the project's files and libraries is no longer as the fingerprint ``document`` says.

    Reads the disk anew, whatever was looked up before; a module that only got another comment has
    not changed.
    """
    return [cause["what"] for cause in differences(document, here(document, kinds))]


def here(document: dict[str, Any], kinds: tuple[str, ...] = HERE) -> dict[str, Any]:
    """The fingerprint ``document`` with what is on this machine in place of ``kinds``; None stands
    for a file or a library that is not there."""
    now = {kind: {name: _now(kind, name) for name in document.get(kind, {})} for kind in kinds}
    return {**document, **now}


def _now(kind: str, name: str) -> str | None:
    """What a fingerprint made here and now says of a module, file or library."""
    if kind == "version":
        try:
            return _minor(name)
        except PackageNotFoundError:
            return None
    path = _file(name) if kind == "code" else PROJECT / name
    if path is None or not path.exists():
        return None
    return _parse(path)[0] if kind == "code" else sha256(path)


def code(module: str) -> dict[str, str]:
    """Each module of ``karma`` that ``module`` imports, transitively, with its own digest."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        digest, imports = _module(name)
        found[name] = digest
        waiting.extend(imports)
    return dict(sorted(found.items()))


def _file(module: str) -> Path | None:
    base = PROJECT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path
    return None


@cache
def _module(name: str) -> tuple[str, tuple[str, ...]]:
    """The digest of a module without comments and docstrings, and the modules that it imports."""
    path = _file(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name} in {PROJECT}")
    digest, imports = _parse(path)
    # Importing karma.policy.ppo runs karma/__init__.py and karma/policy/__init__.py too.
    imports = imports | {name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)}
    return digest, tuple(i for i in sorted(imports) if i.split(".")[0] == "karma" and _file(i))


def _parse(path: Path) -> tuple[str, frozenset[str]]:
    """The digest of a module's code, and the names that it imports."""
    found = path.stat()
    return _parse_once(path, found.st_mtime_ns, found.st_size)


@cache
def _parse_once(path: Path, _time: int, _size: int) -> tuple[str, frozenset[str]]:
    """As ``_parse``; the time and size make an edited file another one."""
    written: list[str] = []
    imports: set[str] = set()
    _write(_tree(path.read_bytes()), written, imports)
    return hashlib.sha256(",".join(written).encode()).hexdigest(), frozenset(imports)


def _tree(source: bytes) -> ast.Module:
    """The syntax tree of a module.

    CPython up to 3.11.7 counts the depth of all threads' trees in one place (its issue 106905), and
    may take another thread's for a fault of this one's. Then nothing is wrong but the count.
    """
    for _ in range(99):
        with suppress(SystemError):
            return ast.parse(source)
    return ast.parse(source)


def _write(value: Any, written: list[str], imports: set[str]) -> None:
    """Write a syntax tree without places and docstrings, and collect what it imports.

    As ``ast.dump`` and ``ast.walk`` in one go, which take most of the time that a plan takes.
    """
    if isinstance(value, ast.AST):
        if isinstance(value, ast.Import | ast.ImportFrom):
            imports |= _imported(value)
        written.append(type(value).__name__)
        documented = isinstance(value, DOCUMENTED)
        for name, below in ast.iter_fields(value):
            # The strings that stand alone: docstrings, and the help texts under fields.
            texts = documented and name == "body"
            _write([s for s in below if not _is_text(s)] if texts else below, written, imports)
    elif isinstance(value, list):
        written.append("[")
        for part in value:
            _write(part, written, imports)
        written.append("]")
    else:
        written.append(repr(value))


def _imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    names = {alias.name for alias in node.names}
    if isinstance(node, ast.Import):
        return names
    return {node.module, *(f"{node.module}.{name}" for name in names)} if node.module else set()


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
