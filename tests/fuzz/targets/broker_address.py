"""The URL of a broker."""

from __future__ import annotations

from pfedfrz_protocol import ConfigurationError
from pfedfrz_transport import BrokerAddress


def target(data: bytes) -> None:
    """An address is the same when its URL is read again, and shows no password."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        address = BrokerAddress.parse(text)
    except ConfigurationError:
        return
    assert 0 < address.port < 65536
    assert address.host
    try:
        again = BrokerAddress.parse(address.url)
    except UnicodeEncodeError:
        return  # a surrogate, which no command line's text can hold
    assert again == address, (again, address)
    assert "@" not in str(address)


def seeds() -> dict[str, bytes]:
    texts = {
        "plain": "mqtt://127.0.0.1:1883",
        "account": "mqtts://us%40er:pa%2Fss@broker.example:8883/",
        "sixth": "mqtt://[::1]:1883",
        "zone": "mqtt://[fe80::1%25eth0]:1883",
        "port": "mqtt://a:99999",
        "negative-port": "mqtt://a:-1",
        "foreign-port": "mqtt://a:١",
        "brackets": "mqtt://[[::1]",
        "foreign-host": "mqtt://bücher.example",
        "full-width": "mqtt://ａ．ｂ",
        "nul": "mqtt://a\x00b",
        "line-break": "mqtt://a\nb",
        "path": "mqtt://a/../../b",
        "password-alone": "mqtt://:x@a",
        "hash": "mqtt://a:p#w@b",
        "long": "mqtt://" + "a" * 1500,
        "empty": "",
    }
    return {name: text.encode() for name, text in texts.items()}
