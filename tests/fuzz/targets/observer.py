"""A whole federation's messages, as the emulator's view of it takes them."""

from __future__ import annotations

from json_mutation import change_json
from message_examples import EXAMPLES, KINDS, nasty_json

from pfedfrz_emulator.observer import FederationView
from pfedfrz_protocol import Command, DeviceEvent, Topics, encode_message

TOPICS = Topics("lab")
_PLACES = (
    TOPICS.round, TOPICS.metrics, TOPICS.device("a", "status"), TOPICS.device("b", "event"),
    TOPICS.device("c", "command"),
)  # fmt: skip
_TAIL = b',"signature":"' + b"A" * 86 + b'"}'


def target(data: bytes) -> None:
    """Lines of a byte for the topic and a message; the view can be asked after each."""
    view = FederationView(TOPICS)
    for line in data.split(b"\n")[:50]:
        if not line:
            continue
        body = line[1:]
        payload = body[:-1] + _TAIL if body.endswith(b"}") else body
        view.see(_PLACES[line[0] % len(_PLACES)], payload)
        assert view.is_hopeless in (True, False)
        assert all(device.latest or not device.reports for device in view.devices.values())


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
