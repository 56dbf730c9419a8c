"""`opsconductor tools lint` for one tool: examples proven, quality file held against the definition. Reads files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from opsconductor.catalog.document import read_document
from opsconductor.catalog.findings import Finding, to_problems
from opsconductor.catalog.lint import check_examples
from opsconductor.catalog.quality import check_quality, quality_path, read_quality
from opsconductor.model.errors import OpsError, Problem
from opsconductor.model.limits import DocumentLimits
from opsconductor.model.tool import ToolDefinition


class Audited(Protocol):
    """What is asked of a catalog entry."""

    @property
    def path(self) -> Path: ...
    @property
    def legacy(self) -> bool: ...
    @property
    def definition(self) -> ToolDefinition: ...


def audit_entry(entry: Audited, limits: DocumentLimits, *, shipped: bool) -> list[Problem]:
    """What loading does not look at. A shipped tool must have a quality file; a site's may. Never raises."""
    if entry.legacy:
        return []
    try:
        return [*_examples(entry, limits), *_quality(entry, limits, shipped=shipped)]
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        return [Problem(code="definition_invalid", message=message, file=str(entry.path))]
    except OpsError as error:
        return list(error.problems) or [Problem(code=error.code, message=error.message, file=str(entry.path))]


def _examples(entry: Audited, limits: DocumentLimits) -> list[Problem]:
    findings = check_examples(entry.definition)
    if not findings:
        return []
    document = read_document(entry.path.read_bytes(), file=str(entry.path), limits=limits)
    return to_problems(findings, str(entry.path), document.position)


def _quality(entry: Audited, limits: DocumentLimits, *, shipped: bool) -> Iterator[Problem]:
    path = quality_path(entry.path)
    if not path.exists():
        if shipped:
            message = f"there is no {path.name} beside it; expected one: docs/how-to/write-a-tool.md says what is in it"
            yield from to_problems([Finding((), message)], str(entry.path), lambda _path: (1, 1))
        return
    quality = read_quality(path.read_bytes(), path, limits)
    yield from to_problems(check_quality(quality, entry.definition), str(path), quality.document.position)
