"""`opsconductor assets …`: the inventory, through asset-service like every other caller."""

from __future__ import annotations

import sys
from typing import Any

import click

from opsconductor.interfaces.cli.executions import with_conductor
from opsconductor.interfaces.cli.output import print_json, say, table
from opsconductor.interfaces.cli.tools import JSON
from opsconductor.interfaces.cli.values import parse_pairs
from opsconductor.interfaces.ports import Runtime

PAIRS = click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")


def _call(runtime: Runtime, tool: str, operation: str, inputs: dict[str, Any]) -> Any:
    given = {name: value for name, value in inputs.items() if value is not None}
    return with_conductor(runtime, lambda conductor: conductor.call("asset-service", tool, operation, given))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items() if part not in (None, ""))
    return str(value)


def _show_one(asset: dict[str, Any]) -> None:
    rows = [[name, _text(value)] for name, value in asset.items() if value not in (None, [], {}, "")]
    table(["field", "value"], rows)


@click.group()
def assets() -> None:
    """The inventory: list, show, create, update, delete."""


@assets.command("list")
@click.option("--selector", "-s", help="For example: env=prod, role in (web, api), hostname~web-*")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@click.option("--cursor", help="Continue a page.")
@JSON
@click.pass_obj
def list_assets(runtime: Runtime, selector: str | None, limit: int, cursor: str | None, as_json: bool) -> None:
    """Assets that fit a selector, or all."""
    page = _call(runtime, "asset-query", "query", {"selector": selector, "limit": limit, "cursor": cursor})
    if as_json:
        print_json(page)
        return
    rows = [
        [
            a["hostname"],
            a.get("type") or "",
            a.get("os") or a.get("platform") or "",
            a.get("environment") or "",
            a.get("status") or "",
            ", ".join(a.get("addresses") or []),
            ", ".join(a.get("tags") or []),
        ]
        for a in page["assets"]
    ]
    table(["hostname", "type", "os", "environment", "status", "addresses", "tags"], rows)
    if not rows:
        say(f"no asset fits {selector!r}" if selector else "the inventory is empty")
    if page.get("next_cursor"):
        say(f"more: --cursor {page['next_cursor']}")


@assets.command("show")
@click.argument("asset")
@JSON
@click.pass_obj
def show(runtime: Runtime, asset: str, as_json: bool) -> None:
    """One asset, by id or name."""
    data = _call(runtime, "asset-query", "get", {"asset_id": asset})
    print_json(data) if as_json else _show_one(data["asset"])


@assets.command("create")
@PAIRS
@JSON
@click.pass_obj
def create(runtime: Runtime, pairs: tuple[str, ...], as_json: bool) -> None:
    """Add an asset: hostname=web-1 type=server environment=prod tags=blue tags=web …"""
    data = _call(runtime, "asset-create", "create", parse_pairs(pairs))
    print_json(data) if as_json else _show_one(data["asset"])


@assets.command("update")
@click.argument("asset")
@PAIRS
@JSON
@click.pass_obj
def update(runtime: Runtime, asset: str, pairs: tuple[str, ...], as_json: bool) -> None:
    """Change fields of an asset, by id or name."""
    data = _call(runtime, "asset-update", "update", {**parse_pairs(pairs), "asset_id": asset})
    print_json(data) if as_json else _show_one(data["asset"])


@assets.command("delete")
@click.argument("asset")
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON
@click.pass_obj
def delete(runtime: Runtime, asset: str, yes: bool, as_json: bool) -> None:
    """Retire an asset; it can be restored."""
    if not yes and (as_json or not sys.stdin.isatty()):
        raise click.UsageError("nobody can be asked here whether to retire the asset; say --yes")
    if not yes:
        click.confirm(f"retire {asset}?", abort=True, err=True)
    data = _call(runtime, "asset-delete", "delete", {"asset_id": asset})
    print_json(data) if as_json else say(f"retired {data['asset']['hostname']}")
