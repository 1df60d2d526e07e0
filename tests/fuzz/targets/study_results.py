"""The file of a study's finished cells, and the step times that it keeps."""

from __future__ import annotations

from json_mutation import change_json
from message_examples import nasty_json
from recipe import scratch

from pfedfrz_emulator.study.device_work import _read as read_work
from pfedfrz_emulator.study.results import Results
from pfedfrz_protocol import ConfigurationError


def target(data: bytes) -> None:
    """An odd first byte: step times; an even one: lines of cells."""
    path = scratch() / "results"
    path.write_bytes(data[1:])
    if data and data[0] & 1:
        read_work(path)
        return
    try:
        results = Results(path)
    except ConfigurationError:
        return
    assert len(results.records) <= data.count(b"\n")


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    changed = change_json(data[1:], limit - 2, seed)
    return None if changed is None else data[:1] + changed + b"\n"


def seeds() -> dict[str, bytes]:
    cell = (
        b'{"digest":"0","variant":"a","group":"g","experiment":{"dataset":"digits","model":"mlp",'
        b'"devices":3,"rounds":1},"form":"stacked","rounds":[{"round":1,"received":0.5,"local":0.5,'
        b'"least_received":0.1,"least_local":0.1,"update_bytes":5}],"devices_received":[0.5],"devices_local":[0.5],'
        b'"rejected":0,"samples":5,"wall_s":1.0}'
    )
    found = {
        "cell": b"\x00" + cell + b"\n",
        "cut": b"\x00" + cell,
        "work": b'\x01{"machine":"m","steps":{}}',
    }
    for name, body in nasty_json().items():
        found[name] = b"\x00" + body + b"\n"
        if name.startswith(("bad", "deep-a")):
            found[f"work-{name}"] = b"\x01" + body
    return found
