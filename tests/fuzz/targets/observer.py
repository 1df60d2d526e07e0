"""A whole federation's messages, as the emulator's view of it takes them."""

from __future__ import annotations

import base64

from json_mutation import change_json
from message_examples import EXAMPLES, KINDS, nasty_json

from pfedfrz_monitor import FederationView
from pfedfrz_protocol import Command, DeviceEvent, SigningKey, Topics, encode_message

TOPICS = Topics("lab")
_PLACES = (
    TOPICS.round, TOPICS.metrics, TOPICS.device("a", "status"), TOPICS.device("b", "event"),
    TOPICS.device("c", "command"),
)  # fmt: skip
KEY = SigningKey.from_seed(bytes(32))


def target(data: bytes) -> None:
    """Lines of a byte for the topic and a message; the view can be asked after each."""
    view = FederationView(TOPICS)
    signatures = view.signatures
    signatures._coordinator = KEY.public
    signatures._devices = dict.fromkeys("abc", KEY.public)
    for line in data.split(b"\n")[:50]:
        if not line:
            continue
        body, topic = line[1:], _PLACES[line[0] % len(_PLACES)]
        view.see(topic, _signed(body, topic) if body.endswith(b"}") else body)
        assert view.is_hopeless in (True, False)
        assert all(device.latest or not device.latest_round for device in view.devices.values())


def _signed(body: bytes, topic: str) -> bytes:
    """Rightly signed, so that what is said is looked into."""
    signature = base64.urlsafe_b64encode(KEY.sign(f"message/{topic}", body)).rstrip(b"=")
    return body[:-1] + b',"signature":"' + signature + b'"}'


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    lines = data.split(b"\n")
    place = seed % len(lines)
    changed = change_json(lines[place][1:], limit, seed)
    if changed is None:
        return None
    lines[place] = lines[place][:1] + changed
    made = b"\n".join(lines)
    return made if len(made) <= limit else None


def seeds() -> dict[str, bytes]:
    by_name = {kind.__name__ if isinstance(kind, type) else str(kind): kind for kind in KINDS}
    events, commands = DeviceEvent, Command
    lines = [
        b"0" + encode_message(EXAMPLES[by_name["RoundAnnouncement"]][0]),
        b"2" + encode_message(EXAMPLES[by_name["DeviceStatus"]][0]),
        *(b"3" + encode_message(message) for message in EXAMPLES[events]),
        *(b"4" + encode_message(message) for message in EXAMPLES[commands]),
        b"1" + encode_message(EXAMPLES[by_name["RoundMetrics"]][0]),
    ]
    found = {"run": b"\n".join(lines)}
    found.update({f"line-{n}": line for n, line in enumerate(lines)})
    found.update({name: b"3" + body for name, body in nasty_json().items()})
    return found
