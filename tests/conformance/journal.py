"""What every journal must do. A test module subclasses `JournalConformance` and says how its journal is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import pytest

from opsconductor.engine.ports import Journal
from opsconductor.engine.records import RecordKind
from opsconductor.model.errors import OpsError

ACCEPTED: dict[str, Any] = {
    "plan": {"steps": [{"tool": "df"}]},
    "plan_name": "disk check",
    "steps": [{"id": "disk", "tool": "df"}],
}
OUTPUT: dict[str, Any] = {"step_index": 0, "stream": "stdout", "offset": 0, "text": "x"}
FINISHED: dict[str, Any] = {
    "status": "completed",
    "counts": {"total_steps": 1, "successful_steps": 1, "failed_steps": 0},
    "completed_at": "2026-01-02T03:04:05.000000Z",
}


class Medium(Protocol):
    """Where journals of one test keep their records."""

    def open(self) -> Journal:
        """Another journal on the same records, as another process would have it."""
        ...

    def tamper(self, execution_id: str, sequence: int) -> None:
        """Change one byte of a stored body from outside."""
        ...

    def remove(self, execution_id: str, sequence: int) -> None:
        """Remove a stored record from outside."""
        ...


async def _refused(code: str, call: Callable[[], Any]) -> OpsError:
    with pytest.raises(OpsError) as caught:
        await call()
    assert caught.value.code == code
    return caught.value


class JournalConformance:
    """The suite. Subclasses define the fixture `medium`; the fixture `journal` is one journal on it."""

    @pytest.fixture
    async def journal(self, medium: Medium) -> Any:
        journal = medium.open()
        yield journal
        await journal.close()

    async def test_records_come_back_in_order_with_their_bodies_and_a_chain(self, journal: Journal) -> None:
        first = await journal.append("a", RecordKind.ACCEPTED, ACCEPTED)
        second = await journal.append("a", RecordKind.STEP_OUTPUT, {**OUTPUT, "text": "häß ☃ \u0000 \n"})
        assert [first.sequence, second.sequence] == [1, 2]
        assert await journal.read("a") == [first, second]
        assert first.body == ACCEPTED
        assert first.at.endswith("Z")
        assert len({first.hash, second.hash}) == 2
        assert all(len(record.hash) == 64 for record in (first, second))

    async def test_every_json_value_survives(self, journal: Journal) -> None:
        plan: dict[str, Any] = {
            "none": None,
            "yes": True,
            "big": 2**80,
            "small": -(2**70),
            "float": 1.5,
            "list": [[], {}],
            "": "empty",
        }
        await journal.append("a", RecordKind.ACCEPTED, {**ACCEPTED, "plan": plan})
        assert (await journal.read("a"))[0].body["plan"] == plan

    async def test_text_that_utf8_cannot_hold_is_recorded_with_a_mark_in_its_place(self, journal: Journal) -> None:
        await journal.append("a", RecordKind.ACCEPTED, {**ACCEPTED, "plan": {"name": "file-\udcff"}})
        assert (await journal.read("a"))[0].body["plan"] == {"name": "file-?"}

    async def test_what_is_no_json_is_refused_and_leaves_nothing(self, journal: Journal) -> None:
        await _refused("internal_error", lambda: journal.append("a", "accepted", {**ACCEPTED, "plan": {"x": object()}}))
        await _refused("not_found", lambda: journal.read("a"))

    @pytest.mark.parametrize("name", ["", "a b", "a\nb", "../x", "x" * 129, "-a"])
    async def test_an_id_that_cannot_be_named_safely_is_refused(self, journal: Journal, name: str) -> None:
        await _refused("request_invalid", lambda: journal.append(name, RecordKind.ACCEPTED, ACCEPTED))

    async def test_an_unknown_execution_is_not_found(self, journal: Journal) -> None:
        error = await _refused("not_found", lambda: journal.read("nobody"))
        assert "nobody" in error.message

    async def test_appends_of_many_executions_at_once_are_each_numbered_without_gaps(self, journal: Journal) -> None:
        async def run(name: str) -> None:
            await journal.append(name, RecordKind.ACCEPTED, ACCEPTED)
            for _ in range(5):
                await journal.append(name, RecordKind.STEP_OUTPUT, OUTPUT)
            await journal.append(name, RecordKind.FINISHED, FINISHED)

        names = [f"e{number}" for number in range(40)]
        await asyncio.gather(*map(run, names))
        for name in names:
            assert [record.sequence for record in await journal.read(name)] == list(range(1, 8))

    async def test_appends_to_one_execution_at_once_keep_the_order_of_the_calls(self, journal: Journal) -> None:
        await journal.append("a", RecordKind.ACCEPTED, ACCEPTED)
        offsets = list(range(60))
        await asyncio.gather(*(journal.append("a", "step_output", {**OUTPUT, "offset": offset}) for offset in offsets))
        assert [record.body["offset"] for record in (await journal.read("a"))[1:]] == offsets

    async def test_records_appended_together_are_all_there_in_their_order(self, journal: Journal) -> None:
        entries = [(RecordKind.ACCEPTED, ACCEPTED), (RecordKind.STEP_OUTPUT, OUTPUT), (RecordKind.FINISHED, FINISHED)]
        appended = await journal.append_all("a", entries, after=0)
        assert [record.sequence for record in appended] == [1, 2, 3]
        assert await journal.read("a") == appended

    @pytest.mark.parametrize(
        ("code", "second"),
        [("transition_illegal", (RecordKind.ACCEPTED, ACCEPTED)), ("internal_error", ("step_output", {"x": object()}))],
    )
    async def test_of_records_appended_together_one_that_is_refused_refuses_all(
        self, journal: Journal, code: str, second: tuple[str, dict[str, Any]]
    ) -> None:
        await journal.append("a", RecordKind.ACCEPTED, ACCEPTED)
        first = (RecordKind.STEP_OUTPUT, OUTPUT)
        await _refused(code, lambda: journal.append_all("a", [first, second, first]))
        assert len(await journal.read("a")) == 1
        assert (await journal.append("a", *first)).sequence == 2

    async def test_nothing_follows_a_finished_execution(self, journal: Journal, medium: Medium) -> None:
        await journal.append("a", RecordKind.ACCEPTED, ACCEPTED)
        await journal.append("a", RecordKind.FINISHED, FINISHED)
        await _refused("transition_illegal", lambda: journal.append("a", RecordKind.FINISHED, FINISHED))
        other = medium.open()
        await _refused("transition_illegal", lambda: other.append("a", RecordKind.STEP_OUTPUT, OUTPUT))
        await other.close()
        assert len(await journal.read("a")) == 2

    async def test_an_execution_begins_with_accepted_and_only_once(self, journal: Journal) -> None:
        await _refused("transition_illegal", lambda: journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT))
        await journal.append("a", RecordKind.ACCEPTED, ACCEPTED)
        error = await _refused("transition_illegal", lambda: journal.append("a", RecordKind.ACCEPTED, ACCEPTED))
        assert "accepted before" in error.message

    async def test_after_refuses_all_but_the_expected_place(self, journal: Journal) -> None:
        await journal.append("a", RecordKind.ACCEPTED, ACCEPTED, after=0)
        await _refused("epoch_stale", lambda: journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT, after=0))
        await _refused("epoch_stale", lambda: journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT, after=2))
        await journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT, after=1)
        await journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT)
        assert [record.sequence for record in await journal.read("a")] == [1, 2, 3]

    async def test_of_two_writers_at_one_place_one_wins(self, journal: Journal, medium: Medium) -> None:
        await journal.append("a", RecordKind.ACCEPTED, ACCEPTED)
        others = [medium.open() for _ in range(4)]
        calls = [other.append("a", RecordKind.FINISHED, FINISHED, after=1) for other in others]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
        assert {getattr(answer, "code", "won") for answer in answers} == {"won", "epoch_stale"}
        for other in others:
            await other.close()
        assert len(await journal.read("a")) == 2

    async def test_a_writer_that_was_overtaken_stays_fenced(self, journal: Journal, medium: Medium) -> None:
        await journal.append("a", RecordKind.ACCEPTED, ACCEPTED)
        other = medium.open()
        await other.append("a", RecordKind.STARTED, {}, after=1)
        await other.close()
        for _ in range(2):
            await _refused("epoch_stale", lambda: journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT))
        await journal.append("b", RecordKind.ACCEPTED, ACCEPTED)
        await journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT, after=2)  # it looked, and takes over on purpose
        await journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT)
        assert [record.kind for record in await journal.read("a")] == [
            "accepted",
            "started",
            "step_output",
            "step_output",
        ]

    async def test_two_writers_on_different_executions_do_not_disturb_each_other(
        self, journal: Journal, medium: Medium
    ) -> None:
        other = medium.open()
        for name, writer in (("a", journal), ("b", other)):
            await writer.append(name, RecordKind.ACCEPTED, ACCEPTED)
        for _ in range(10):
            await asyncio.gather(
                journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT), other.append("b", RecordKind.STEP_OUTPUT, OUTPUT)
            )
        assert len(await other.read("a")) == len(await journal.read("b")) == 11
        await other.close()

    @pytest.mark.parametrize("sequence", [1, 2, 3])
    async def test_a_changed_record_fails_closed_and_others_are_readable(
        self, journal: Journal, medium: Medium, sequence: int
    ) -> None:
        for name in ("a", "b"):
            await journal.append(name, RecordKind.ACCEPTED, ACCEPTED)
            await journal.append(name, RecordKind.STEP_OUTPUT, OUTPUT)
            await journal.append(name, RecordKind.FINISHED, FINISHED)
        medium.tamper("a", sequence)
        error = await _refused("journal_corrupt", lambda: journal.read("a"))
        assert error.context == {"execution_id": "a", "sequence": sequence}
        assert len(await journal.read("b")) == 3

    @pytest.mark.parametrize("sequence", [1, 2])
    async def test_a_missing_record_fails_closed(self, journal: Journal, medium: Medium, sequence: int) -> None:
        await journal.append("a", RecordKind.ACCEPTED, ACCEPTED)
        await journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT)
        await journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT)
        medium.remove("a", sequence)
        error = await _refused("journal_corrupt", lambda: journal.read("a"))
        assert error.context["sequence"] == sequence

    async def test_unfinished_executions_are_named_oldest_first(self, journal: Journal) -> None:
        for name in ("b", "a", "c"):
            await journal.append(name, RecordKind.ACCEPTED, ACCEPTED)
        await journal.append("a", RecordKind.FINISHED, FINISHED)
        assert await journal.unfinished() == ["b", "c"]

    async def test_a_closed_journal_refuses(self, medium: Medium) -> None:
        journal = medium.open()
        await journal.append("a", RecordKind.ACCEPTED, ACCEPTED)
        await journal.close()
        await journal.close()
        await _refused("journal_unavailable", lambda: journal.append("a", RecordKind.STEP_OUTPUT, OUTPUT))
        again = medium.open()
        assert len(await again.read("a")) == 1
        await again.close()
