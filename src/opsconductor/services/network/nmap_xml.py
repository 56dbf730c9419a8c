"""nmap's XML report as data. The format is nmap.dtd of the nmap distribution. Pure.

The report is written by the nmap that we started; texts in it (banners) come from whoever was scanned, and stay texts.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from opsconductor.model.errors import OpsError


def parse_nmap(text: str) -> dict[str, Any]:
    """`{"hosts": [...], "summary": {...}}`. Raises OpsError(`peer_answer_invalid`) for a report that is cut off."""
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - expat bounds entities; nmap escapes
    except ElementTree.ParseError as error:
        raise OpsError("peer_answer_invalid", f"nmap's report is not complete XML: {error}") from error
    finished = root.find("runstats/finished")
    counts = root.find("runstats/hosts")
    summary = {
        "version": root.get("version"),
        "elapsed_s": float(finished.get("elapsed", "0")) if finished is not None else None,
        "exit": finished.get("exit") if finished is not None else None,
        "hosts_up": int(counts.get("up", "0")) if counts is not None else 0,
        "hosts_total": int(counts.get("total", "0")) if counts is not None else 0,
    }
    return {"hosts": [_host(host) for host in root.iter("host")], "summary": summary}


def _host(host: ElementTree.Element) -> dict[str, Any]:
    status = host.find("status")
    addresses = {item.get("addrtype", "unknown"): item.get("addr") for item in host.findall("address")}
    names = [name.get("name") for name in host.findall("hostnames/hostname")]
    return {
        "state": status.get("state") if status is not None else "unknown",
        "addresses": addresses,
        "names": names,
        "ports": [_port(port) for port in host.findall("ports/port")],
        "other_ports": [
            {"state": item.get("state"), "count": int(item.get("count", "0"))}
            for item in host.findall("ports/extraports")
        ],
        "timed_out": host.get("timedout") == "true",
    }


def _port(port: ElementTree.Element) -> dict[str, Any]:
    state, service = port.find("state"), port.find("service")
    described = (
        {} if service is None else {key: service.get(key) for key in ("name", "product", "version", "extrainfo")}
    )
    return {
        "port": int(port.get("portid", "0")),
        "protocol": port.get("protocol"),
        "state": state.get("state") if state is not None else "unknown",
        "reason": state.get("reason") if state is not None else None,
        "service": {key: value for key, value in described.items() if value} or None,
    }
