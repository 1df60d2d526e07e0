"""Promise 1: no byte of a personal tensor crosses the broker, in any encoding the codec knows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import zstandard
from emulated_runs import FinishedRun
from numpy.typing import NDArray

from pfedfrz_edge.personal_store import PersonalStore
from pfedfrz_protocol import (
    Encoding,
    Group,
    Parameters,
    SharedCodec,
    Topics,
    open_tensors,
    split_chunks,
)
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


def everything_readable(run: FinishedRun) -> bytes:
    """All that a listener can get at: raw messages, and zstd bodies unpacked and unshuffled."""
    readable = [payload for _, payload in run.messages]
    for payload in transfers(run.messages).values():
        readable.append(payload)
        start = payload.find(_ZSTD_MAGIC)
        if start >= 0:
            unpacked = zstandard.ZstdDecompressor().decompress(payload[start:])
            readable.append(unpacked)
            readable.append(np.frombuffer(unpacked, np.uint8).reshape(2, -1).T.tobytes())
    return b"".join(readable)


def as_bytes(values: NDArray[np.float32]) -> Iterator[bytes]:
    """The values in every form that an encoding could give them."""
    yield values.tobytes()
    half = values.astype(np.float16).tobytes()
    yield half
    for width, data in ((4, values.tobytes()), (2, half)):
        yield np.frombuffer(data, np.uint8).reshape(-1, width).T.tobytes()


def telling_windows(data: bytes) -> set[bytes]:
    """Pieces that cannot be there by chance: long, and not mostly one byte."""
    step = max(WINDOW, len(data) // 8)
    pieces = (data[start : start + WINDOW] for start in range(0, len(data) - WINDOW + 1, step))
    return {piece for piece in pieces if len(set(piece)) >= WINDOW // 2}


def windows_of(tensors: Parameters, base: Parameters) -> set[bytes]:
    """Windows of the tensors and of their difference to a base, in every form."""
    found: set[bytes] = set()
    for name, tensor in tensors.items():
        for values in (tensor, tensor - base[name]):
            for data in as_bytes(np.ascontiguousarray(values)):
                found |= telling_windows(data)
    return found


@pytest.fixture(params=["memory_run", "mqtt_run"])
def run(request: pytest.FixtureRequest) -> FinishedRun:
    finished: FinishedRun = request.getfixturevalue(request.param)
    return finished


def test_a_capture_of_a_whole_run_holds_no_personal_byte(run: FinishedRun) -> None:
    readable = everything_readable(run)
    bundle = run.fleet.bundle
    initial = bundle.initial_weights(Group.PERSONAL)
    looked_for: set[bytes] = windows_of(initial, {n: np.zeros_like(t) for n, t in initial.items()})
    for device in run.fleet.devices:
        files = sorted(run.device_dir(device.name).glob("personal-*.safetensors"))
        assert len(files) == 2, "the newest and the one before"
        for file in files:
            personal, _ = load_tensors(file)
            assert set(personal) == set(initial)
            looked_for |= windows_of(personal, initial)
    assert len(looked_for) > 100
    leaked = [window for window in looked_for if window in readable]
    assert leaked == []


def test_the_same_search_finds_every_shared_tensor(run: FinishedRun) -> None:
    """The control: the search above would find a tensor if it were there."""
    readable = everything_readable(run)
    initial = run.fleet.bundle.initial_weights(Group.SHARED)
    for tensor in initial.values():
        windows = telling_windows(tensor.tobytes())
        assert windows
        assert all(window in readable for window in windows)


def test_the_same_search_finds_every_update_in_its_own_encoding(run: FinishedRun) -> None:
    """The control for `delta-float16`: an update is found by the difference that it carries."""
    readable = everything_readable(run)
    codec = SharedCodec.for_manifest(run.fleet.bundle.manifest)
    topics = Topics("captured" if run.messages[0][0].split("/")[2] == "captured" else "memory")
    base = run.fleet.bundle.initial_weights(Group.SHARED)
    payloads = transfers(run.messages)
    for device in run.fleet.devices:
        stem = topics.update_chunk(device.name, 1, 0).rpartition("/")[0]
        header, update = codec.decode(open_tensors(payloads[stem]).payload, base)
        assert header.encoding is Encoding.DELTA_FLOAT16
        largest = max(update, key=lambda name: update[name].size)
        step = (update[largest] - base[largest]).astype(np.float16)
        windows = telling_windows(step.tobytes())
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
