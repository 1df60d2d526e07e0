"""Networks that cost by the byte."""

from __future__ import annotations

import pytest
from system_tree import SystemTree

from pfedfrz_edge.conditions.metered import METERED, Metered

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT"
LAN = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0"
NOWHERE = "0" * 32


def default(interface: str, metric: int = 100, flags: str = "0003") -> str:
    return f"{interface}\t00000000\t0101A8C0\t{flags}\t0\t0\t{metric}\t00000000\t0\t0\t0"


def default6(interface: str, metric: str = "00000064", flags: str = "00000003") -> str:
    return (
        f"{NOWHERE} 00 {NOWHERE} 00 fe80000000000000000000000000000001 {metric} 00000001 "
        f"00000000 {flags} {interface}"
    )


def routes(tree: SystemTree, *rows: str, six: tuple[str, ...] = ()) -> None:
    tree.write("proc/net/route", "\n".join([HEAD, *rows]))
    if six:
        tree.write("proc/net/ipv6_route", "\n".join(six))


@pytest.mark.parametrize("interface", ["wwan0", "wwp0s20u4", "ppp0", "rmnet_data0"])
def test_a_modem_is_metered_by_default(tree: SystemTree, interface: str) -> None:
    routes(tree, LAN, default(interface))
    rule = Metered(METERED, tree.files)
    assert rule.check() == f"metered: the default route is over {interface}"
    assert rule.value == f"default route over {interface}"


def test_a_cable_and_a_wireless_network_are_not(tree: SystemTree) -> None:
    for interface in ("eth0", "wlan0", "enp3s0", "wlp2s0"):
        routes(tree, LAN, default(interface))
        assert Metered(METERED, tree.files).check() is None


def test_of_several_routes_the_one_with_the_lowest_metric_is_used(tree: SystemTree) -> None:
    routes(tree, default("wwan0", 700), default("eth0", 100))
    assert Metered(METERED, tree.files).check() is None
    routes(tree, default("wwan0", 700), default("eth0", 1000))
    assert Metered(METERED, tree.files).check()


def test_a_route_that_is_down_or_rejects_does_not_count(tree: SystemTree) -> None:
    routes(tree, default("wwan0", flags="0002"), six=(default6("wwan0", flags="00200200"),))
    rule = Metered(METERED, tree.files)
    assert rule.check() is None
    assert rule.value == "no default route"


def test_the_route_of_ipv6_counts_as_well(tree: SystemTree) -> None:
    loopback = default6("lo", "ffffffff", "00200200")
    routes(tree, default("eth0"), six=(default6("wwan0"), loopback))
    rule = Metered(METERED, tree.files)
    assert rule.check() == "metered: the default route is over wwan0"
    assert rule.value == "default route over eth0, wwan0"


def test_own_patterns_take_the_place_of_the_usual_ones(tree: SystemTree) -> None:
    routes(tree, default("eth1"))
    assert Metered(["eth1"], tree.files).check()
    routes(tree, default("wwan0"))
    assert Metered(["eth1"], tree.files).check() is None


def test_without_the_table_it_waits(tree: SystemTree) -> None:
    reason = Metered(METERED, tree.files).check()
    assert reason == "metered: /proc/net/route cannot be read; take avoid_metered out of the TOML"


def test_rows_that_make_no_sense_are_left_out(tree: SystemTree) -> None:
    routes(tree, "wwan0\t00000000", "wwan0 00000000 x zz 0 0 0 00000000", six=("x y z",))
    assert Metered(METERED, tree.files).check() is None
