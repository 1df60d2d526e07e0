"""Promise 1: no byte of a personal tensor crosses the broker, in any encoding the codec knows.

Nor does a private key, a password or a file in PEM form, and none is in a log. Searched is all that
a listener gets who may read everything: in memory, over Mosquitto, and over TLS with the files of
`pfedfrz provision`, where every device has another encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import zstandard
from emulated_runs import FinishedRun
from numpy.typing import NDArray
from secrets_search import secrets_below

from pfedfrz_edge.personal_store import PersonalStore
from pfedfrz_protocol import (
    Encoding,
    Group,
    ModelLabel,
    Parameters,
    SharedCodec,
    Topics,
    open_tensors,
    split_chunks,
)
from pfedfrz_protocol.int8_blocks import quantize
from pfedfrz_storage import load_tensors

WINDOW = 16
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def transfers(messages: tuple[tuple[str, bytes], ...]) -> dict[str, bytes]:
    """Chunked payloads put together again, by topic without the chunk's number."""
    chunks: dict[str, dict[int, bytes]] = {}
    for topic, payload in messages:
        stem, _, number = topic.rpartition("/")
        if topic.startswith("pfedfrz-bin/") and payload:
            chunks.setdefault(stem, {})[int(number)] = payload
    return {stem: b"".join(parts[n] for n in sorted(parts)) for stem, parts in chunks.items()}


def everything_readable(messages: tuple[tuple[str, bytes], ...]) -> bytes:
    """All that a listener can get at: raw messages, and zstd bodies unpacked and unshuffled."""
    readable = [payload for _, payload in messages]
    for payload in transfers(messages).values():
        readable.append(payload)
        start = payload.find(_ZSTD_MAGIC)
        if start >= 0:
            unpacked = zstandard.ZstdDecompressor().decompress(payload[start:])
            readable.append(unpacked)
            if len(unpacked) % 2 == 0:
                readable.append(np.frombuffer(unpacked, np.uint8).reshape(2, -1).T.tobytes())
    return b"".join(readable)


def as_bytes(values: NDArray[np.float32]) -> Iterator[bytes]:
    """The values in every form that an encoding could give them."""
    yield values.tobytes()
    half = values.astype(np.float16).tobytes()
    yield half
    for width, data in ((4, values.tobytes()), (2, half)):
        yield np.frombuffer(data, np.uint8).reshape(-1, width).T.tobytes()
    yield quantize(values.ravel())[0].tobytes()


def telling_windows(data: bytes) -> set[bytes]:
    """Pieces that cannot be there by chance: long, and not mostly one byte."""
    step = max(WINDOW, len(data) // 8)
    pieces = (data[start : start + WINDOW] for start in range(0, len(data) - WINDOW + 1, step))
    return {piece for piece in pieces if len(set(piece)) >= WINDOW // 2}


def joined(tensors: Parameters) -> NDArray[np.float32]:
    """All of them as one vector, whose blocks `delta-int8` would scale."""
    return np.concatenate([tensor.ravel() for tensor in tensors.values()])


def windows_of(tensors: Parameters, *bases: Parameters) -> set[bytes]:
    """Windows of the tensors and of their differences to each base, in every form."""
    found: set[bytes] = set()
    wholes = [*tensors.values(), joined(tensors)]
    for base in bases:
        ordered = {name: base[name] for name in tensors}
        references = [*ordered.values(), joined(ordered)]
        wholes += [new - old for new, old in zip(wholes, references, strict=False)]
    for values in wholes:
        for data in as_bytes(np.ascontiguousarray(values)):
            found |= telling_windows(data)
    return found


@pytest.fixture(params=["memory_run", "float32_run", "int8_run", "mqtt_run", "tls_run"])
def run(request: pytest.FixtureRequest) -> FinishedRun:
    finished: FinishedRun = request.getfixturevalue(request.param)
    return finished


def personal_windows(run: FinishedRun) -> set[bytes]:
    """What would be heard of any device's personal weights, those of the bundle included."""
    initial = run.fleet.bundle.initial_weights(Group.PERSONAL)
    looked_for: set[bytes] = windows_of(initial)
    for device in run.fleet.devices:
        files = sorted(run.device_dir(device.name).glob("personal-*.safetensors"))
        assert len(files) == 2, "the newest and the one before"
        stored = [load_tensors(file)[0] for file in files]
        assert all(set(personal) == set(initial) for personal in stored)
        looked_for |= windows_of(stored[0], initial, stored[1])
        looked_for |= windows_of(stored[1], initial, stored[0])
    return looked_for


def test_a_capture_of_a_whole_run_holds_no_personal_byte(run: FinishedRun) -> None:
    readable, looked_for = everything_readable(run.messages), personal_windows(run)
    assert len(looked_for) > 100
    leaked = [window for window in looked_for if window in readable]
    assert leaked == []


@pytest.mark.parametrize("encoding", Encoding)
def test_personal_weights_that_were_sent_would_be_found(
    int8_run: FinishedRun, encoding: Encoding
) -> None:
    """The control: a codec as it must never be, for the personal group."""
    bundle, device = int8_run.fleet.bundle, int8_run.fleet.devices[0]
    file = max(int8_run.device_dir(device.name).glob("personal-*.safetensors"))
    codec = SharedCodec(bundle.manifest.layout(Group.PERSONAL))
    payload = codec.encode(
        load_tensors(file)[0], ModelLabel(1), encoding, bundle.initial_weights(Group.PERSONAL)
    )
    readable = everything_readable((("pfedfrz-bin/v1/memory/model/1/0", payload),))
    found = [window for window in personal_windows(int8_run) if window in readable]
    assert len(found) >= 5


def test_no_key_password_or_pem_is_in_a_message_or_a_log(run: FinishedRun) -> None:
    heard = b"\n".join(
        part for message in run.messages for part in (message[0].encode(), message[1])
    )
    # The control: this is what was said, and the public half of a key is found.
    assert b"coordinator/status" in heard
    assert b"round 1: train with" in run.logs
    secrets = secrets_below(run.directory)
    assert len(secrets) >= 4 * (1 + len(run.fleet.devices))
    for secret in (*secrets, b"-----BEGIN", b"PRIVATE KEY"):
        assert secret not in heard
        assert secret not in run.logs


def test_the_same_search_finds_every_shared_tensor(run: FinishedRun) -> None:
    """The control: the search above would find a tensor if it were there."""
    readable = everything_readable(run.messages)
    initial = run.fleet.bundle.initial_weights(Group.SHARED)
    for tensor in initial.values():
        windows = telling_windows(tensor.tobytes())
        assert windows
        assert all(window in readable for window in windows)


def as_it_travels(
    update: Parameters, base: Parameters, encoding: Encoding, largest: str
) -> NDArray[np.generic]:
    """The numbers of an update in which the search must find it."""
    if encoding is Encoding.FLOAT32:
        return update[largest]
    if encoding is Encoding.DELTA_FLOAT16:
        return (update[largest] - base[largest]).astype(np.float16)
    ordered = {name: base[name] for name in update}
    return quantize(joined(update) - joined(ordered))[0]


def test_the_same_search_finds_every_update_in_its_own_encoding(run: FinishedRun) -> None:
    """The control for each encoding: an update is found by the numbers that it carries."""
    readable = everything_readable(run.messages)
    codec = SharedCodec.for_manifest(run.fleet.bundle.manifest)
    topics = Topics(run.federation)
    base = run.fleet.bundle.initial_weights(Group.SHARED)
    payloads = transfers(run.messages)
    for device in run.fleet.devices:
        stem = topics.update_chunk(device.name, 1, 0).rpartition("/")[0]
        header, update = codec.decode(open_tensors(payloads[stem]).payload, base)
        assert header.encoding is run.encodings[device.name]
        largest = max(update, key=lambda name: update[name].size)
        windows = telling_windows(as_it_travels(update, base, header.encoding, largest).tobytes())
        assert windows
        assert sum(window in readable for window in windows) > len(windows) / 2


def test_every_topic_is_one_of_the_protocol(run: FinishedRun) -> None:
    for topic, payload in run.messages:
        assert topic.startswith(("pfedfrz/v1/", "pfedfrz-bin/v1/"))
        if topic.startswith("pfedfrz/"):
            payload.decode()
        else:
            assert len(split_chunks(payload)) == 1


def test_the_store_is_where_the_personal_weights_are(run: FinishedRun) -> None:
    digest = run.fleet.bundle.manifest.digest
    for device in run.fleet.devices:
        stored = PersonalStore(run.device_dir(device.name), digest).load()
        assert stored is not None
        assert stored.round == 3
