"""Which step may start when: for every plan and every order in which steps end."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from opsconductor.engine.dependencies import find_cycle
from opsconductor.engine.scheduler import Schedule
from opsconductor.model.plan import Step


@st.composite
def acyclic(draw: st.DrawFn) -> list[Step]:
    count = draw(st.integers(1, 12))
    order = draw(st.permutations(range(count)))
    steps = []
    for place, number in enumerate(order):
        before = [f"s{other}" for other in order[:place]]
        waits = draw(st.lists(st.sampled_from(before), unique=True)) if before else []
        steps.append((number, Step(id=f"s{number}", tool="t", depends_on=tuple(waits))))
    return [step for _, step in sorted(steps, key=lambda pair: pair[0])]


@given(acyclic(), st.integers(1, 4), st.randoms(use_true_random=False), st.integers(0, 20))
def test_no_step_starts_before_what_it_waits_for_and_each_starts_once(
    steps: list[Step], max_parallel: int, random: object, stop_after: int
) -> None:
    import random as random_module

    assert isinstance(random, random_module.Random)
    schedule = Schedule(steps, max_parallel=max_parallel)
    ended, taken, running = set[str](), list[int](), list[int]()
    while True:
        new = schedule.take()
        for index in new:
            assert set(steps[index].depends_on) <= ended
        taken += new
        running += new
        assert len(running) <= max_parallel
        assert schedule.running == set(running)
        if not running:
            break
        index = running.pop(random.randrange(len(running)))
        schedule.finish(index)
        ended.add(steps[index].id)
        if len(ended) == stop_after:
            schedule.stop()
    assert len(set(taken)) == len(taken)
    assert sorted([*taken, *schedule.never_started]) == list(range(len(steps)))
    if stop_after not in range(1, len(steps)):
        assert not schedule.never_started


@given(acyclic())
def test_plans_without_a_circle_have_none(steps: list[Step]) -> None:
    assert find_cycle({step.id: step.depends_on for step in steps}) is None


@given(st.dictionaries(st.integers(0, 8).map(str), st.lists(st.integers(0, 8).map(str), max_size=4), max_size=9))
def test_a_circle_that_is_named_is_one_and_none_is_missed(graph: dict[str, list[str]]) -> None:
    circle = find_cycle(graph)
    if circle is not None:
        assert len(circle) > 1
        assert circle[0] == circle[-1]
        assert all(after in graph[before] for before, after in pairwise(circle))
        return
    # No circle: taking away nodes that wait for nothing must empty the graph.
    left = {name: {other for other in waits if other in graph} for name, waits in graph.items()}
    while free := [name for name, waits in left.items() if not waits]:
        left = {name: waits - set(free) for name, waits in left.items() if name not in free}
    assert not left


def test_a_long_chain_needs_no_recursion() -> None:
    chain = {str(n): [str(n + 1)] for n in range(50_000)} | {"50000": []}
    assert find_cycle(chain) is None
    assert find_cycle(chain | {"50000": ["49999"]}) == ["49999", "50000", "49999"]
