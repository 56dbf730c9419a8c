"""Every error OpsConductor answers with: one table from code to HTTP status, exit code and retry advice.

Raised as `OpsError(code, message, **context)`; third-party exceptions are translated where they appear.
The reference page docs/reference/errors.md is generated from `ERRORS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec


class Retry(StrEnum):
    """Whether the same request may be sent again."""

    NO = "no"
    SAFE = "safe"
    UNKNOWN = "unknown"


EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_APPROVAL, EXIT_UNKNOWN, EXIT_UNREACHABLE, EXIT_INTERRUPTED = (
    0,
    1,
    2,
    3,
    4,
    5,
    130,
)


class ErrorKind(msgspec.Struct, frozen=True):
    """One row of the table."""

    code: str
    family: str
    http_status: int
    exit_code: int
    retry: Retry
    meaning: str


def _kinds(family: str, http_status: int, exit_code: int, retry: Retry, **meanings: str) -> list[ErrorKind]:
    return [ErrorKind(code, family, http_status, exit_code, retry, text) for code, text in meanings.items()]


_NO, _SAFE, _UNKNOWN = Retry.NO, Retry.SAFE, Retry.UNKNOWN

ERRORS: dict[str, ErrorKind] = {
    kind.code: kind
    for kind in [
        # catalog
        *_kinds(
            "catalog",
            422,
            EXIT_USAGE,
            _NO,
            definition_invalid="A tool definition does not follow the format.",
            definition_duplicate="Two definitions claim one canonical name.",
            yaml_invalid="A document is not acceptable YAML or JSON.",
            document_too_large="A document is larger, deeper or longer than its limit.",
        ),
        *_kinds("catalog", 404, EXIT_USAGE, _NO, tool_not_found="No tool has that name."),
        # plan
        *_kinds(
            "plan",
            422,
            EXIT_USAGE,
            _NO,
            plan_invalid="The plan has errors; each is listed with its place.",
            plan_empty="The plan has no steps.",
            plan_too_large="The plan has more steps, items or depth than its limit.",
            plan_cycle="Steps depend on each other in a circle.",
            plan_feature_unsupported="The plan uses a key that this version does not act on.",
            step_invalid="A step does not follow the plan format.",
            operation_unknown="The tool has no operation of that name.",
            input_unknown="The tool has no input of that name.",
            input_missing="A required input has no value.",
            input_invalid="An input's value does not fit its declaration.",
            input_too_large="An input's value is larger than its limit.",
            option_like_argument="A value begins with '-' where the program would read it as an option.",
            expression_invalid="A template cannot be parsed or evaluated.",
            env_name_not_allowed="A step sets an environment variable that is not on the allow-list.",
            routing_denied="routing.fallback is deny and the step has no service of its own.",
        ),
        # request
        *_kinds(
            "request",
            400,
            EXIT_USAGE,
            _NO,
            request_malformed="The request body is not acceptable JSON.",
            path_outside_root="A name leads outside of the folder it belongs to.",
        ),
        *_kinds("request", 413, EXIT_USAGE, _NO, request_too_large="The request body is larger than its limit."),
        *_kinds(
            "request",
            422,
            EXIT_USAGE,
            _NO,
            request_invalid="The request does not follow the contract.",
            idempotency_key_reused="The idempotency key was used before with another body.",
        ),
        *_kinds("request", 409, EXIT_FAILED, _SAFE, execution_in_progress="The same request is still running."),
        *_kinds("request", 404, EXIT_USAGE, _NO, not_found="There is no such thing here."),
        *_kinds("request", 405, EXIT_USAGE, _NO, method_not_allowed="That method is not offered here."),
        *_kinds("request", 415, EXIT_USAGE, _NO, media_type_unsupported="The request body is not declared as JSON."),
        *_kinds("request", 421, EXIT_USAGE, _NO, host_not_allowed="The request's Host header names another server."),
        # policy
        *_kinds(
            "policy",
            401,
            EXIT_USAGE,
            _NO,
            credential_missing="The request carries no credential.",
            credential_invalid="The request's credential is not known here.",
        ),
        *_kinds(
            "policy",
            403,
            EXIT_USAGE,
            _NO,
            not_permitted="The caller's role does not allow this.",
            destination_not_allowed="The egress policy refuses that destination.",
            network_not_allowed="The scan policy refuses that target.",
        ),
        *_kinds("policy", 403, EXIT_APPROVAL, _NO, approval_required="The operation needs an approval first."),
        # target
        *_kinds(
            "target",
            422,
            EXIT_USAGE,
            _NO,
            target_missing="The operation needs a target and none was named.",
            target_unknown="The named target is not in the inventory.",
        ),
        *_kinds(
            "target",
            502,
            EXIT_UNREACHABLE,
            _SAFE,
            target_unreachable="The target could not be reached; nothing was started.",
        ),
        *_kinds(
            "target", 501, EXIT_FAILED, _NO, transport_unavailable="No transport of this version reaches that target."
        ),
        # transport
        *_kinds(
            "transport",
            500,
            EXIT_FAILED,
            _NO,
            program_not_found="The program is not installed where the step runs.",
            program_not_startable="The operating system refused to start the program.",
            working_directory_invalid="The working directory does not exist or is not accessible.",
            output_spool_failed="Output could not be written to the spool (disk full?).",
            command_failed="The program ended with an exit code that is not a success.",
        ),
        *_kinds(
            "transport",
            504,
            EXIT_FAILED,
            _UNKNOWN,
            command_timeout="The time limit was reached; the process tree was ended.",
            command_signalled="The program was ended by a signal.",
        ),
        *_kinds(
            "transport", 500, EXIT_FAILED, _UNKNOWN, cancel_unconfirmed="The process tree could not be seen to end."
        ),
        *_kinds(
            "transport", 499, EXIT_INTERRUPTED, _SAFE, cancelled="The step was cancelled and its processes are gone."
        ),
        # engine
        *_kinds(
            "engine",
            409,
            EXIT_FAILED,
            _NO,
            transition_illegal="The state does not allow that change.",
            epoch_stale="A newer coordinator owns this execution.",
            step_skipped="The step was not run because one it depends on did not succeed.",
        ),
        *_kinds(
            "engine",
            500,
            EXIT_UNKNOWN,
            _UNKNOWN,
            outcome_unknown="It cannot be proven whether, or how, the step ended.",
            journal_corrupt="The journal's hash chain does not verify.",
        ),
        *_kinds(
            "engine",
            500,
            EXIT_FAILED,
            _SAFE,
            journal_unavailable="The journal could not be written; nothing was started.",
        ),
        # service
        *_kinds(
            "service",
            503,
            EXIT_UNREACHABLE,
            _SAFE,
            service_unreachable="The service could not be connected to; nothing was started.",
            service_not_ready="The service is starting or draining.",
        ),
        *_kinds(
            "service", 500, EXIT_USAGE, _NO, address_unavailable="The address to listen on is in use or not permitted."
        ),
        *_kinds(
            "service",
            502,
            EXIT_UNKNOWN,
            _UNKNOWN,
            service_answer_invalid="The service's answer does not follow the contract.",
            service_connection_lost="The connection ended after the request was sent.",
        ),
        *_kinds(
            "service",
            501,
            EXIT_FAILED,
            _NO,
            tool_not_executable="The tool cannot be executed here; what is missing is named.",
        ),
        *_kinds(
            "service", 500, EXIT_FAILED, _UNKNOWN, internal_error="A defect in OpsConductor; the log has the details."
        ),
        # handlers
        *_kinds(
            "delivery", 502, EXIT_FAILED, _NO, delivery_refused="The receiving server refused the message for good."
        ),
        *_kinds("delivery", 503, EXIT_FAILED, _SAFE, delivery_deferred="The receiving server asks to try again later."),
        *_kinds(
            "delivery",
            502,
            EXIT_FAILED,
            _SAFE,
            peer_unreachable="The peer could not be connected to; nothing was sent.",
        ),
        *_kinds("delivery", 502, EXIT_FAILED, _NO, peer_answer_invalid="The peer's answer cannot be understood."),
        *_kinds("delivery", 500, EXIT_FAILED, _NO, setting_missing="A setting that the operation needs has no value."),
        *_kinds(
            "asset",
            503,
            EXIT_UNREACHABLE,
            _SAFE,
            database_unavailable="The inventory's database cannot be used; nothing was changed.",
        ),
        *_kinds("asset", 404, EXIT_FAILED, _NO, asset_not_found="No asset has that id or name."),
        *_kinds(
            "asset", 409, EXIT_FAILED, _NO, asset_conflict="The asset exists already, or changed since it was read."
        ),
        *_kinds(
            "asset",
            422,
            EXIT_USAGE,
            _NO,
            selector_invalid="The selector cannot be parsed.",
            asset_invalid="The asset's fields do not fit.",
        ),
    ]
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing wrong in a document or request, with its place: what a person needs to mend it."""

    code: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    step: str | None = None
    field: str | None = None
    found: Any = None
    expected: str | None = None
    suggestion: str | None = None
    level: str = "error"  # error | warning

    def render(self) -> str:
        """One line for a person: `plan.yaml:4:9: step disk: inputs.hots: … (did you mean 'host'?)`."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        parts = [place, f"step {self.step}" if self.step else "", self.field or "", self.message]
        text = ": ".join(part for part in parts if part)
        return f"{text} (did you mean {self.suggestion!r}?)" if self.suggestion else text


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An error as it travels: in step results, problem+json bodies and the journal."""

    code: str
    message: str
    retry: Retry = Retry.NO
    context: dict[str, Any] = {}


class OpsError(Exception):
    """The root of everything we raise on purpose.

    `code` is a row of `ERRORS`; `message` says what was found, what was expected and what to do;
    `context` holds plain JSON values (step, field, target, service …), never a secret.
    """

    def __init__(self, code: str, message: str, *, problems: Sequence[Problem] = (), **context: Any) -> None:
        self.kind = ERRORS[code]
        self.code = code
        self.message = message
        self.problems = tuple(problems)
        self.context = context
        super().__init__(f"{code}: {message}")

    def to_info(self) -> ErrorInfo:
        """The error as plain data."""
        context = dict(self.context)
        if self.problems:
            context["problems"] = [msgspec.to_builtins(problem) for problem in self.problems]
        return ErrorInfo(code=self.code, message=self.message, retry=self.kind.retry, context=context)


def from_problems(code: str, problems: Iterable[Problem]) -> OpsError:
    """One error that carries all problems; its message is the first one and how many more there are."""
    found = tuple(problems)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return OpsError(code, f"{found[0].render()}{more}", problems=found)
