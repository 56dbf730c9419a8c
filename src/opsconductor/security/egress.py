"""Which destinations outgoing connections may reach: a pure policy, and the gate that holds the current one.

The policy judges three things: the URL as written, and then, for each address a connection is about to be made to, the
host it stands for, the port and that very address. Judging the address, not the name, is what makes odd spellings
(`0177.0.0.1`, `0`, `①②⑦.⓪.⓪.①`) and names whose answer changes between look-ups harmless. Whoever connects calls
`judge` last before connect(2): `transports.http` and `transports.tcp` do. Nothing here does I/O.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from urllib.parse import urlsplit

import msgspec

from opsconductor.model.errors import OpsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SCHEMES = ("http", "https")
MAX_URL_LENGTH = 8192

# IANA special-purpose address registries (RFC 6890 and later), and addresses where clouds answer with credentials.
# Written out because ipaddress.is_global differs between Python releases and calls 6to4 and multicast global.
_REFUSED: tuple[tuple[str, str], ...] = (
    ("169.254.169.254/32", "metadata"),
    ("169.254.170.2/32", "metadata"),
    ("100.100.100.200/32", "metadata"),
    ("168.63.129.16/32", "metadata"),
    ("fd00:ec2::254/128", "metadata"),
    ("fd20:ce::254/128", "metadata"),
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "v4-compatible"),
    ("64:ff9b:1::/48", "local NAT64"),
    ("100::/64", "discard-only"),
    ("2001::/32", "Teredo"),
    ("2001:db8::/32", "documentation"),
    ("2001::/23", "reserved"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
_RANGES: tuple[tuple[Network, str], ...] = tuple((ipaddress.ip_network(text), kind) for text, kind in _REFUSED)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")  # RFC 4291 §2.4: the only space assigned for global unicast
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1: the last 32 bits are the IPv4 destination
_NAMES_DO_NOT_OPEN = frozenset({"metadata", "link-local", "multicast", "broadcast", "unspecified"})
"""What only an address in the allow-list opens: whoever controls a name's DNS must not get there by it."""


class Rule(msgspec.Struct, frozen=True):
    """A host name or a network, and a port or every port. `*.example.com` means every name below it."""

    host: str | None
    network: Network | None
    port: int | None

    def matches_host(self, host: str, port: int) -> bool:
        """Whether the rule names `host` (in lower case, without a final dot)."""
        if self.host is None or (self.port is not None and self.port != port):
            return False
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host

    def matches_address(self, address: Address, port: int) -> bool:
        """Whether the rule's network holds `address`."""
        if self.network is None or (self.port is not None and self.port != port):
            return False
        return address.version == self.network.version and address in self.network


class EgressPolicy(msgspec.Struct, frozen=True):
    """Rules that open what is refused by default (`allow`) and that close what is open (`deny`, which wins)."""

    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()

    def check_url(self, url: str) -> None:
        """Refuse what no connection should be tried for. Raises OpsError(`destination_not_allowed`)."""
        check_url(url)

    def judge(self, host: str, port: int, address: str) -> None:
        """Refuse the connection to `address`, which `host` resolved to (or is).

        Raises OpsError(`destination_not_allowed`).
        """
        name = host.rstrip(".").casefold()
        meanings = _meanings(address)
        if not meanings:
            raise _refusal(host, port, address, "scoped or malformed address")
        if _names(self.deny, name, port) or _holds(self.deny, meanings, port):
            raise _refusal(host, port, address, "deny-list")
        kind = classify(meanings[0])
        if kind is None or _holds(self.allow, meanings, port):
            return
        if kind in _NAMES_DO_NOT_OPEN or not _names(self.allow, name, port):
            raise _refusal(host, port, address, kind)

    def allowing(self, *rules: Rule) -> EgressPolicy:
        """The same policy with more allowed."""
        return EgressPolicy(allow=(*self.allow, *rules), deny=self.deny)


class EgressGate:
    """The policy in force, with destinations that are open for a while (a plan's own receivers). Thread-safe."""

    def __init__(self, policy: EgressPolicy) -> None:
        self._base = policy
        self._current = policy
        self._open: Counter[Rule] = Counter()
        self._lock = threading.Lock()

    @property
    def policy(self) -> EgressPolicy:
        """What holds at this moment."""
        return self._current

    def open(self, destination: str) -> None:
        """Allow one more destination (`127.0.0.1:8025`). Raises OpsError(`request_invalid`)."""
        self._change(destination, 1)

    def close(self, destination: str) -> None:
        """Take one `open` back."""
        self._change(destination, -1)

    def check_url(self, url: str) -> None:
        """See `EgressPolicy.check_url`."""
        self._current.check_url(url)

    def judge(self, host: str, port: int, address: str) -> None:
        """See `EgressPolicy.judge`."""
        self._current.judge(host, port, address)

    def _change(self, destination: str, count: int) -> None:
        rule = parse_rule(destination)
        with self._lock:
            self._open[rule] += count
            if self._open[rule] <= 0:
                del self._open[rule]
            self._current = self._base.allowing(*self._open)


def parse_policy(allow: str = "", deny: str = "") -> EgressPolicy:
    """Read the settings `egress_allow` and `egress_deny`: entries separated by ','.

    Raises OpsError(`request_invalid`).
    """
    return EgressPolicy(allow=_parse_rules(allow), deny=_parse_rules(deny))


def parse_rule(text: str) -> Rule:
    """Read `host`, `host:port`, `10.0.0.0/8`, `10.0.0.0/8:443`, `fd00::/8`, `[fd00::/8]:443`.

    Raises OpsError(`request_invalid`).
    """
    body, port = _split_port(text.strip())
    try:
        return Rule(None, ipaddress.ip_network(body, strict=False), port)
    except ValueError:
        labels = body.removeprefix("*.").rstrip(".").casefold()
        if not labels or not all(
            part and part.replace("-", "").replace("_", "").isalnum() for part in labels.split(".")
        ):
            raise _bad_rule(text) from None
        return Rule(("*." if body.startswith("*.") else "") + labels, None, port)


def rule_for_url(url: str) -> Rule:
    """The rule that allows exactly the host and port of `url`. Raises OpsError(`destination_not_allowed`)."""
    check_url(url)
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parse_rule(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def check_url(url: str) -> None:
    """Refuse other schemes, credentials, control characters, zone ids. Raises OpsError(`destination_not_allowed`).

    Refusing is a matter of the text alone (RFC 3986); where it leads is judged when the connection is made.
    """
    if len(url) > MAX_URL_LENGTH:
        raise _bad_url(f"it has {len(url)} characters, expected at most {MAX_URL_LENGTH}")
    if any(char <= " " or char == "\\" or "\x7f" <= char <= "\xa0" for char in url):
        raise _bad_url("it holds a space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad_url("it cannot be taken apart, expected https://host[:port]/path") from None
    if parts.scheme not in SCHEMES:
        raise _bad_url(f"its scheme is {parts.scheme or 'missing'!r}, expected http or https")
    if "@" in parts.netloc:
        raise _bad_url("it holds credentials, which belong into a secret input or header")
    if not parts.hostname or port == 0:
        raise _bad_url("it names no host or port 0")
    if "%" in parts.netloc:
        raise _bad_url("its host is percent-encoded or has a zone id")


def classify(address: Address) -> str | None:
    """Why `address` is refused by default, in one word (`loopback`, `metadata` …); None for public addresses."""
    if isinstance(address, ipaddress.IPv6Address) and (embedded := _embedded(address)):
        return classify(embedded)
    for network, kind in _RANGES:
        if address.version == network.version and address in network:
            return kind
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_V6:
        return "reserved"
    return None


def _meanings(text: str) -> tuple[Address, ...]:
    """The address, and the IPv4 address that a packet to it reaches; nothing for what is none or has a zone id."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ()
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.scope_id:
        return ()
    embedded = _embedded(address)
    return (address, embedded) if embedded else (address,)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped


def _names(rules: tuple[Rule, ...], host: str, port: int) -> bool:
    return any(rule.matches_host(host, port) for rule in rules)


def _holds(rules: tuple[Rule, ...], addresses: tuple[Address, ...], port: int) -> bool:
    return any(rule.matches_address(address, port) for rule in rules for address in addresses)


def _parse_rules(text: str) -> tuple[Rule, ...]:
    return tuple(parse_rule(entry) for entry in text.split(",") if entry.strip())


def _split_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        body, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _bad_rule(text)
        port = rest[1:] if rest else None
    elif text.count(":") == 1:
        body, _, port = text.partition(":")
    else:
        return text, None
    if port is None:
        return body, None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _bad_rule(text)
    return body, int(port)


def _bad_rule(text: str) -> OpsError:
    expected = "a host, a network such as 10.0.0.0/8, or either with :port ([fd00::/8]:443 for IPv6)"
    return OpsError("request_invalid", f"egress rule {text!r}: expected {expected}", found=text)


def _bad_url(reason: str) -> OpsError:
    return OpsError("destination_not_allowed", f"the URL is refused: {reason}", reason="url")


def _refusal(host: str, port: int, address: str, kind: str) -> OpsError:
    shown = host if host == address else f"{host} ({address})"
    rule = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return OpsError(
        "destination_not_allowed",
        f"{shown} port {port} is refused by the egress policy ({kind}); if it is meant to be reached, an operator adds "
        f"it to OPSCONDUCTOR_EGRESS_ALLOW, for example as {rule}",
        host=host,
        port=port,
        address=address,
        reason=kind,
    )
