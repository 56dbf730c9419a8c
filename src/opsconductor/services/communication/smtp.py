"""Speaking SMTP (RFC 5321) to one server: what it accepted, and truthfully how an attempt ended that it did not.

What fails before the message's content leaves is safe to repeat or refused; a connection that ends after that, without
the server's final reply, leaves the outcome unknown.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Sequence

import aiosmtplib
import msgspec

from opsconductor.model.errors import OpsError
from opsconductor.services.communication.mail_message import Mail
from opsconductor.transports.tcp import Judge, connect
from opsconductor.transports.tls import default_tls

REPLY_TIMEOUT_S = 300.0  # RFC 5321 §4.5.3.2 asks for minutes; the step's own limit is usually shorter
QUIT_TIMEOUT_S = 2.0


class MailServer(msgspec.Struct, frozen=True, kw_only=True):
    """Where to deliver. `tls_mode` is `starttls`, `tls` or `none`; without `judge` every address is trusted."""

    host: str
    port: int
    tls_mode: str
    user: str = ""
    password: str = ""
    judge: Judge | None = None
    tls: ssl.SSLContext | None = None
    connect_timeout_s: float = 5.0

    @property
    def peer(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class RecipientReply(msgspec.Struct, frozen=True):
    """What the server said to one recipient."""

    recipient: str
    smtp_code: int
    text: str


class SmtpOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The server took the message: its final `reply` (often with its queue id), and each recipient's."""

    reply: str
    accepted: tuple[RecipientReply, ...]
    refused: tuple[RecipientReply, ...]


class SmtpProgress:
    """How far the conversation got; `sent` once the message's content may have left."""

    def __init__(self) -> None:
        self.sent = False
        self.stage = "connecting"


async def transmit(mail: Mail, server: MailServer, progress: SmtpProgress) -> SmtpOutcome:
    """Deliver `mail` to whom the server accepts. Raises OpsError when it took it for nobody, or when nobody knows."""
    opened = await connect(server.host, server.port, server.judge or _trusting, timeout_s=server.connect_timeout_s)
    client = aiosmtplib.SMTP(
        hostname=server.host,
        sock=opened,
        use_tls=server.tls_mode == "tls",
        start_tls=False,
        tls_context=server.tls or default_tls(),
        timeout=REPLY_TIMEOUT_S,
        local_hostname=_own_name(),
    )
    try:
        return await _converse(client, mail, server, progress)
    except (aiosmtplib.SMTPException, OSError) as error:
        raise _translated(error, server, progress) from error
    finally:
        client.close()


async def _converse(client: aiosmtplib.SMTP, mail: Mail, server: MailServer, progress: SmtpProgress) -> SmtpOutcome:
    progress.stage = "greeting"
    await client.connect()
    if server.tls_mode == "starttls":
        progress.stage = "starting TLS"
        await client.ehlo()
        if not client.supports_extension("starttls"):
            raise OpsError(
                "delivery_refused",
                f"{server.peer}, starting TLS: the server does not offer it; say tls: none to send in plain text",
                peer=server.peer,
            )
        await client.starttls()
    if server.user:
        progress.stage = "signing in"
        await client.login(server.user, server.password)
    progress.stage = "naming sender and recipients"
    accepted, refused = await _envelope(client, mail, server)
    progress.stage, progress.sent = "sending the message", True
    reply = await client.data(mail.content)
    with contextlib.suppress(aiosmtplib.SMTPException, OSError):
        await client.quit(timeout=QUIT_TIMEOUT_S)
    return SmtpOutcome(reply=f"{reply.code} {reply.message}", accepted=tuple(accepted), refused=tuple(refused))


async def _envelope(
    client: aiosmtplib.SMTP, mail: Mail, server: MailServer
) -> tuple[list[RecipientReply], list[RecipientReply]]:
    options: list[str] = []
    await client.ehlo()
    if mail.needs_utf8:
        if not client.supports_extension("smtputf8"):
            raise OpsError(
                "delivery_refused", f"{server.peer} takes only ASCII addresses (no SMTPUTF8)", peer=server.peer
            )
        options = ["SMTPUTF8"]
    await client.mail(mail.sender, options=options, encoding="utf-8" if options else "ascii")
    accepted, refused = list[RecipientReply](), list[RecipientReply]()
    for recipient in mail.recipients:
        try:
            reply = await client.rcpt(recipient, encoding="utf-8" if options else "ascii")
            accepted.append(RecipientReply(recipient, reply.code, reply.message))
        except aiosmtplib.SMTPRecipientRefused as error:
            refused.append(RecipientReply(recipient, error.code, error.message))
    if not accepted:
        raise _nobody(refused, server)
    return accepted, refused


def _nobody(refused: Sequence[RecipientReply], server: MailServer) -> OpsError:
    """Every recipient was refused, so nothing was sent; only when all were put off is it worth coming again."""
    code = "delivery_deferred" if all(400 <= reply.smtp_code < 500 for reply in refused) else "delivery_refused"
    words = "; ".join(f"{reply.recipient}: {reply.smtp_code} {reply.text}" for reply in refused)
    return OpsError(
        code,
        f"{server.peer} took no recipient: {words}",
        peer=server.peer,
        accepted=[],
        refused=[{"recipient": reply.recipient, "smtp_code": reply.smtp_code, "text": reply.text} for reply in refused],
    )


def _translated(error: Exception, server: MailServer, progress: SmtpProgress) -> OpsError:
    where = f"{server.peer}, {progress.stage}"
    if isinstance(error, aiosmtplib.SMTPResponseException) and 400 <= error.code < 600:
        # RFC 5321 §4.2.1: 4yz may succeed later, 5yz will not. A reply to the content itself is just as definite.
        code = "delivery_deferred" if error.code < 500 else "delivery_refused"
        reason = "authentication" if isinstance(error, aiosmtplib.SMTPAuthenticationError) else "reply"
        return OpsError(
            code, f"{where}: {error.code} {error.message}", peer=server.peer, smtp_code=error.code, reason=reason
        )
    if progress.sent:
        return OpsError(
            "outcome_unknown", f"{where}: {_words(error)} before its final reply; it may have been accepted",
            peer=server.peer,
        )  # fmt: skip
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return OpsError("peer_answer_invalid", f"{where}: {error.message}; nothing was sent", peer=server.peer)
    if not isinstance(error, OSError):
        # What is left of SMTPException speaks of what the server does not offer (a way to sign in).
        return OpsError("delivery_refused", f"{where}: {_words(error)}; nothing was sent", peer=server.peer)
    return OpsError("peer_unreachable", f"{where}: {_words(error)}; nothing was sent", peer=server.peer)


def _words(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not valid here ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS connection ({cause.reason or 'TLS error'})"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"a reply came that is not SMTP ({error.message})"
    if isinstance(error, TimeoutError):
        return "no reply in time"
    return "the connection was closed" if isinstance(error, ConnectionError) else str(error)


def _trusting(host: str, port: int, address: str) -> None:
    """The server of the settings is where the operator said mail goes."""


def _own_name() -> str:
    """For EHLO; getfqdn(3) may wait for DNS, so the plain host name has to do."""
    name = socket.gethostname()
    return name if name.isascii() and name else "localhost"
