"""What the examination of an offered bundle finds, without its process."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from changed_bundles import with_changed_graphs

from pfedfrz_edge.configuration import DataSettings, DeviceSettings
from pfedfrz_edge.data import LocalData
from pfedfrz_edge.runtimes import StepResult
from pfedfrz_edge.runtimes.onnxruntime import OnnxRuntime
from pfedfrz_edge.self_test import examine
from pfedfrz_export import save_bundle
from pfedfrz_protocol import Bundle, PfedfrzError, TrainableSet, write_bundle


@pytest.fixture
def settings(tmp_path: Path, wide_data: LocalData) -> DeviceSettings:
    np.savez(tmp_path / "train.npz", x=wide_data.train.x, y=wide_data.train.y)
    data = DataSettings(str(tmp_path / "train.npz"))
    return DeviceSettings("lab", "me", tmp_path / "m.pfz", tmp_path / "state", data)


def fault(bundle: Bundle, settings: DeviceSettings, digest: str | None = None) -> str:
    """The line about a bundle that does not work here."""
    path = Path(settings.data.train).with_name("offered.pfz")
    path.write_bytes(write_bundle(bundle.manifest, bundle.files))
    with pytest.raises(PfedfrzError) as caught:
        examine(path, digest or bundle.manifest.digest, settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bundle_that_works_is_found_to(wide_bundle: Bundle, settings: DeviceSettings) -> None:
    save_bundle(wide_bundle, settings.bundle)
    examine(settings.bundle, wide_bundle.manifest.digest, settings)


def test_another_bundle_than_was_offered(wide_bundle: Bundle, settings: DeviceSettings) -> None:
    assert "another bundle than was offered" in fault(wide_bundle, settings, "0" * 64)


def test_a_runtime_that_it_has_no_graphs_for(wide_bundle: Bundle, settings: DeviceSettings) -> None:
    other = msgspec.structs.replace(settings, runtime="torch")
    assert "has no graphs for runtime torch" in fault(wide_bundle, other)


def test_data_that_do_not_fit(wide_bundle: Bundle, settings: DeviceSettings) -> None:
    np.savez(settings.data.train, x=np.zeros((3, 7), np.float32), y=np.zeros(3, np.int64))
    assert "samples have shape (7,)" in fault(wide_bundle, settings)


def test_graphs_that_cannot_be_loaded(wide_bundle: Bundle, settings: DeviceSettings) -> None:
    noise = with_changed_graphs(wide_bundle, "onnxruntime", lambda graph: graph[::-1])
    assert "cannot load the graph" in fault(noise, settings)


@pytest.mark.parametrize("damaged", [b"", b"PK", b"x" * 5000])
def test_what_is_no_archive(damaged: bytes, settings: DeviceSettings) -> None:
    settings.bundle.write_bytes(damaged)
    with pytest.raises(PfedfrzError, match="not a pfedfrz bundle"):
        examine(settings.bundle, "0" * 64, settings)


@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_gradients_that_are_no_numbers(
    part: str, wide_bundle: Bundle, settings: DeviceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OnnxRuntime.gradients

    def bad(self: OnnxRuntime, kind: TrainableSet, *values: object) -> StepResult:
        found = real(self, kind, *values)  # type: ignore[arg-type]
        name = next(iter(found.gradients))
        if part == "loss":
            return StepResult(float("nan"), found.correct, found.gradients)
        found.gradients[name] = np.full_like(found.gradients[name], np.inf)
        return found

    monkeypatch.setattr(OnnxRuntime, "gradients", bad)
    assert f"the {part}" in fault(wide_bundle, settings)
