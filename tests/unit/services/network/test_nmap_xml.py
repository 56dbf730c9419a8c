"""nmap's report as data."""

from __future__ import annotations

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.services.network.nmap_xml import parse_nmap

REPORT = """<?xml version="1.0"?><!DOCTYPE nmaprun>
<nmaprun version="7.93"><host timedout="true"><status state="up"/>
<address addr="127.0.0.1" addrtype="ipv4"/><hostnames><hostname name="box" type="PTR"/></hostnames>
<ports><extraports state="closed" count="998"/>
<port protocol="tcp" portid="22"><state state="open" reason="syn-ack"/>
<service name="ssh" product="OpenSSH" version="9.2 &lt;x&gt;"/></port>
<port protocol="tcp" portid="23"><state state="filtered" reason="no-response"/></port></ports></host>
<runstats><finished elapsed="1.50" exit="success"/><hosts up="1" down="0" total="1"/></runstats></nmaprun>"""


def test_hosts_ports_and_services() -> None:
    data = parse_nmap(REPORT)
    assert data["summary"] == {"version": "7.93", "elapsed_s": 1.5, "exit": "success", "hosts_up": 1, "hosts_total": 1}
    (host,) = data["hosts"]
    assert (host["state"], host["addresses"], host["names"], host["timed_out"]) == (
        "up",
        {"ipv4": "127.0.0.1"},
        ["box"],
        True,
    )
    assert host["other_ports"] == [{"state": "closed", "count": 998}]
    assert host["ports"][0]["service"] == {"name": "ssh", "product": "OpenSSH", "version": "9.2 <x>"}
    assert (host["ports"][1]["state"], host["ports"][1]["service"]) == ("filtered", None)


def test_a_report_that_is_cut_off_is_an_error() -> None:
    with pytest.raises(OpsError) as caught:
        parse_nmap(REPORT[:200])
    assert caught.value.code == "peer_answer_invalid"
