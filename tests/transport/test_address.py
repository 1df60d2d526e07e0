from __future__ import annotations

import pytest

from pfedfrz_protocol.errors import ConfigurationError
from pfedfrz_transport import BrokerAddress, MqttLink, MqttOptions


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://pi", BrokerAddress("pi", 1883)),
        ("mqtt://pi/", BrokerAddress("pi", 1883)),
        ("MQTT://PI:1884", BrokerAddress("pi", 1884)),
        ("mqtts://pi", BrokerAddress("pi", 8883, tls=True)),
        ("mqtt://[::1]:7", BrokerAddress("::1", 7)),
        ("mqtt://me@pi", BrokerAddress("pi", 1883, username="me")),
        ("mqtt://me:@pi", BrokerAddress("pi", 1883, username="me", password="")),
        (
            "mqtts://m%40e:p%3Aa%2Fs%23s@pi:99",
            BrokerAddress("pi", 99, tls=True, username="m@e", password="p:a/s#s"),
        ),
    ],
)
def test_a_url_names_an_address_and_the_address_gives_it_back(
    url: str, address: BrokerAddress
) -> None:
    assert BrokerAddress.parse(url) == address
    assert BrokerAddress.parse(address.url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pi",
        "pi:1883",
        "http://pi",
        "mqtt://",
        "mqtt://:1883",
        "mqtt://pi:port",
        "mqtt://pi:70000",
        "mqtt://pi:0",
        "mqtt://pi/topic",
        "mqtt://pi?x=1",
        "mqtt://:s3cret@pi",
        "mqtt://[::1",
        "me:s3cret@pi",
        "ws://me:s3cret@pi",
        "mqtt://me:s3cret@pi/topic",
        "mqtt://me:s3cret/x@pi",
        "mqtt://me:s3cret#x@pi",
        "mqtt://me:s3cret?x@pi",
    ],
)
def test_a_url_that_is_not_understood_is_refused_with_the_form_and_without_the_account(
    url: str,
) -> None:
    with pytest.raises(ConfigurationError, match=r"mqtt://\[user\[:password\]@\]host") as caught:
        BrokerAddress.parse(url)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_secrets_show_nowhere_but_in_the_url() -> None:
    address = BrokerAddress.parse("mqtts://me:s3cret@pi")
    options = MqttOptions()
    link = MqttLink(address, "device", options=options)
    for shown in (repr(address), str(address), f"{address}", repr(link), str(link), repr(options)):
        assert "s3cret" not in shown
    assert "s3cret" in address.url


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"keepalive_s": 0}, "keepalive_s"),
        ({"keepalive_s": 70_000}, "keepalive_s"),
        ({"receive_maximum": 0}, "receive_maximum"),
        ({"certificate_file": "a.pem"}, "key_file"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(settings: dict[str, int], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        MqttOptions(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["mqtt://[::]:3]@]]]", "mqtt://a]b", "mqtt://[::1]@a]"])
def test_brackets_that_are_no_address_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="broker URL"):
        BrokerAddress.parse(url)
