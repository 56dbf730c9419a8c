"""Fences: which module may use which library. The layers are import-linter's; this holds what is finer than a layer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent.parent / "src" / "opsconductor"

FENCES: dict[str, set[str]] = {
    "yaml": {"catalog.yaml_strict"},
    "yaml_rs": {"catalog.document"},
    "minijinja": {"engine.templates"},
    "jc": {"services.kit.parsing"},
    "jsonschema": {"catalog.schema"},
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "aiohttp": {
        "transports.http",
        "services.kit.http_client",
        "services.kit.bounded_reading",
        "services.communication.config",
        "interfaces.remote",
    },
    "aiosmtplib": {"services.communication.smtp"},
    "aiosmtpd": {"interfaces.receivers.mail"},
    "starlette": {"services.kit", "interfaces.api"},
    "uvicorn": {"services.kit.server"},
    "structlog": {"telemetry.logs"},
    "prometheus_client": {"telemetry.metrics"},
    "click": {"interfaces.cli", "bootstrap.servers"},
    "rich": {"interfaces.cli"},
    "subprocess": {"transports"},
    "sqlite3": {"store", "services.kit.inbox_store", "bootstrap.doctor"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            roots.add(node.module.partition(".")[0])
    return roots


@pytest.mark.parametrize("library", FENCES)
def test_a_library_stays_inside_its_fence(library: str) -> None:
    allowed = FENCES[library]
    users = {name for name, tree in modules() if library in imported(tree)}
    assert {
        name for name in users if not any(name == fence or name.startswith(f"{fence}.") for fence in allowed)
    } == set()


def test_only_settings_reads_the_environment() -> None:
    readers = set()
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"):
                readers.add(name)
    assert readers == {"settings"}


def test_nothing_asks_for_a_shell() -> None:
    asking = set()
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                asking.add(name)
            if isinstance(node, ast.Attribute) and node.attr in ("create_subprocess_shell", "system", "popen"):
                asking.add(name)
    assert asking == set()


def test_modules_are_small() -> None:
    """The median is a room one can look over; none is a hall."""
    lines = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py"))
    assert lines[-1] <= 500
    assert lines[int(len(lines) * 0.9)] <= 350
