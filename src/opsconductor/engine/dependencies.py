"""Which step waits for which: the plan's order made explicit, and circles found. Pure; called by the plan reader.

A plan is a sequence unless it says otherwise:
- a step without `depends_on` waits for the step before it;
- `depends_on: []` may start at once; a list waits for those steps and no others;
- steps that a template refers to are added in every case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opsconductor.engine.expressions import Expression
from opsconductor.model.names import canonical

OLDER_VARIABLES = frozenset({"assets", "hostnames", "ip_addresses", "asset_count"})
"""Variables of older plans: what the last asset query before a step found."""


def older_result_step(name: str) -> int | None:
    """Which step (from 1, in the order of the plan) `step_<n>_result` means; None for other names."""
    number = name.removeprefix("step_").removesuffix("_result")
    return (
        int(number)
        if name == f"step_{number}_result" and number.isascii() and number.isdigit() and len(number) < 7
        else None
    )


def complete(
    index: int, ids: Sequence[str], query: str | None, stated: Sequence[str] | None, used: Sequence[Expression]
) -> tuple[str, ...]:
    """All steps that the step at `index` waits for, without repeats, in a stable order; names may be unknown ones.

    `query` is the last asset query before it; `stated` its own `depends_on`; `used` its expressions.
    """
    waits = dict.fromkeys(stated if stated is not None else ids[max(index - 1, 0) : index])
    for expression in used:
        waits |= dict.fromkeys(sorted(expression.steps))
        for name in sorted(expression.names):
            number = older_result_step(name)
            if number is not None and 1 <= number <= len(ids):
                waits[ids[number - 1]] = None
            elif name in OLDER_VARIABLES and query is not None:
                waits[query] = None
    return tuple(waits)


def asset_queries(ids: Sequence[str], tools: Sequence[str]) -> list[str | None]:
    """For each step the last one before it that queries the inventory."""
    found, last = list[str | None](), None
    for name, tool in zip(ids, tools, strict=True):
        found.append(last)
        last = name if canonical(tool) == "asset_query" else last
    return found


def find_cycle(depends_on: Mapping[str, Sequence[str]]) -> list[str] | None:
    """One circle as a path that ends where it begins (`a, b, a`: a waits for b), or None. Linear; no recursion."""
    done: set[str] = set()
    for start in depends_on:
        if start in done:
            continue
        path, on_path = [start], {start: 0}
        branches = [iter(depends_on[start])]
        while branches:
            following = next(branches[-1], None)
            if following is None:
                branches.pop()
                done.add(path[-1])
                on_path.pop(path.pop())
            elif following in on_path:
                return [*path[on_path[following] :], following]
            elif following not in done and following in depends_on:
                on_path[following] = len(path)
                path.append(following)
                branches.append(iter(depends_on[following]))
    return None
