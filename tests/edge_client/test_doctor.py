"""The doctor, over a real bundle, a real broker and real processes."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from changed_bundles import with_changed_graphs
from tiny_bundle import make_bundle

from pfedfrz.command import run
from pfedfrz_edge.doctor import Checkup, RuntimeFinding, check_board, predict_round
from pfedfrz_edge.doctor.findings import FeatureCost, StepCost
from pfedfrz_edge.runtimes.executorch_program import BINDING_VARIABLE
from pfedfrz_emulator.brokers import start_broker
from pfedfrz_export import export_bundle, save_bundle
from pfedfrz_models import build_model, method_partition, resolve_partition
from pfedfrz_protocol import (
    Bundle,
    ConfigurationError,
    Group,
    Hyperparameters,
    TrainableSet,
    find_method,
    write_bundle,
)
from pfedfrz_transport import open_access


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    method, model = find_method("pfedfrz"), build_model("mlp", 10, 0)
    bundle = export_bundle(
        model.module,
        name=model.name,
        input_spec=model.input,
        partition=method_partition(method, model, ("head",)),
        schedule=method.schedule(Hyperparameters()),
    )
    path = tmp_path_factory.mktemp("bundle") / "model.pfz"
    save_bundle(bundle, path)
    return path


@pytest.fixture(scope="module")
def three_runtimes() -> Bundle:
    model = build_model("mlp", 10, 0)
    return export_bundle(
        model.module,
        name=model.name,
        input_spec=model.input,
        partition=resolve_partition(model.parameter_names, model.presets, ["head"]),
        schedule=find_method("pfedfrz").schedule(Hyperparameters(epochs=2)),
        runtimes=["onnxruntime", "torch", "executorch"],
    )


def examine(path: Path, directory: Path, **changes: object) -> Checkup:
    options = {"state_dir": directory, "samples": 100, "test_samples": 50, **changes}
    return check_board(path, **options)  # type: ignore[arg-type]


def test_a_board_that_can_take_part_gets_a_measured_prognosis(
    bundle_path: Path, tmp_path: Path
) -> None:
    with start_broker("auto", tmp_path / "broker") as broker:
        checkup = examine(
            bundle_path, tmp_path / "not" / "yet" / "made", broker=open_access(broker.url)
        )
    assert checkup.faults == []
    (finding,) = checkup.runtimes
    assert set(finding.steps) == {TrainableSet.PERSONAL, TrainableSet.ALL}
    assert all(cost.wall_s > 0 and cost.cpu_s > 0 for cost in finding.steps.values())
    assert set(finding.features) == {TrainableSet.PERSONAL}
    assert finding.features[TrainableSet.PERSONAL].sample.wall_s > 0
    assert 20 << 20 < finding.peak_memory_bytes < 200 << 20
    (row,) = checkup.rounds
    assert row.train_s == pytest.approx(4 * sum(c.wall_s for c in finding.steps.values()))
    assert 0 < row.upload_bytes < row.download_bytes
    assert checkup.broker is not None
    assert checkup.broker.connect_s > 0


def test_every_runtime_of_a_bundle_is_measured_in_a_process_of_its_own(
    three_runtimes: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "three.pfz"
    save_bundle(three_runtimes, path)
    checkup = examine(path, tmp_path)
    assert {finding.runtime for finding in checkup.runtimes} == {*three_runtimes.manifest.runtimes}
    for finding in checkup.runtimes:
        assert finding.works, finding.fault
        assert set(finding.steps) == {TrainableSet.PERSONAL, TrainableSet.ALL}
        assert all(cost.wall_s > 0 for cost in finding.steps.values())
        assert finding.update_bytes > 0
    kept = {f.runtime for f in checkup.runtimes if f.features}
    assert kept == {"onnxruntime", "torch"}
    memory = {finding.runtime: finding.peak_memory_bytes for finding in checkup.runtimes}
    assert memory["onnxruntime"] < memory["torch"]
    assert [row.runtime for row in checkup.rounds] == [f.runtime for f in checkup.runtimes]
    assert checkup.faults == []


def test_what_does_not_work_is_said_beside_what_does(
    three_runtimes: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    broken = with_changed_graphs(three_runtimes, "torch", lambda c: c[:-60], "gradients_all.")
    save_bundle(broken, tmp_path / "broken.pfz")
    monkeypatch.setenv(BINDING_VARIABLE, "/nowhere/binding.so")
    arguments = ["doctor", str(tmp_path / "broken.pfz"), "--state-dir", str(tmp_path)]
    assert run(arguments) == 0
    said = capfd.readouterr().out
    assert "runtime   onnxruntime: works on cpu, " in said
    assert "ms from kept features" in said
    (torch_line,) = (line for line in said.splitlines() if "runtime   torch" in line)
    assert "does not work: the graph gradients of all for runtime torch" in torch_line
    (program_line,) = (line for line in said.splitlines() if "runtime   executorch" in line)
    assert "does not work: PFEDFRZ_EXECUTORCH_BINDING names /nowhere/binding.so" in program_line
    assert "a round   with onnxruntime" in said
    assert "a round   with torch" not in said
    assert said.splitlines()[-1] == "this board can take part"
    assert run([*arguments, "--runtime", "torch"]) == 1
    said = capfd.readouterr().out
    assert "error: no runtime of the bundle works here (torch: the graph" in said


def test_a_bundle_that_no_runtime_runs_is_a_fault_with_its_reason(tmp_path: Path) -> None:
    bundle = make_bundle()
    path = tmp_path / "broken.pfz"
    path.write_bytes(write_bundle(bundle.manifest, bundle.files))
    checkup = examine(path, tmp_path)
    (fault,) = checkup.faults
    assert "no runtime of the bundle works here" in fault
    assert "onnxruntime" in fault
    assert checkup.rounds == ()


def test_a_runtime_that_the_bundle_does_not_have_is_a_fault(
    bundle_path: Path, tmp_path: Path
) -> None:
    (finding,) = examine(bundle_path, tmp_path, only=("nonsense",)).runtimes
    assert finding.fault is not None
    assert "nonsense" in finding.fault


@pytest.mark.skipif(sys.platform != "linux", reason="signals of a dying process")
def test_a_runtime_that_crashes_is_a_finding_and_not_our_end(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (finding,) = examine(bundle_path, tmp_path).runtimes
    assert finding.fault is not None
    assert "killed by signal 6" in finding.fault


def test_a_broker_that_does_not_answer_is_a_fault(bundle_path: Path, tmp_path: Path) -> None:
    checkup = examine(
        bundle_path, tmp_path, broker=open_access("mqtt://127.0.0.1:1"), only=("none",)
    )
    assert any("127.0.0.1:1" in fault for fault in checkup.faults)


def test_a_full_disk_and_a_wrong_clock_are_faults(bundle_path: Path, tmp_path: Path) -> None:
    checkup = examine(bundle_path, tmp_path)
    full = msgspec.structs.replace(checkup.disk, free_bytes=10)
    unset = msgspec.structs.replace(checkup.clock, plausible=False, now="1970-01-01")
    worse = msgspec.structs.replace(checkup, disk=full, clock=unset)
    assert any("10 bytes free" in fault for fault in worse.faults)
    assert any("1970-01-01" in fault for fault in worse.faults)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pfz"
    path.write_bytes(b"not a bundle")
    with pytest.raises(ConfigurationError, match=r"x\.pfz"):
        examine(path, tmp_path)


def test_the_prognosis_counts_every_step_of_every_phase() -> None:
    bundle = make_bundle()
    finding = RuntimeFinding(
        "onnxruntime",
        steps={TrainableSet.PERSONAL: StepCost(1.0, 0.5), TrainableSet.ALL: StepCost(10.0, 5.0)},
        predict_sample_s=0.1,
        predict_sample_cpu_s=0.05,
        update_bytes=77,
    )
    row = predict_round(bundle.manifest, finding, bundle.initial_weights(Group.SHARED), 33, 5)
    assert row.train_s == 2 * (1.0 + 10.0)
    assert row.evaluate_s == pytest.approx(1.0)
    assert row.cpu_s == pytest.approx(2 * 5.5 + 0.5)
    assert row.upload_bytes == 77


def test_the_prognosis_of_several_epochs_runs_the_frozen_part_once() -> None:
    bundle = make_bundle()
    schedule = find_method("pfedfrz").schedule(Hyperparameters(epochs=5, batch_size=16))
    manifest = msgspec.structs.replace(bundle.manifest, schedule=schedule)
    finding = RuntimeFinding(
        "onnxruntime",
        steps={TrainableSet.PERSONAL: StepCost(100.0, 50.0), TrainableSet.ALL: StepCost(10.0, 5.0)},
        features={
            TrainableSet.PERSONAL: FeatureCost(StepCost(1.0, 0.5), StepCost(2.0, 0.25)),
        },
    )
    row = predict_round(manifest, finding, bundle.initial_weights(Group.SHARED), 33, 0)
    assert row.train_s == 33 * 1.0 + 5 * 3 * (2.0 + 10.0)
    assert row.cpu_s == 33 * 0.5 + 5 * 3 * (0.25 + 5.0)
