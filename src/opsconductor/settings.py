"""Every setting: its environment name, type, unit, default and why. The only module that reads the environment.

`load()` reads once at the edge (bootstrap, tests); the result is frozen data that is passed down.
docs/reference/settings.md is generated from `Settings`; a test fails when one is undocumented.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from opsconductor.model.errors import OpsError

PREFIX = "OPSCONDUCTOR_"
# Names that existing installations use; they have no prefix.
PLAIN_NAMES = frozenset(
    {
        "smtp_host",
        "smtp_port",
        "smtp_user",
        "smtp_password",
        "smtp_use_tls",
        "smtp_from",
        "slack_webhook_url",
        "slack_bot_token",
        "teams_webhook_url",
    }
)


def _doc(text: str, unit: str = "") -> Meta:
    return Meta(description=text, extra={"unit": unit})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings with their defaults. Field `x` is read from `OPSCONDUCTOR_X` unless it is one of `PLAIN_NAMES`."""

    home: Annotated[Path, _doc("State folder: journal, inventory, spool, lock and socket")] = Path(
        "~/.local/state/opsconductor"
    )
    database_url: Annotated[str, _doc("Inventory database; empty means SQLite in the state folder")] = ""
    tools_path: Annotated[str, _doc("Folders with a site's own tool definitions, separated by ':'")] = ""
    url: Annotated[str, _doc("Server that the command line talks to; empty means this machine")] = ""
    token: Annotated[str, _doc("Credential for `url`")] = ""
    service_token: Annotated[
        str, _doc("Credential between the gateway and the services; made in the state folder when empty")
    ] = ""
    routing_fallback: Annotated[
        Literal["allow", "deny"], _doc("Whether a step without a service of its own goes to automation-service")
    ] = "allow"
    default_target: Annotated[
        str, _doc("Target of steps that name none; empty makes that an error. The embedded mode uses `local`")
    ] = ""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _doc("Least level that is logged")] = "warning"
    log_format: Annotated[Literal["text", "json"], _doc("Form of log lines on stderr")] = "text"

    max_document_bytes: Annotated[int, _doc("Largest plan or definition file", "bytes")] = 4 * 1024**2
    max_document_depth: Annotated[int, _doc("Deepest nesting of a document; people write about 8", "levels")] = 32
    max_document_nodes: Annotated[int, _doc("Most values in one document, aliases expanded", "values")] = 500_000
    max_plan_steps: Annotated[int, _doc("Most steps in one plan", "steps")] = 10_000
    max_parallel_steps: Annotated[int, _doc("Most steps of one execution at the same time", "steps")] = 50
    max_input_bytes: Annotated[
        int,
        _doc(
            "Largest text of one input; Linux refuses one argument of 131,072 bytes and more (MAX_ARG_STRLEN)", "bytes"
        ),
    ] = 131_071
    max_argv_bytes: Annotated[int, _doc("Largest whole argument list", "bytes")] = 1024**2
    max_request_bytes: Annotated[int, _doc("Largest request body", "bytes")] = 16 * 1024**2
    max_response_bytes: Annotated[int, _doc("Largest answer the gateway takes from a service", "bytes")] = 256 * 1024**2
    max_event_bytes: Annotated[int, _doc("Largest single event line the gateway takes from a service", "bytes")] = (
        64 * 1024**2
    )
    max_spool_bytes: Annotated[
        int, _doc("Most output that one stream may spool to disk; the rest is counted, not kept", "bytes")
    ] = 2 * 1024**3
    max_concurrent_steps: Annotated[int, _doc("Most steps that one service runs at once; more wait", "steps")] = 64
    step_timeout_s: Annotated[float, _doc("Upper bound of any step's time limit", "seconds")] = 86_400.0
    plan_timeout_s: Annotated[float, _doc("Time limit of an execution whose plan names none", "seconds")] = 86_400.0
    connect_timeout_s: Annotated[float, _doc("Time limit of connecting to a service or peer", "seconds")] = 5.0
    answer_grace_s: Annotated[
        float, _doc("How long past a step's limit the gateway waits for the service's answer", "seconds")
    ] = 15.0
    kill_grace_s: Annotated[float, _doc("Time between TERM and KILL", "seconds")] = 2.0
    drain_s: Annotated[float, _doc("How long a server lets running work finish after SIGTERM", "seconds")] = 30.0
    inbox_retention_s: Annotated[
        float, _doc("How long a service remembers idempotency keys and their answers", "seconds")
    ] = 7 * 86_400.0
    template_fuel: Annotated[int, _doc("Most instructions of one template", "instructions")] = 100_000
    allowed_env: Annotated[str, _doc("Environment names a step may set, separated by ','", "names")] = "LANG,LC_ALL,TZ"

    egress_allow: Annotated[
        str, _doc("Destinations allowed although the policy refuses them: hosts, CIDRs or host:port, separated by ','")
    ] = ""
    egress_deny: Annotated[str, _doc("Destinations refused although the policy allows them, same form")] = ""
    scan_allow: Annotated[str, _doc("Networks that may be scanned besides loopback, as CIDRs separated by ','")] = ""

    smtp_host: Annotated[str, _doc("Mail server of sendmail")] = ""
    smtp_port: Annotated[int, _doc("Its port; 0 means 587 with STARTTLS, 465 with TLS, 25 plain")] = 0
    smtp_user: Annotated[str, _doc("Login at the mail server")] = ""
    smtp_password: Annotated[str, _doc("Password at the mail server (secret)")] = ""
    smtp_use_tls: Annotated[
        Literal["starttls", "tls", "none", "true", "false"], _doc("Encryption; true means starttls, false none")
    ] = "starttls"
    smtp_from: Annotated[str, _doc("Sender of mails that name none")] = ""
    slack_webhook_url: Annotated[str, _doc("Incoming webhook of slack-cli (secret)")] = ""
    slack_bot_token: Annotated[str, _doc("Bot token of slack-cli (secret)")] = ""
    slack_api_url: Annotated[str, _doc("Slack's Web API; GovSlack has https://slack-gov.com/api")] = (
        "https://slack.com/api"
    )
    teams_webhook_url: Annotated[str, _doc("Workflows webhook of teams-cli (secret)")] = ""

    service_urls: dict[str, str] = {}
    """Location → URL, from `<LOCATION>_URL` names; read apart from the fields above."""

    @property
    def state_dir(self) -> Path:
        """`home` with `~` expanded. Raises OpsError(`request_invalid`) for a user that has no home folder."""
        try:
            return self.home.expanduser()
        except RuntimeError as error:
            message = (
                f"{PREFIX}HOME: found {str(self.home)!r}, and this user has no home folder; set it to a folder of yours"
            )
            raise OpsError("request_invalid", message, field=f"{PREFIX}HOME") from error


SECRET_SETTINGS = frozenset(
    {
        "token",
        "service_token",
        "smtp_password",
        "slack_webhook_url",
        "slack_bot_token",
        "teams_webhook_url",
        "database_url",
    }
)


def secret_values(settings: Settings) -> list[str]:
    """Values that may show nowhere."""
    return [value for field in SECRET_SETTINGS if (value := getattr(settings, field))]


def environment_name(field: str) -> str:
    """The environment variable of a field."""
    return field.upper() if field in PLAIN_NAMES else PREFIX + field.upper()


def _convert(name: str, text: str, hint: Any) -> Any:
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    try:
        if kind is Path:
            return Path(text)
        return msgspec.convert(text, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        wanted = (
            "one of " + ", ".join(map(repr, get_args(kind)))
            if get_origin(kind) is Literal
            else getattr(kind, "__name__", str(kind))
        )
        raise OpsError("request_invalid", f"setting {name}: found {text!r}, expected {wanted}", field=name) from error


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Empty values count as absent. Raises OpsError(`request_invalid`) that names the variable."""
    source = os.environ if environ is None else environ
    hints = get_type_hints(Settings, include_extras=True)
    values = {}
    for field in Settings.__struct_fields__:
        text = source.get(environment_name(field), "")
        if field != "service_urls" and text:
            values[field] = _convert(environment_name(field), text, hints[field])
    urls = {
        name.removesuffix("_URL").lower().replace("_", "-"): url
        for name, url in source.items()
        if name.endswith("_SERVICE_URL") and url
    }
    if alias := urls.pop("network-service", None):
        urls.setdefault("network-analyzer-service", alias)
    return Settings(**values, service_urls=urls)


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that started programs get: a short allow-list, and a locale whose output parsers understand."""
    source = os.environ if environ is None else environ
    kept = {name: source[name] for name in ("HOME", "USER", "LOGNAME", "TZ", "TMPDIR") if name in source}
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        **kept,
    }
