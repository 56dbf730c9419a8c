"""How a command ended becomes the step's status, output and error."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsconductor.catalog.render import RenderedCommand
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepRequest
from opsconductor.model.tool import ToolDefinition
from opsconductor.security.redaction import Redactor
from opsconductor.services.kit.artifacts import ArtifactStore
from opsconductor.services.kit.command_runner import CommandRunner, stream_text
from opsconductor.services.kit.limits import ServiceLimits
from opsconductor.services.kit.outcomes import Outcome
from opsconductor.services.kit.step_events import ExecutionEvents, StepOutput
from opsconductor.transports.base import CapturedStream, CommandResult, Ended
from tests.unit.services.kit.fakes import ScriptedTransport, context, ended, stream, tool

SECRET = "hunter2hunter2"


class Bench:
    """A runner on a scripted transport."""

    def __init__(self, folder: Path, result: CommandResult | Exception, limits: ServiceLimits | None = None) -> None:
        self.folder = folder
        self.transport = ScriptedTransport(result)
        self.artifacts = ArtifactStore(folder / "artifacts", iter(["a1", "a2"]).__next__)
        self.runner = CommandRunner(
            transport=self.transport,
            artifacts=self.artifacts,
            parsers={},
            limits=limits or ServiceLimits(),
            environment={"PATH": "/bin", "LANG": "C"},
            spool_dir=folder / "spool",
        )

    async def run(self, definition: ToolDefinition, *, secret: str = "", argv: tuple[str, ...] = ("probe",)) -> Outcome:
        redactor = Redactor([secret])
        events = ExecutionEvents("e1", None, lambda: "now")
        output = StepOutput(events, 0, StepRequest(tool="probe"), redactor=redactor, limit_bytes=100)
        command = RenderedCommand(argv=argv, env={"LANG": "de"})
        return await self.runner.run(context(definition, self.folder), command, redactor=redactor, output=output)


@pytest.mark.parametrize(
    ("definition", "result", "status", "code"),
    [
        (tool(), ended(exit_code=0), StepStatus.COMPLETED, None),
        (tool(ok_exit_codes=[0, 2]), ended(exit_code=2), StepStatus.COMPLETED, None),
        (tool(empty_exit_codes=[1]), ended(exit_code=1), StepStatus.COMPLETED, None),
        (tool(ok_exit_codes=[2]), ended(exit_code=0), StepStatus.FAILED, "command_failed"),
        (tool(), ended(Ended.SIGNALLED, signal=9), StepStatus.FAILED, "command_signalled"),
        (tool(), ended(Ended.TIMEOUT, signal=15), StepStatus.TIMEOUT, "command_timeout"),
        (tool(effect="change"), ended(Ended.TIMEOUT), StepStatus.TIMEOUT, "command_timeout"),
        (tool(), ended(Ended.TIMEOUT, tree_gone=False), StepStatus.TIMEOUT, "command_timeout"),
        (
            tool(effect="change"),
            ended(Ended.TIMEOUT, tree_gone=False),
            StepStatus.OUTCOME_UNKNOWN,
            "cancel_unconfirmed",
        ),
        (tool(), ended(Ended.CANCELLED), StepStatus.CANCELLED, "cancelled"),
        (tool(), ended(Ended.CANCELLED, tree_gone=False), StepStatus.OUTCOME_UNKNOWN, "cancel_unconfirmed"),
    ],
)
async def test_the_status_says_how_the_command_ended(
    tmp_path: Path, definition: ToolDefinition, result: CommandResult, status: StepStatus, code: str | None
) -> None:
    outcome = await Bench(tmp_path, result).run(definition)
    assert outcome.status is status
    assert (outcome.error.code if outcome.error else None) == code


async def test_a_timeout_that_left_processes_names_them(tmp_path: Path) -> None:
    outcome = await Bench(tmp_path, ended(Ended.TIMEOUT, tree_gone=False, leftover_pids=(7, 8))).run(tool())
    assert outcome.error is not None
    assert outcome.error.context["cancel_unconfirmed"] is True
    assert outcome.error.context["leftover_pids"] == [7, 8]
    assert outcome.output["leftover_pids"] == [7, 8]


async def test_a_failure_repeats_the_last_line_that_the_program_said(tmp_path: Path) -> None:
    result = ended(exit_code=3, stderr=stream(b"usage: probe\nprobe: no such thing\n\n"))
    outcome = await Bench(tmp_path, result).run(tool())
    assert outcome.error is not None
    assert outcome.error.message == "probe ended with exit code 3: probe: no such thing"


async def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    outcome = await Bench(tmp_path, ended(stdout=stream(b"a\xffb"))).run(tool())
    assert outcome.output["stdout"] == "a\ufffdb"
    assert outcome.output["stdout_bytes"] == 3


async def test_a_parser_that_fails_does_not_fail_the_step(tmp_path: Path) -> None:
    outcome = await Bench(tmp_path, ended(stdout=stream(b"not json"))).run(tool(parse="json"))
    assert outcome.status is StepStatus.COMPLETED
    assert outcome.output["stdout"] == "not json"
    assert outcome.output["parse_error"].startswith("json: ")
    assert "data" not in outcome.output


async def test_the_environment_is_the_services_then_the_definitions(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ended())
    await bench.run(tool())
    assert bench.transport.requests[0].env == {"PATH": "/bin", "LANG": "de"}


async def test_a_definition_cannot_ask_for_more_memory_than_the_service_allows(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ended(), ServiceLimits(max_kept_bytes=5000, max_spool_bytes=6000, kill_grace_s=0.25))
    await bench.run(tool(output_limit_bytes=2**40))
    request = bench.transport.requests[0]
    assert (request.keep_bytes, request.spool_limit_bytes, request.grace_s) == (5000, 6000, 0.25)


async def test_secrets_are_masked_in_argv_output_errors_and_artifacts(tmp_path: Path) -> None:
    spool = tmp_path / "spooled"
    content = f"start {SECRET} middle {SECRET} end".encode()
    spool.write_bytes(content)
    cut = CapturedStream(head=content[:10], tail=content[-10:], total_bytes=len(content), truncated=True, spool=spool)
    result = ended(exit_code=1, stdout=cut, stderr=stream(f"bad password {SECRET}".encode()))
    bench = Bench(tmp_path, result)
    outcome = await bench.run(tool(), secret=SECRET, argv=("probe", f"--password={SECRET}"))
    assert outcome.output["argv"] == ["probe", "--password=***"]
    assert outcome.output["stderr"] == "bad password ***"
    assert outcome.error is not None
    assert outcome.error.message.endswith("bad password ***")
    assert "hunt" not in outcome.output["stdout"]
    kept = bench.artifacts.find("e1", outcome.output["artifacts"][0]["id"])
    assert kept.read_text() == "start *** middle *** end"
    assert outcome.output["artifacts"][0]["size"] == len("start *** middle *** end")
    assert not spool.exists()


async def test_an_artifact_that_cannot_be_kept_costs_only_the_artifact(tmp_path: Path) -> None:
    gone = CapturedStream(head=b"a", tail=b"z", total_bytes=9, truncated=True, spool=tmp_path / "gone")
    outcome = await Bench(tmp_path, ended(stdout=gone)).run(tool())
    assert outcome.status is StepStatus.COMPLETED
    assert "cannot be stored" in outcome.output["artifact_error"]
    assert "artifacts" not in outcome.output


async def test_output_that_the_disk_refused_is_said_to_be_lost(tmp_path: Path) -> None:
    lossy = CapturedStream(head=b"a", tail=b"z", total_bytes=9, truncated=True, spool_error="No space left on device")
    outcome = await Bench(tmp_path, ended(stdout=lossy)).run(tool())
    assert "No space left" in outcome.output["artifact_error"]


async def test_what_the_transport_refuses_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OpsError) as caught:
        await Bench(tmp_path, OpsError("program_not_found", "no probe")).run(tool())
    assert caught.value.code == "program_not_found"


async def test_without_a_spool_folder_nothing_is_started(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file in the way")
    bench = Bench(tmp_path, ended())
    with pytest.raises(OpsError) as caught:
        await bench.run(tool())
    assert caught.value.code == "program_not_startable"
    assert bench.transport.requests == []


def test_a_secret_that_the_cut_goes_through_shows_neither_of_its_parts() -> None:
    cut = CapturedStream(head=b"aaaa hunter2", tail=b"hunter2 zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
                         total_bytes=1000, truncated=True)  # fmt: skip
    text = stream_text(cut, Redactor([SECRET]))
    assert "hunter" not in text
    assert text.startswith("aaaa ")
    assert "bytes left out" in text
