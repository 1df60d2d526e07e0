"""A split as lists in JSON."""

from __future__ import annotations

import numpy as np
from json_mutation import change_json
from message_examples import nasty_json
from recipe import scratch

from pfedfrz_emulator.splits.from_file import FileSplit
from pfedfrz_protocol import ConfigurationError

LABELS = np.arange(40) % 3


def target(data: bytes) -> None:
    """Rows come from the training set, each once."""
    path = scratch() / "split.json"
    path.write_bytes(data)
    try:
        split = FileSplit(str(path)).split_labels(LABELS, 2, 6, 3, 0)
    except ConfigurationError:
        return
    rows = np.concatenate(split.indices)
    assert len(np.unique(rows)) == len(rows)
    assert rows.min() >= 0 and rows.max() < len(LABELS)


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    return change_json(data, limit, seed)


def seeds() -> dict[str, bytes]:
    return {
        "indices": b'{"indices":[[0,1,2,3],[4,5,6,7,8]]}',
        "labels": b'{"labels":[[0,1],[2]]}',
        "both": b'{"indices":[],"labels":[]}',
        "shared-row": b'{"indices":[[0,1,2,3],[3,4,5]]}',
        "huge-row": b'{"indices":[[0,1,4611686018427387904],[4,5,6]]}',
        "negative-row": b'{"indices":[[0,1,-1],[4,5,6]]}',
        "no-rows": b'{"indices":[[],[]]}',
        "huge-label": b'{"labels":[[4611686018427387904],[0]]}',
        "duplicated-list": b'{"labels":[[0],[1]],"labels":[[2],[1]]}',
        **nasty_json(),
    }
