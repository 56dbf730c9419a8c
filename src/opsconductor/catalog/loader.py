"""From the bytes of one file to a checked definition, or to everything that is wrong with it.

Good files take the short way: read, convert, check. A file that does not convert is gone through again by schema, so
that all its errors are told at once with their lines. Called by `catalog.index` for files that changed; opens nothing.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import PurePath
from typing import Any

import msgspec
from msgspec import UNSET

from opsconductor.catalog.document import Document, is_plain, read_document, read_quickly
from opsconductor.catalog.findings import Finding, to_problems
from opsconductor.catalog.lint import check_definition
from opsconductor.model.errors import OpsError, Problem
from opsconductor.model.limits import DocumentLimits
from opsconductor.model.tool import ToolDefinition

_LOOSE_LEVEL = 5  # how deep in a definition the deepest part lies that may hold anything, less one for the list of them


class LoadedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What one file gave. `definition` is None when `problems` holds an error; warnings stand beside a definition."""

    digest: str
    definition: ToolDefinition | None = None
    legacy: bool = False
    problems: tuple[Problem, ...] = ()


def load_file(data: bytes, file: str, limits: DocumentLimits) -> LoadedFile:
    """Read one definition in today's format or the older one. Never raises: what is wrong is in `problems`."""
    digest = sha256(data).hexdigest()
    definition = _quick_definition(data, limits)
    if definition is not None and not check_definition(definition) and definition.id == _stem(file):
        return LoadedFile(digest=digest, definition=definition)
    try:
        document = read_document(data, file=file, limits=limits)
    except OpsError as error:
        return LoadedFile(digest=digest, problems=error.problems)
    if isinstance(document.value, dict) and "capabilities" in document.value:
        return _load_legacy(document, digest)
    return _load_with_places(document, digest)


def _quick_definition(data: bytes, limits: DocumentLimits) -> ToolDefinition | None:
    """The definition of an everyday file without errors of form; None when the long way must be taken."""
    if data.lstrip()[:1] in (b"{", b"["):
        return None
    try:
        value = read_quickly(data, data.decode(), limits)
        definition = None if value is None else msgspec.convert(value, ToolDefinition)
    except (UnicodeDecodeError, msgspec.ValidationError, RecursionError):
        return None
    return definition if definition is not None and _is_plain_inside(definition, limits) else None


def _is_plain_inside(definition: ToolDefinition, limits: DocumentLimits) -> bool:
    """Whether the parts that conversion takes as they are hold only what a document may hold."""
    loose: list[Any] = []
    for spec in definition.inputs.values():
        loose.append(None if spec.default is UNSET else spec.default)
        loose.extend(spec.examples)
    for operation in definition.operations.values():
        for example in operation.examples:
            loose.extend(example.inputs.values())
        if operation.undo is not None:
            loose.extend(operation.undo.inputs.values())
        loose.append(operation.output_schema)
    return is_plain(loose, limits.max_depth - _LOOSE_LEVEL)


def _load_with_places(document: Document, digest: str) -> LoadedFile:
    file, value = document.file, _with_version_as_text(document.value)
    try:
        definition = msgspec.convert(value, ToolDefinition)
    except (msgspec.ValidationError, RecursionError) as error:
        return LoadedFile(digest=digest, problems=_structure_problems(document, value, error))
    findings = check_definition(definition)
    if definition.id != _stem(file):
        findings.append(_misnamed(definition, file))
    problems = tuple(to_problems(findings, file, document.position)) if findings else ()
    broken = any(problem.level == "error" for problem in problems)
    return LoadedFile(digest=digest, definition=None if broken else definition, problems=problems)


def _with_version_as_text(value: Any) -> Any:
    """`version: 1.0` is a number to YAML and a text to people, who leave the quotes out in existing files."""
    version = value.get("version") if isinstance(value, dict) else None
    if isinstance(version, int | float) and not isinstance(version, bool):
        return {**value, "version": str(version)}
    return value


def _stem(file: str) -> str:
    name = file.rpartition("/")[2]
    return name.rpartition(".")[0]


def _misnamed(definition: ToolDefinition, file: str) -> Finding:
    """Only a warning: a tool is found by its name, never by its file's, and a site may name its files as it likes."""
    wanted = definition.id + PurePath(file).suffix
    message = f"the file of {definition.tool_name!r} is named {PurePath(file).name}, expected {wanted}"
    return Finding(("tool_name",), message, expected=wanted, level="warning")


def _structure_problems(document: Document, value: Any, error: Exception) -> tuple[Problem, ...]:
    from opsconductor.catalog.schema import structure_findings

    # The schema and the conversion are made from the same structures; should they ever differ, conversion decides.
    findings = structure_findings(value) or [Finding((), str(error))]
    return tuple(to_problems(findings, document.file, document.position))


def _load_legacy(document: Document, digest: str) -> LoadedFile:
    from opsconductor.catalog.legacy import read_legacy

    definition, findings = read_legacy(document.value)
    problems = tuple(to_problems(findings, document.file, document.position))
    return LoadedFile(digest=digest, definition=definition, legacy=True, problems=problems)
