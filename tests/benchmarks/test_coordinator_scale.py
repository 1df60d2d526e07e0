"""The scale benchmark runs, loses nothing, and counts what can be counted by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.light_fleet.ledger import Ledger
from benchmarks.light_fleet.prepared import PreparedUpdates, make_bundle, parameters_for
from pfedfrz_protocol import SharedCodec, UpdateLabel

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "coordinator_scale.py"


def test_a_toy_run_accepts_every_update_and_counts_the_messages() -> None:
    options = ["--cases", "8/6", "--repeats", "2", "--payload-kb", "300", "--wave", "4", "--json"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (case,) = json.loads(done.stdout)["cases"]
    assert len(case["rounds"]) == 2
    for figures in case["rounds"]:
        assert (figures["accepted"], figures["rejected"], figures["missed"]) == (6, 0, 0)
        # An offer and two chunks; what is published is at least that.
        assert figures["messages_in"] >= 6 * 3
        assert figures["messages_out"] >= 6 * 2
        assert 6 * 0.28 < figures["upload_mb"] < 6 * 0.32
        assert 0 < figures["uploads_s"] <= figures["round_s"]
    assert 0 < case["peak_memory_mb"] < 500


def test_a_prepared_update_is_what_the_codec_reads_under_the_devices_own_label() -> None:
    bundle = make_bundle(parameters_for(100_000))
    updates = PreparedUpdates.make(bundle, 2)
    codec = SharedCodec.for_manifest(bundle.manifest)
    label = UpdateLabel("light-00007", "boot-7", 12, 107, "b" * 64)
    header, numbers = codec.decode_flat(updates.payload(7, label))
    assert header.label == label
    assert np.isfinite(numbers).all()
    _, other = codec.decode_flat(updates.payload(8, label))
    assert not np.array_equal(numbers, other)


def test_the_ledger_is_shared_and_says_what_is_under_way(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", senders=2)
    other = Ledger(tmp_path / "ledger")
    other.add_sent(0, 10)
    other.add_sent(1, 5)
    ledger.set_arrived(7)
    assert (ledger.under_way, other.under_way) == (8, 8)
    ledger.clear()
    assert other.under_way == 0
