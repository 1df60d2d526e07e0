from __future__ import annotations

import pytest

from pfedfrz_protocol import ConfigurationError
from pfedfrz_provision.names import check_account, check_host, numbered


@pytest.mark.parametrize(
    "host", ["localhost", "broker.lan", "a-1.b", "192.168.1.5", "::1", "fe80::1", "3com.example"]
)
def test_a_host_is_a_dns_name_or_an_address(host: str) -> None:
    assert check_host(host) == host


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", "a b", "a_b", "-a", "a-", "a..b", "a.", "*.lan", "mqtts://a", "a:8883", "a/b"),
        *("192.168.1", "192.168.1.256", "1", "fe80::1%eth0", "a" * 64, "a." * 127 + "aa", "ä.lan"),
        "a\n.lan",
    ],
)
def test_anything_else_is_refused_in_one_line(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is not usable") as caught:
        check_host(host)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["coordinator", "monitor", "Monitor", "a/b", "#", "+", "", "a b"])
def test_a_device_takes_no_other_account_and_no_wildcard(name: str) -> None:
    with pytest.raises(ConfigurationError):
        check_account("device", name)


def test_numbered_names_leave_out_what_is_taken() -> None:
    assert numbered(3, {"device-01"}) == ["device-00", "device-02"]
    assert numbered(0, set()) == []
