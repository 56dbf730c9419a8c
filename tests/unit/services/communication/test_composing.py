"""What is sent, made from inputs without any peer: mail, webhook requests, cards, and what answers' headers mean."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsconductor.model.errors import OpsError
from opsconductor.services.communication import mail_message, slack_message, teams_card, webhook_request
from opsconductor.services.communication.config import config_from
from opsconductor.services.communication.delivery import url_secrets
from opsconductor.services.communication.http_delivery import retry_after
from opsconductor.settings import load
from opsconductor.transports.http import IncomingAnswer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MAIL = {"to": ["ops@example.com"], "from": "me@example.com", "subject": "s", "body": "b"}


def composed(dispatch_id: str = "d-1", **inputs: Any) -> mail_message.Mail:
    return mail_message.compose({**MAIL, **inputs}, default_from="", dispatch_id=dispatch_id, now=NOW)


def test_the_same_dispatch_has_the_same_message_id_and_another_has_another() -> None:
    assert composed("d-1").message_id == composed("d-1", body="other").message_id == "<d-1@example.com>"
    assert composed("d-2").message_id == "<d-2@example.com>"


def test_a_dispatch_id_that_no_message_id_can_hold_is_hashed() -> None:
    odd = composed("run/1:step>\r\nX: y").message_id
    assert odd == composed("run/1:step>\r\nX: y").message_id
    assert len(odd) == len("<@example.com>") + 64
    assert odd.isascii()


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=20))
@settings(max_examples=300, deadline=None)
def test_no_text_adds_a_header_or_a_recipient(subject: str, value: str, name: str) -> None:
    try:
        mail = composed(subject=subject, headers={"X-Given": value}, to=[f"{name} <ops@example.com>"])
    except OpsError as error:
        assert error.code == "input_invalid"
        return
    message = message_from_bytes(mail.content, policy=default)
    expected = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Given"]
    assert sorted(set(message.keys()) - {"MIME-Version", "Content-Type", "Content-Transfer-Encoding"}) == sorted(
        expected
    )
    assert mail.recipients == ("ops@example.com",)
    assert all(len(line) <= 998 for line in mail.content.split(b"\r\n"))
    assert b"\n" not in mail.content.replace(b"\r\n", b"")


def test_repeated_recipients_are_named_once() -> None:
    assert composed(cc=["ops@example.com"], bcc=["x@example.com"]).recipients == ("ops@example.com", "x@example.com")


def test_the_signature_is_githubs_own_example() -> None:
    # docs.github.com, "Validating webhook deliveries", testing the webhook payload validation
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert webhook_request.signature("It's a Secret to Everybody", b"Hello, World!") == expected


def test_headers_that_a_caller_gives_win_over_ours() -> None:
    request = webhook_request.build(
        {
            "url": "http://x/",
            "method": "POST",
            "payload": {},
            "headers": {"content-type": "a/b", "idempotency-key": "k"},
        },
        dispatch_id="d",
        timeout_s=60,
        connect_timeout_s=5,
    )
    assert dict(request.headers) == {"content-type": "a/b", "idempotency-key": "k"}


def test_the_step_limit_bounds_the_inputs_own() -> None:
    inputs = {"url": "http://x/", "method": "GET", "timeout_s": 600}
    assert webhook_request.build(inputs, dispatch_id="d", timeout_s=2, connect_timeout_s=5).timeout_s == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17", 17.0),
        ("999999999", 86_400.0),
        ("Fri, 02 Jan 2026 03:04:35 GMT", 30.0),
        ("Fri, 02 Jan 2026 03:04:00 GMT", 0.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("²", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(text: str, seconds: float | None) -> None:
    answer = IncomingAnswer(status=429, reason="", headers={"retry-after": text}, body=b"", complete=True)
    assert retry_after(answer, NOW) == seconds


@pytest.mark.parametrize(
    ("color", "style"),
    [
        ("D70000", "attention"),
        ("#FFA500", "warning"),
        ("2EB886", "good"),
        ("0076D7", "accent"),
        ("808080", "emphasis"),
    ],
)
def test_theme_colors_become_the_nearest_style(color: str, style: str) -> None:
    card = teams_card.compose({"title": "t", "theme_color": color})["attachments"][0]["content"]
    assert card["body"][0]["style"] == style


def test_facts_may_be_a_mapping() -> None:
    card = teams_card.compose({"sections": [{"facts": {"Host": "web-1", "Used": 91}}]})["attachments"][0]["content"]
    assert card["body"][0]["items"][0]["facts"] == [
        {"title": "Host", "value": "web-1"},
        {"title": "Used", "value": "91"},
    ]


def test_slack_attachments_alone_are_a_message() -> None:
    assert slack_message.compose({"attachments": [{"text": "a"}]}) == {"text": "", "attachments": [{"text": "a"}]}


def test_the_path_of_a_secret_url_is_a_secret_and_short_words_are_not() -> None:
    url = "https://hooks.slack.com/services/T0/B0/abcdefghijklmnop"
    assert url_secrets(url) == [url, *["/services/T0/B0/abcdefghijklmnop"] * 2, "abcdefghijklmnop"]
    assert url_secrets("http://127.0.0.1:8080/hook") == ["http://127.0.0.1:8080/hook"]
    assert url_secrets("") == []


def test_settings_reach_the_configuration() -> None:
    config = config_from(
        load({"SMTP_HOST": "mail", "SMTP_USE_TLS": "false", "OPSCONDUCTOR_EGRESS_ALLOW": "10.0.0.0/8"})
    )
    assert (config.smtp_host, config.smtp_tls) == ("mail", "none")
    config.egress.judge("x", 1, "10.1.1.1")
    with pytest.raises(OpsError, match="request_invalid"):
        config_from(load({"OPSCONDUCTOR_EGRESS_DENY": "not a rule"}))


@pytest.mark.parametrize(
    ("text", "names", "addresses"),
    [
        ("ops@example.com", [""], ["ops@example.com"]),
        (" Ops Team <ops@example.com> , two@example.com ", ["Ops Team", ""], ["ops@example.com", "two@example.com"]),
        ('"Team, \\"A\\"" <a@example.com>', ['Team, "A"'], ["a@example.com"]),
        ("Öps: night <o@example.com>", ["Öps: night"], ["o@example.com"]),
        ("<ops@example.com>", [""], ["ops@example.com"]),
    ],
)
def test_people_are_named_as_mail_programs_write_them(text: str, names: list[str], addresses: list[str]) -> None:
    mail = composed(to=[text])
    message = message_from_bytes(mail.content, policy=default)
    assert list(mail.recipients) == addresses
    assert [found.display_name for found in message["To"].addresses] == names


@pytest.mark.parametrize(
    "text",
    [
        *("a@b, ", ",", " ", "a", "a@b c@d", "x <a@b> y", '"x" a@b', '"x <a@b>', "a@b;c@d", "a:b@c;", "x <>"),
        *(" " * 9000 + "x", '"' + "\\" * 9000, "a" * 9000 + "@", "a@b," * 4000),
    ],
)
def test_what_is_no_address_is_refused_quickly(text: str) -> None:
    began = time.process_time()
    with pytest.raises(OpsError, match=r"expected ops@example\.com"):
        composed(to=[text])
    assert time.process_time() - began < 1
