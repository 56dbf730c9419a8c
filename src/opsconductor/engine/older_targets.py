"""`target_hosts` of older plans as a loop of today: one run for each host. Pure; the step reader calls it.

`target_hosts: ["{{hostname}}"]` means each asset that the last asset query found; in such a step `{{hostname}}` and
`{{ip_address}}` are that asset's. A list of several names, `{{hostnames}}` and `{{ip_addresses}}` mean each entry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

KEY = "target_hosts"
_OF_ALL = re.compile(r"\{\{\s*(hostnames|ip_addresses)\s*\}\}")
_OF_ASSET = re.compile(r"\{\{\s*(hostname|ip_address)\s*\}\}")


def expand(inputs: Mapping[str, Any]) -> tuple[str | list[Any] | None, dict[str, Any]]:
    """(what the step runs for each of, its inputs for one of them); (None, the inputs) where nothing is to be repeated.

    The host of each run is the input `host`, so a step that has that as well is left as it is.
    """
    hosts = inputs.get(KEY)
    if "host" in inputs or not isinstance(hosts, str | list):
        return None, dict(inputs)
    rest = {key: value for key, value in inputs.items() if key != KEY}
    only = hosts[0] if isinstance(hosts, list) and len(hosts) == 1 else hosts
    if isinstance(only, str) and _OF_ASSET.fullmatch(only.strip()):
        return "{{ assets }}", {**_of_asset(rest), "host": _of_asset(only.strip())}
    if isinstance(only, list) and len(only) > 1:
        return only, {**rest, "host": "{{ item }}"}
    if isinstance(only, str) and _OF_ALL.fullmatch(only.strip()):
        return only.strip(), {**rest, "host": "{{ item }}"}
    return None, dict(inputs)


def _of_asset(value: Any) -> Any:
    if isinstance(value, str):
        return _OF_ASSET.sub(r"{{ item.\1 }}", value)
    if isinstance(value, dict):
        return {key: _of_asset(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_of_asset(entry) for entry in value]
    return value
