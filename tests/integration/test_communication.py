"""The four tools of communication-service, run through their definitions against real servers on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import resource
import ssl
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from opsconductor.model.errors import OpsError
from opsconductor.services.communication.config import config_from
from opsconductor.settings import load
from tests.communication import (
    Recorded,
    answering,
    certificate,
    configured,
    http,
    listening,
    mail_server,
    read_request,
    run_tool,
)

pytestmark = pytest.mark.integration
WEBHOOK = {"payload": {"event": "ready", "größe": 3}}
SLACK_PATH = "/services/T0000/B0000/XXXXXXXXXXXXXXXXXXXXXXXX"


# --- webhook-sender


async def test_webhook_delivers_json_and_reports_the_answer() -> None:
    requests: Recorded = []
    async with listening(
        answering(http("202 Accepted", '{"id": 7}', "X-Trace: t1", "Set-Cookie: s=1"), requests)
    ) as peer:
        result = await run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK})
    line, headers, body = requests[0]
    assert line == "POST /hook HTTP/1.1"
    assert json.loads(body) == WEBHOOK["payload"]
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == "0192-dispatch"
    assert result.data["accepted_by"] == f"127.0.0.1:{peer.port}"
    assert (result.data["status"], result.data["json"]) == (202, {"id": 7})
    assert result.data["headers"]["x-trace"] == "t1"
    assert result.data["headers"]["set-cookie"] == "***"
    assert result.data["body_truncated"] is False


@pytest.mark.parametrize(
    ("inputs", "content_type", "body"),
    [
        ({"form": {"a": "1 2", "b": ["x", "y"]}}, "application/x-www-form-urlencoded", b"a=1+2&b=x&b=y"),
        ({"body": "<a>ü</a>", "content_type": "application/xml"}, "application/xml", "<a>ü</a>".encode()),
        ({"body": "plain", "method": "PUT"}, "text/plain; charset=utf-8", b"plain"),
        ({"data": {"alias": True}}, "application/json", b'{"alias":true}'),
    ],
)
async def test_webhook_bodies(inputs: dict[str, Any], content_type: str, body: bytes) -> None:
    requests: Recorded = []
    async with listening(answering(http("200 OK"), requests)) as peer:
        await run_tool(configured(), "webhook_sender", {"webhook_url": peer.url, **inputs})
    assert requests[0][1]["content-type"] == content_type
    assert requests[0][2] == body


async def test_webhook_signature_verifies_with_the_secret_which_never_shows() -> None:
    requests: Recorded = []
    inputs = {
        **WEBHOOK,
        "signing_secret": "sup3r-s3cret",
        "bearer_token": "bearer-t0ken",
        "headers": {"X-Api-Key": "api-k3y!"},
    }
    async with listening(answering(http("200 OK", "echo sup3r-s3cret bearer-t0ken api-k3y!"), requests)) as peer:
        result = await run_tool(configured(), "webhook_sender", {"url": peer.url, **inputs})
        preview = await run_tool(configured(), "webhook_sender", {"url": peer.url, **inputs}, operation="preview")
    _, headers, body = requests[0]
    expected = hmac.new(b"sup3r-s3cret", body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature-256"] == f"sha256={expected}"
    assert headers["authorization"] == "Bearer bearer-t0ken"
    assert result.data["body"] == "echo *** *** ***"
    for secret in ("sup3r-s3cret", "bearer-t0ken", "api-k3y!"):
        assert secret not in json.dumps([result.data, preview.data])


@pytest.mark.parametrize(
    ("answer", "code", "context"),
    [
        (http("400 Bad Request", "no field x"), "delivery_refused", {"status": 400, "answer": "no field x"}),
        (http("404 Not Found"), "delivery_refused", {"status": 404}),
        (
            http("429 Too Many Requests", "", "Retry-After: 17"),
            "delivery_deferred",
            {"status": 429, "retry_after_s": 17.0},
        ),
        (http("503 Service Unavailable", "", "Retry-After: nonsense"), "delivery_deferred", {"status": 503}),
        (http("500 Internal Server Error"), "delivery_deferred", {"status": 500}),
        (http("302 Found", "", "Location: http://127.0.0.1:1/"), "delivery_refused", {"status": 302}),
    ],
)
async def test_webhook_refusals_are_told_with_their_status(answer: str, code: str, context: dict[str, Any]) -> None:
    async with listening(answering(answer)) as peer:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK})
        assert peer.connections == 1
    assert caught.value.code == code
    assert caught.value.context.items() >= context.items()
    assert f"127.0.0.1:{peer.port} answered {context['status']}" in caught.value.message


async def test_webhook_expected_status_replaces_2xx() -> None:
    async with listening(answering(http("404 Not Found"))) as peer:
        result = await run_tool(
            configured(), "webhook_sender", {"url": peer.url, "method": "DELETE", "expected_status": [204, 404]}
        )
        assert result.data["status"] == 404
    async with listening(answering(http("200 OK"))) as peer:
        with pytest.raises(OpsError, match="expected 202"):
            await run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK, "expected_status": [202]})


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await reader.read()


async def test_webhook_without_an_answer_in_time_is_unknown() -> None:
    async with listening(_hang) as peer:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK, "timeout_s": 0.3})
    assert caught.value.code == "outcome_unknown"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 20", b"not http at all\r\n\r\n"])
async def test_webhook_answer_that_breaks_off_is_unknown(answer: bytes) -> None:
    async with listening(answering(answer)) as peer:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK})
    assert caught.value.code == "outcome_unknown"
    assert peer.connections == 1, "a delivery is never repeated by itself"


async def test_webhook_status_counts_even_when_the_body_breaks_off() -> None:
    answer = "HTTP/1.1 200 OK\nContent-Length: 1000\n\nhalf"
    async with listening(answering(answer)) as peer:
        result = await run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK})
    assert (result.data["body"], result.data["body_truncated"]) == ("half", True)


async def test_webhook_refused_connection_is_unreachable() -> None:
    async with listening(_hang) as peer:
        pass
    with pytest.raises(OpsError, match="nothing was sent") as caught:
        await run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK})
    assert caught.value.code == "peer_unreachable"


async def test_webhook_cancelled_after_sending_is_unknown_and_ends_at_once() -> None:
    cancel, arrived = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()
        await reader.read()

    async with listening(hang) as peer:
        step = asyncio.create_task(
            run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK}, cancel=cancel)
        )
        await arrived.wait()
        cancel.set()
        with pytest.raises(OpsError) as caught:
            await step
    assert caught.value.code == "outcome_unknown"
    assert "cancelled" in caught.value.message


async def test_webhook_cancelled_before_sending_is_cancelled() -> None:
    cancel = asyncio.Event()
    cancel.set()
    async with listening(_hang) as peer:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK}, cancel=cancel)
    assert caught.value.code == "cancelled"


async def test_webhook_answer_of_one_gigabyte_is_kept_to_64_kib_at_flat_memory() -> None:
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(16384):
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with listening(flood) as peer:
        result = await run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK})
    assert result.data["body"] == "x" * 65536
    assert result.data["body_truncated"] is True
    assert written < 64 * 1024**2, "the rest is not even read"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


async def test_webhook_redirects_are_followed_only_where_asked_and_judged_anew() -> None:
    requests: Recorded = []
    async with listening(answering(http("200 OK", "there"), requests)) as there:
        answer = http("307 Temporary Redirect", "", f"Location: {there.url}")
        async with listening(answering(answer)) as here:
            inputs = {"url": here.url, **WEBHOOK, "max_redirects": 3, "bearer_token": "bearer-t0ken"}
            result = await run_tool(configured(), "webhook_sender", inputs)
            assert (result.data["redirects"], result.data["body"]) == (1, "there")
            assert json.loads(requests[0][2]) == WEBHOOK["payload"]
            assert "authorization" not in requests[0][1], "another origin does not get the credential"
            with pytest.raises(OpsError) as caught:
                await run_tool(configured(f"127.0.0.1:{here.port}"), "webhook_sender", inputs)
            assert caught.value.code == "destination_not_allowed"
            assert there.connections == 1


async def test_webhook_tls_is_verified(tmp_path: Path) -> None:
    server, client = certificate(tmp_path)
    async with listening(answering(http("200 OK")), tls=server) as peer:
        with pytest.raises(OpsError, match="certificate is not valid") as caught:
            await run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK})
        assert caught.value.code == "peer_unreachable"
        result = await run_tool(configured(tls=client), "webhook_sender", {"url": peer.url, **WEBHOOK})
    assert result.data["status"] == 200


async def test_webhook_https_to_a_plain_port_is_unreachable() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with listening(plain) as peer:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "webhook_sender", {"url": peer.url.replace("http:", "https:"), **WEBHOOK})
    assert caught.value.code == "peer_unreachable"


@pytest.mark.parametrize(
    "inputs",
    [
        {"payload": {}, "body": "x"},
        {"method": "GET", "body": "x"},
        {"headers": {"X-A": "1\r\nX-B: 2"}},
        {"headers": {"X-A\r\nX-B": "2"}},
        {"headers": {"Host": "other.example"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"X-A": {"nested": 1}}},
        {"form": {"a": {"b": 1}}},
        {"bearer_token": "a\x85b"},
        {"method": "TRACE"},
        {"timeout_s": 0},
    ],
)
async def test_webhook_bad_inputs_send_nothing(inputs: dict[str, Any]) -> None:
    async with listening(_hang) as peer:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "webhook_sender", {"url": peer.url, **inputs})
        assert peer.connections == 0
    assert caught.value.code == "input_invalid"


async def test_dry_run_sends_nothing() -> None:
    async with listening(_hang) as peer:
        result = await run_tool(configured(), "webhook_sender", {"url": peer.url, **WEBHOOK}, dry_run=True)
        assert peer.connections == 0
    assert result.data["sent"] is False
    assert result.data["peer"] == f"127.0.0.1:{peer.port}"


# --- slack-cli


async def test_slack_webhook_posts_what_slack_takes() -> None:
    requests: Recorded = []
    inputs = {
        "text": "héllo",
        "username": "ops",
        "icon_emoji": "fire",
        "blocks": [{"type": "divider"}],
        "attachments": [{"text": "a"}],
    }
    async with listening(answering(http("200 OK", "ok"), requests)) as peer:
        result = await run_tool(configured(), "slack_cli", {"webhook_url": peer.url, **inputs})
    assert json.loads(requests[0][2]) == {
        "text": "héllo",
        "username": "ops",
        "icon_emoji": ":fire:",
        "blocks": [{"type": "divider"}],
        "attachments": [{"text": "a"}],
    }
    assert result.data == {"accepted_by": f"127.0.0.1:{peer.port}", "via": "webhook", "status": 200}


async def test_slack_webhook_of_the_settings_is_used_without_an_allow_list_and_never_shows() -> None:
    async with listening(answering(http("404 Not Found", f"no_service {SLACK_PATH}"))) as peer:
        url = peer.url.replace("/hook", SLACK_PATH)
        config = config_from(load({"SLACK_WEBHOOK_URL": url}))
        with pytest.raises(OpsError) as caught:
            await run_tool(config, "slack_cli", {"message": "x"})
    assert caught.value.code == "delivery_refused"
    assert "no_service" in caught.value.message
    assert "XXXXXXXX" not in str(caught.value) + json.dumps(caught.value.context)


async def test_slack_input_webhook_is_judged_by_the_egress_policy() -> None:
    async with listening(_hang) as peer:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(allow=""), "slack_cli", {"message": "x", "webhook_url": peer.url})
        assert peer.connections == 0
    assert caught.value.code == "destination_not_allowed"


async def test_slack_webhook_that_is_not_slack_is_no_success() -> None:
    async with listening(answering(http("200 OK", "<html>sign in</html>"))) as peer:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "slack_cli", {"message": "x", "webhook_url": peer.url})
    assert caught.value.code == "peer_answer_invalid"


async def test_slack_bot_posts_in_a_thread_and_returns_the_ts() -> None:
    requests: Recorded = []
    answer = {"ok": True, "channel": "C1", "ts": "1712345678.000200", "message": {"text": "x"}}
    async with listening(answering(http("200 OK", json.dumps(answer)), requests)) as peer:
        config = configured(
            allow="", slack_api_url=f"http://127.0.0.1:{peer.port}/api", slack_bot_token="xoxb-1-secret"
        )
        result = await run_tool(
            config, "slack_cli", {"message": "x", "channel": "#ops", "thread_ts": "1712345678.000100"}
        )
    line, headers, body = requests[0]
    assert line == "POST /api/chat.postMessage HTTP/1.1"
    assert headers["authorization"] == "Bearer xoxb-1-secret"
    assert json.loads(body) == {"text": "x", "channel": "#ops", "thread_ts": "1712345678.000100"}
    assert (result.data["ts"], result.data["channel"], result.data["via"]) == (
        "1712345678.000200",
        "C1",
        "chat.postMessage",
    )


@pytest.mark.parametrize(
    ("answer", "code", "context"),
    [
        (
            http("200 OK", '{"ok": false, "error": "channel_not_found"}'),
            "delivery_refused",
            {"slack_error": "channel_not_found"},
        ),
        (http("200 OK", '{"ok": false, "error": "fatal_error"}'), "outcome_unknown", {"slack_error": "fatal_error"}),
        (
            http("200 OK", '{"ok": false, "error": "ratelimited"}', "Retry-After: 3"),
            "delivery_deferred",
            {"retry_after_s": 3.0},
        ),
        (http("429 Too Many Requests", "", "Retry-After: 30"), "delivery_deferred", {"retry_after_s": 30.0}),
        (http("200 OK", "<html>"), "peer_answer_invalid", {}),
        (http("200 OK", '{"status": 1}'), "peer_answer_invalid", {}),
    ],
)
async def test_slack_bot_refusals(answer: str, code: str, context: dict[str, Any]) -> None:
    async with listening(answering(answer)) as peer:
        config = configured(slack_api_url=f"http://127.0.0.1:{peer.port}/api", slack_bot_token="xoxb-1-secret")
        with pytest.raises(OpsError) as caught:
            await run_tool(config, "slack_cli", {"message": "x", "channel": "C1"})
    assert caught.value.code == code
    assert caught.value.context.items() >= context.items()


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"message": "x"}, "setting_missing"),
        ({"webhook_url": "http://127.0.0.1:1/"}, "input_missing"),
        ({"message": "x", "bot_token": "xoxb-1"}, "input_missing"),
        ({"message": "x", "bot_token": "xoxb-1", "webhook_url": "http://127.0.0.1:1/"}, "input_invalid"),
        ({"message": "x", "blocks": [{}] * 51}, "input_too_large"),
        ({"message": "x" * 40_001}, "input_too_large"),
    ],
)
async def test_slack_bad_inputs(inputs: dict[str, Any], code: str) -> None:
    with pytest.raises(OpsError) as caught:
        await run_tool(configured(), "slack_cli", inputs)
    assert caught.value.code == code


# --- teams-cli


async def test_teams_posts_an_adaptive_card_in_the_workflows_envelope() -> None:
    requests: Recorded = []
    inputs = {
        "title": "Disk",
        "text": "91 %",
        "theme_color": "#D70000",
        "sections": [{"activityTitle": "Host", "facts": [{"name": "Host", "value": "web-1"}]}],
        "actions": [
            {"@type": "OpenUri", "name": "Runbook", "targets": [{"os": "default", "uri": "https://wiki.example.com"}]}
        ],
    }
    async with listening(answering(http("202 Accepted", "", "x-ms-workflow-run-id: 0858"), requests)) as peer:
        result = await run_tool(configured(), "teams_cli", {"webhook_url": peer.url, **inputs})
    sent = json.loads(requests[0][2])
    attachment = sent["attachments"][0]
    card = attachment["content"]
    assert sent["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert card["body"][0]["style"] == "attention"
    assert card["body"][0]["items"][0]["text"] == "Disk"
    assert card["body"][1] == {"type": "TextBlock", "text": "91 %", "wrap": True}
    assert card["body"][2]["items"][1] == {"type": "FactSet", "facts": [{"title": "Host", "value": "web-1"}]}
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Runbook", "url": "https://wiki.example.com"}]
    assert result.data == {
        "accepted_by": f"127.0.0.1:{peer.port}",
        "status": 202,
        "format": "adaptive_card",
        "message_id": "0858",
    }


async def test_teams_message_card_only_where_asked() -> None:
    requests: Recorded = []
    inputs = {"title": "Disk", "message": "91 %", "theme_color": "D70000", "format": "message_card"}
    async with listening(answering(http("200 OK", "1"), requests)) as peer:
        await run_tool(configured(teams_webhook_url=peer.url), "teams_cli", inputs)
    assert json.loads(requests[0][2]) == {
        "@type": "MessageCard",
        "@context": "https://schema.org/extensions",
        "title": "Disk",
        "text": "91 %",
        "summary": "Disk",
        "themeColor": "D70000",
    }


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (
            http("200 OK", "Webhook message delivery failed with error: endpoint returned HTTP error 429"),
            "delivery_deferred",
        ),
        (
            http("200 OK", "Webhook message delivery failed with error: endpoint returned HTTP error 403"),
            "delivery_refused",
        ),
        (http("413 Content Too Large"), "delivery_refused"),
        (http("429 Too Many Requests", "", "Retry-After: 5"), "delivery_deferred"),
    ],
)
async def test_teams_refusals(answer: str, code: str) -> None:
    async with listening(answering(answer)) as peer:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "teams_cli", {"message": "x", "webhook_url": peer.url})
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"message": "x"}, "setting_missing"),
        ({"webhook_url": "http://127.0.0.1:1/"}, "input_missing"),
        ({"message": "ü" * 20_000}, "input_too_large"),
        ({"message": "x", "theme_color": "red"}, "input_invalid"),
        ({"message": "x", "actions": [{"title": "a", "url": "javascript:1"}]}, "input_invalid"),
        ({"message": "x", "sections": [{"facts": ["a"]}]}, "input_invalid"),
    ],
)
async def test_teams_bad_inputs(inputs: dict[str, Any], code: str) -> None:
    with pytest.raises(OpsError) as caught:
        await run_tool(configured(), "teams_cli", inputs)
    assert caught.value.code == code


# --- sendmail


class Mailbox:
    """aiosmtpd hooks: keeps what arrives, refuses and defers recipients by their name."""

    def __init__(self, reply: str = "250 2.0.0 queued as Q1") -> None:
        self.mails: list[Envelope] = []
        self.reply = reply

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("unknown"):
            return "550 5.1.1 no such user"
        if address.startswith("full"):
            return "452 4.2.2 mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.mails.append(envelope)
        return self.reply


def parsed(envelope: Envelope) -> EmailMessage:
    content = envelope.content
    assert isinstance(content, bytes)
    message = message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    return message


MAIL = {"to": ["ops@example.com"], "from": "me@example.com", "subject": "Disk", "body": "91 %\n"}


def plain(port: int) -> dict[str, Any]:
    return {"smtp_host": "127.0.0.1", "smtp_port": port, "tls": "none"}


async def test_sendmail_delivers_everything_that_was_said() -> None:
    box = Mailbox()
    inputs = {
        "to": ["Öps Team <ops@example.com>, two@example.com"],
        "cc": "cc@example.com",
        "bcc": ["hidden@example.com"],
        "reply_to": ["help@example.com"],
        "from": "Me <me@example.com>",
        "subject": "Größe",
        "message": "plain ü\n.\n.end\n",
        "html": "<b>ü</b>",
        "headers": {"X-Run": "7"},
        "attachments": [{"name": "df.csv", "content": "a,b\n", "media_type": "text/csv"}],
    }
    async with mail_server(box) as port:
        result = await run_tool(configured(), "sendmail", {**inputs, **plain(port)})
    envelope = box.mails[0]
    message = parsed(envelope)
    assert envelope.mail_from == "me@example.com"
    assert envelope.rcpt_tos == ["ops@example.com", "two@example.com", "cc@example.com", "hidden@example.com"]
    assert str(message["To"]) == "Öps Team <ops@example.com>, two@example.com"
    assert (str(message["Cc"]), str(message["Reply-To"]), message["Bcc"]) == (
        "cc@example.com",
        "help@example.com",
        None,
    )
    assert (str(message["Subject"]), message["X-Run"]) == ("Größe", "7")
    assert message["Message-ID"] == "<0192-dispatch@example.com>"
    assert b"hidden@" not in (envelope.content or b"")
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content() == "plain ü\r\n.\r\n.end\r\n"
    assert html.get_content().strip() == "<b>ü</b>"
    attachment = next(iter(message.iter_attachments()))
    assert (attachment.get_filename(), attachment.get_payload(decode=True)) == ("df.csv", b"a,b\n")
    assert result.data["accepted_by"] == f"127.0.0.1:{port}"
    assert result.data["message_id"] == "<0192-dispatch@example.com>"
    assert result.data["reply"] == "250 2.0.0 queued as Q1"
    assert result.data["accepted"] == list(envelope.rcpt_tos)
    assert (result.data["refused"], result.data["partial"]) == ([], False)


async def test_sendmail_reports_each_refused_recipient_and_does_not_call_it_success() -> None:
    box = Mailbox()
    inputs = {**MAIL, "to": ["ops@example.com", "unknown@example.com"]}
    async with mail_server(box) as port:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "sendmail", {**inputs, **plain(port)})
        partial = await run_tool(configured(), "sendmail", {**inputs, **plain(port), "allow_partial": True})
    refused = [{"recipient": "unknown@example.com", "smtp_code": 550, "text": "5.1.1 no such user"}]
    assert caught.value.code == "delivery_refused"
    assert caught.value.context["refused"] == refused
    assert caught.value.context["accepted"] == ["ops@example.com"]
    assert (partial.data["refused"], partial.data["partial"]) == (refused, True)
    assert len(box.mails) == 2


@pytest.mark.parametrize(
    ("recipients", "code"),
    [
        (["unknown@example.com"], "delivery_refused"),
        (["full@example.com"], "delivery_deferred"),
        (["full@example.com", "unknown@example.com"], "delivery_refused"),
    ],
)
async def test_sendmail_with_no_recipient_left_sends_nothing(recipients: list[str], code: str) -> None:
    box = Mailbox()
    async with mail_server(box) as port:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "sendmail", {**MAIL, "recipient": recipients, **plain(port)} | {"to": None})
    assert caught.value.code == code
    assert box.mails == []


@pytest.mark.parametrize(
    ("reply", "code"), [("451 4.3.0 try later", "delivery_deferred"), ("554 5.7.1 spam", "delivery_refused")]
)
async def test_sendmail_final_reply_decides(reply: str, code: str) -> None:
    async with mail_server(Mailbox(reply)) as port:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "sendmail", {**MAIL, **plain(port)})
    assert caught.value.code == code
    assert caught.value.context["smtp_code"] == int(reply[:3])


class DropAfterData(Mailbox):
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.mails.append(envelope)
        assert server.transport is not None
        server.transport.close()
        await asyncio.Event().wait()
        return ""


async def test_sendmail_connection_lost_after_the_content_is_unknown() -> None:
    box = DropAfterData()
    async with mail_server(box) as port:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "sendmail", {**MAIL, **plain(port)})
    assert caught.value.code == "outcome_unknown"
    assert len(box.mails) == 1


class SilentAfterData(Mailbox):
    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Event()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.arrived.set()
        await asyncio.Event().wait()
        return ""


async def test_sendmail_without_a_final_reply_in_time_is_unknown() -> None:
    async with mail_server(SilentAfterData()) as port:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "sendmail", {**MAIL, **plain(port)}, timeout_s=0.5)
    assert caught.value.code == "outcome_unknown"


async def test_sendmail_cancelled_after_the_content_is_unknown() -> None:
    box, cancel = SilentAfterData(), asyncio.Event()
    async with mail_server(box) as port:
        step = asyncio.create_task(run_tool(configured(), "sendmail", {**MAIL, **plain(port)}, cancel=cancel))
        await box.arrived.wait()
        cancel.set()
        with pytest.raises(OpsError) as caught:
            await step
    assert caught.value.code == "outcome_unknown"


async def test_sendmail_server_that_says_nothing_is_unreachable_and_nothing_was_sent() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as peer:
        with pytest.raises(OpsError, match="before anything was sent") as caught:
            await run_tool(configured(), "sendmail", {**MAIL, **plain(peer.port)}, timeout_s=0.3)
    assert caught.value.code == "peer_unreachable"


@pytest.mark.parametrize(
    ("greeting", "code"),
    [("421 busy", "delivery_deferred"), ("554 go away", "delivery_refused"), ("HTTP/1.1 400 x", "peer_answer_invalid")],
)
async def test_sendmail_greeting_that_refuses(greeting: str, code: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{greeting}\r\n".encode())
        await writer.drain()
        await reader.read()

    async with listening(refuse) as peer:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "sendmail", {**MAIL, **plain(peer.port)})
    assert caught.value.code == code


async def test_sendmail_refused_connection_is_unreachable() -> None:
    async with mail_server(Mailbox()) as port:
        pass
    with pytest.raises(OpsError, match="nothing was sent") as caught:
        await run_tool(configured(), "sendmail", {**MAIL, **plain(port)})
    assert caught.value.code == "peer_unreachable"


async def test_sendmail_requires_starttls_unless_told_otherwise() -> None:
    box = Mailbox()
    async with mail_server(box) as port:
        with pytest.raises(OpsError, match="starting TLS") as caught:
            await run_tool(configured(smtp_host="127.0.0.1", smtp_port=port), "sendmail", MAIL)
    assert caught.value.code == "delivery_refused"
    assert box.mails == []


def _login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ops", b"right-pa55word")
    return AuthResult(success=good, handled=True) if good else AuthResult(success=False, handled=False)


async def test_sendmail_by_starttls_and_login_with_the_settings(tmp_path: Path) -> None:
    server, client = certificate(tmp_path)
    box = Mailbox()
    options: dict[str, Any] = {
        "tls_context": server,
        "require_starttls": True,
        "authenticator": _login,
        "auth_required": True,
    }
    async with mail_server(box, **options) as port:
        login: dict[str, Any] = {
            "smtp_host": "127.0.0.1",
            "smtp_port": port,
            "smtp_user": "ops",
            "smtp_from": "me@example.com",
        }
        good = configured("", tls=client, smtp_password="right-pa55word", **login)
        result = await run_tool(good, "sendmail", {**MAIL, "from": None})
        assert result.data["encrypted"] is True
        with pytest.raises(OpsError) as wrong:
            await run_tool(configured("", tls=client, smtp_password="wrong-pa55word", **login), "sendmail", MAIL)
        with pytest.raises(OpsError, match="certificate is not valid") as untrusted:
            await run_tool(configured("", smtp_password="right-pa55word", **login), "sendmail", MAIL)
    assert len(box.mails) == 1
    assert (wrong.value.code, wrong.value.context["reason"]) == ("delivery_refused", "authentication")
    assert "pa55word" not in str(wrong.value)
    assert untrusted.value.code == "peer_unreachable"


async def test_sendmail_by_tls_from_the_first_byte(tmp_path: Path) -> None:
    server, client = certificate(tmp_path)
    box = Mailbox()
    async with mail_server(box, wrap=server) as port:
        config = configured("", tls=client, smtp_host="127.0.0.1", smtp_port=port, smtp_tls="tls")
        assert (await run_tool(config, "sendmail", MAIL)).data["encrypted"] is True
        other = ssl.create_default_context()
        with pytest.raises(OpsError, match="certificate is not valid"):
            await run_tool(
                configured("", tls=other, smtp_host="127.0.0.1", smtp_port=port, smtp_tls="tls"), "sendmail", MAIL
            )
    assert len(box.mails) == 1


async def test_sendmail_server_of_an_input_is_judged_and_never_gets_the_settings_password() -> None:
    seen: list[str] = []

    def note(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        seen.append(mechanism)
        return AuthResult(success=True)

    async with mail_server(Mailbox(), authenticator=note, auth_require_tls=False) as port:
        login: dict[str, Any] = {"smtp_host": "mail.example.com", "smtp_user": "ops", "smtp_password": "right-pa55word"}
        with pytest.raises(OpsError) as caught:
            await run_tool(configured("", **login), "sendmail", {**MAIL, **plain(port)})
        assert caught.value.code == "destination_not_allowed"
        await run_tool(configured(**login), "sendmail", {**MAIL, **plain(port)})
    assert seen == []


async def test_sendmail_step_that_turns_encryption_off_does_not_get_the_settings_password() -> None:
    seen: list[str] = []

    def note(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        seen.append(mechanism)
        return AuthResult(success=True)

    async with mail_server(Mailbox(), authenticator=note, auth_require_tls=False) as port:
        login: dict[str, Any] = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_user": "ops"}
        login["smtp_password"] = "right-pa55word"
        await run_tool(configured("", **login), "sendmail", {**MAIL, "tls": "none"})
        assert seen == []
        await run_tool(configured("", smtp_tls="none", **login), "sendmail", MAIL)
        assert len(seen) == 1


@pytest.mark.parametrize(
    "inputs",
    [
        {"subject": "a\r\nBcc: x@example.com"},
        {"subject": "a\u2028b"},
        {"headers": {"X-A": "1\r\nBcc: x@example.com"}},
        {"headers": {"X-A\r\nBcc": "x@example.com"}},
        {"headers": {"Bcc": "x@example.com"}},
        {"headers": {"Content-Type": "text/html"}},
        {"headers": {"X-A": ["1"]}},
        {"to": ["ops@example.com\r\nRCPT TO:<x@example.com>"]},
        {"to": ["not an address"]},
        {"to": ["a@b@c"]},
        {"to": ["<ops@example.com> SIZE=1"]},
        {"from": "me@example.com, you@example.com"},
        {"from": "me@example.com>\x0b<x"},
        {"attachments": [{"name": "../x", "content": "a"}]},
        {"attachments": [{"name": "x\r\ny", "content": "a"}]},
        {"attachments": [{"name": "x", "content": "a", "media_type": "message/rfc822"}]},
        {"attachments": [{"name": "x", "path": "/etc/passwd"}]},
    ],
)
async def test_sendmail_bad_inputs_connect_to_nobody(inputs: dict[str, Any]) -> None:
    async with listening(_hang) as peer:
        with pytest.raises(OpsError) as caught:
            await run_tool(configured(), "sendmail", {**MAIL, **plain(peer.port), **inputs})
        assert peer.connections == 0
    assert caught.value.code == "input_invalid"


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        (MAIL, "setting_missing"),
        ({**MAIL, "smtp_host": "127.0.0.1", "from": None}, "setting_missing"),
        ({**MAIL, "smtp_host": "127.0.0.1", "to": None}, "input_missing"),
        ({**MAIL, "smtp_host": "127.0.0.1", "body": None}, "input_missing"),
    ],
)
async def test_sendmail_says_what_is_missing(inputs: dict[str, Any], code: str) -> None:
    with pytest.raises(OpsError) as caught:
        await run_tool(configured(), "sendmail", inputs)
    assert caught.value.code == code


async def test_sendmail_address_beyond_ascii_needs_a_server_that_takes_it() -> None:
    box = Mailbox()
    inputs = {**MAIL, "to": ["jürgen@example.com"]}
    async with mail_server(box, enable_SMTPUTF8=True) as port:
        await run_tool(configured(), "sendmail", {**inputs, **plain(port)})
    assert box.mails[0].rcpt_tos == ["jürgen@example.com"]
    async with mail_server(box, enable_SMTPUTF8=False) as port:
        with pytest.raises(OpsError, match="SMTPUTF8") as caught:
            await run_tool(configured(), "sendmail", {**inputs, **plain(port)})
    assert caught.value.code == "delivery_refused"


async def test_sendmail_preview_shows_the_message_and_sends_nothing() -> None:
    result = await run_tool(configured(), "sendmail", MAIL, operation="preview")
    assert result.data["sent"] is False
    assert result.data["recipients"] == ["ops@example.com"]
    assert "Subject: Disk\r\n" in result.data["message"]
