"""The runtime executorch on a device: any batch, both bindings, no torch, errors of one line."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from executorch_bundles import (
    BATCH,
    BUILD,
    CLASSES,
    bundle_for,
    compiled_library,
    reference,
    trained_by,
    weights_of,
)

from pfedfrz_edge.runtimes import RUNTIMES, executorch_program, load_runtime
from pfedfrz_edge.runtimes.executorch import ExecutorchRuntime
from pfedfrz_edge.runtimes.executorch_compiled import CompiledBinding
from pfedfrz_edge.runtimes.executorch_official import OfficialBinding
from pfedfrz_edge.runtimes.executorch_program import BINDING_VARIABLE, Binding
from pfedfrz_protocol import (
    BundleError,
    ConfigurationError,
    OperationError,
    TrainableSet,
    read_bundle,
    write_bundle,
)

pytestmark = pytest.mark.executorch

TOLERANCE = 1e-5
KINDS = (TrainableSet.PERSONAL, TrainableSet.ALL)


def binding_named(name: str) -> Binding:
    return OfficialBinding() if name == "official" else CompiledBinding(compiled_library())


def program_of(name: str) -> bytes:
    bundle = bundle_for(name)
    return bundle.content(bundle.manifest.runtimes["executorch"].predict)


@functools.cache
def runtime_for(name: str, binding: str = "compiled") -> ExecutorchRuntime:
    return ExecutorchRuntime(program_of(name), binding=binding_named(binding))


def draw(name: str, size: int, seed: int = 0):
    random = np.random.default_rng(seed)
    shape = bundle_for(name).manifest.input.shape
    x = random.standard_normal((size, *shape)).astype(np.float32)
    weight = random.uniform(0.1, 2.0, size).astype(np.float32)
    if size > 2:
        weight[1] = 0.0
    return x, random.integers(0, CLASSES, size), weight


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 8, BATCH, 3 * BATCH + 5])
@pytest.mark.parametrize("binding", ["official", "compiled"])
def test_a_batch_of_any_size_has_torchs_gradients(
    binding: str, size: int, kind: TrainableSet
) -> None:
    """One sample, an odd number, exactly what fits at a time, the schedule's, and more."""
    runtime = runtime_for("cnn-small", binding)
    assert runtime.batch_size == 8
    bundle = bundle_for("cnn-small")
    weights = weights_of(bundle)
    x, y, weight = draw("cnn-small", size)
    loss, wanted = reference("cnn-small", weights, x, y, weight)
    step = runtime.gradients(kind, weights, x, y, weight)
    assert step.loss == pytest.approx(loss, rel=TOLERANCE)
    names = trained_by(bundle, kind)
    assert list(step.gradients) == names
    largest = max(float(np.abs(wanted[name]).max()) for name in names)
    for name in names:
        assert np.abs(step.gradients[name] - wanted[name]).max() <= TOLERANCE * largest, name


def test_samples_of_weight_zero_count_for_nothing_wherever_they_are() -> None:
    runtime = runtime_for("cnn-small")
    weights = weights_of(bundle_for("cnn-small"))
    x, y, weight = draw("cnn-small", 20)
    weight[4:] = 0.0  # the last parts hold nothing that counts
    few = runtime.gradients(TrainableSet.ALL, weights, x[:4], y[:4], weight[:4])
    many = runtime.gradients(TrainableSet.ALL, weights, x, y, weight)
    assert (few.loss, few.correct) == (many.loss, many.correct)
    for name, gradient in few.gradients.items():
        np.testing.assert_array_equal(gradient, many.gradients[name])


def test_hits_are_weighted() -> None:
    runtime = runtime_for("mlp")
    weights = weights_of(bundle_for("mlp"))
    x, _, weight = draw("mlp", 2 * BATCH + 3)
    y = runtime.predict(weights, x).argmax(1)
    y[::2] = (y[::2] + 1) % CLASSES
    step = runtime.gradients(TrainableSet.PERSONAL, weights, x, y, weight)
    assert step.correct == pytest.approx(float(weight[1::2].sum()), rel=1e-6)


@pytest.mark.parametrize("size", [0, 1, 5, 8, 19])
def test_logits_do_not_depend_on_how_a_batch_is_cut(size: int) -> None:
    runtime = runtime_for("cnn-small")
    weights = weights_of(bundle_for("cnn-small"))
    x, _, _ = draw("cnn-small", 19)
    one_by_one = [runtime.predict(weights, x[i : i + 1]) for i in range(19)]
    logits = runtime.predict(weights, x[:size])
    assert logits.shape == (size, CLASSES)
    assert logits.dtype == np.float32
    for row, single in zip(logits, one_by_one, strict=False):
        np.testing.assert_allclose(row, single[0], rtol=0, atol=1e-6 * np.abs(single).max())


def test_what_is_returned_is_not_overwritten_and_what_is_given_is_not_changed() -> None:
    for binding in ("official", "compiled"):
        runtime = runtime_for("mlp", binding)
        weights = weights_of(bundle_for("mlp"))
        for array in weights.values():
            array.flags.writeable = False  # as the device does with what is frozen
        before = {name: array.copy() for name, array in weights.items()}
        x, y, weight = draw("mlp", BATCH)
        first = runtime.gradients(TrainableSet.ALL, weights, x, y, weight)
        kept = {name: array.copy() for name, array in first.gradients.items()}
        runtime.gradients(TrainableSet.ALL, weights, -x, y, weight)
        runtime.predict(weights, 3 * x)
        for name, array in kept.items():
            np.testing.assert_array_equal(first.gradients[name], array)
            np.testing.assert_array_equal(weights[name], before[name])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_twenty_steps_stay_with_torch_and_frozen_weights_do_not_move(seed: int) -> None:
    bundle = bundle_for("cnn-small")
    runtime = runtime_for("cnn-small")
    start = weights_of(bundle)
    ours, theirs = dict(start), dict(start)
    for step in range(20):
        kind = KINDS[step >= 10]
        x, y, weight = draw("cnn-small", BATCH, seed=100 * seed + step)
        names = trained_by(bundle, kind)
        found = runtime.gradients(kind, ours, x, y, weight).gradients
        _, wanted = reference("cnn-small", theirs, x, y, weight)
        for name in names:
            ours[name] = ours[name] - np.float32(0.05) * found[name]
            theirs[name] = theirs[name] - np.float32(0.05) * wanted[name]
        if step == 9:
            for name in set(start) - set(names):
                assert ours[name].tobytes() == start[name].tobytes()
    largest = max(float(np.abs(array).max()) for array in theirs.values())
    for name, array in theirs.items():
        assert np.abs(ours[name] - array).max() <= 1e-5 * largest, name


WITHOUT_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('torch', 'onnx', 'onnxruntime', 'pfedfrz_export'):
            raise ImportError(f'{name} is not on a board')
sys.meta_path.insert(0, Block())
from pathlib import Path
import numpy as np
from pfedfrz_edge.runtimes import load_runtime
from pfedfrz_protocol import Group, TrainableSet, read_bundle
folder = Path(sys.argv[1])
bundle = read_bundle((folder / 'model.pfz').read_bytes(), 'model.pfz')
runtime = load_runtime('executorch', bundle)
assert runtime.binding.name == 'compiled'
weights = {n: a for g in Group for n, a in bundle.initial_weights(g).items()}
batch = np.load(folder / 'batch.npz')
found = {'logits': runtime.predict(weights, batch['x'])}
for kind in (TrainableSet.PERSONAL, TrainableSet.ALL):
    step = runtime.gradients(kind, weights, batch['x'], batch['y'], batch['weight'])
    found[f'{kind.value}.loss'] = np.float64(step.loss)
    found |= {f'{kind.value}.{name}': array for name, array in step.gradients.items()}
assert 'torch' not in sys.modules
np.savez(folder / 'found.npz', **found)
"""


def test_without_torch_the_results_are_the_same_bits(tmp_path: Path) -> None:
    bundle = bundle_for("cnn-small")
    (tmp_path / "model.pfz").write_bytes(write_bundle(bundle.manifest, bundle.files))
    x, y, weight = draw("cnn-small", 21)
    np.savez(tmp_path / "batch.npz", x=x, y=y, weight=weight)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(tmp_path)],
        env={**os.environ, BINDING_VARIABLE: str(compiled_library())},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = np.load(tmp_path / "found.npz")
    runtime, weights = runtime_for("cnn-small", "official"), weights_of(bundle)
    np.testing.assert_array_equal(found["logits"], runtime.predict(weights, x))
    for kind in KINDS:
        step = runtime.gradients(kind, weights, x, y, weight)
        assert found[f"{kind.value}.loss"] == step.loss
        for name, gradient in step.gradients.items():
            np.testing.assert_array_equal(found[f"{kind.value}.{name}"], gradient)


def test_the_runtime_is_had_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RUNTIMES["executorch"].extra == "executorch"
    monkeypatch.setenv(BINDING_VARIABLE, str(compiled_library()))
    runtime = load_runtime("executorch", bundle_for("mlp"))
    assert isinstance(runtime, ExecutorchRuntime)
    assert (runtime.name, runtime.binding.name) == ("executorch", "compiled")


def complaint(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("binding", ["official", "compiled"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.7, 0.99])
def test_a_truncated_program_is_refused(binding: str, part: float) -> None:
    content = program_of("mlp")
    with pytest.raises(ConfigurationError, match="cannot be loaded") as error:
        ExecutorchRuntime(content[: int(part * len(content))], binding=binding_named(binding))
    assert "export the bundle again" in complaint(error)


def test_a_bundle_whose_program_was_changed_is_refused_before_it_is_loaded() -> None:
    bundle = bundle_for("mlp")
    data = bytearray(write_bundle(bundle.manifest, bundle.files))
    place = data.index(program_of("mlp")) + 1000
    data[place] ^= 1
    with pytest.raises(BundleError, match=r"executorch/model\.pte") as error:
        read_bundle(bytes(data), "changed.pfz")
    complaint(error)


def test_a_program_for_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from pfedfrz_edge.runtimes import executorch

    monkeypatch.setattr(executorch, "installed_version", lambda: "1.4.1")
    with pytest.raises(ConfigurationError) as error:
        ExecutorchRuntime(program_of("mlp"), binding=OfficialBinding())
    assert "exported for executorch 1.5.1, but 1.4.1 is installed" in complaint(error)
    assert "pip install --no-deps executorch==1.5.1" in complaint(error)


def test_a_binding_for_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from pfedfrz_edge.runtimes import executorch_compiled

    monkeypatch.setattr(executorch_compiled, "installed_version", lambda: "1.6.0")
    with pytest.raises(ConfigurationError) as error:
        CompiledBinding(compiled_library())
    assert "built for executorch 1.5.1, but 1.6.0 is installed" in complaint(error)
    assert "build-executorch-binding.sh" in complaint(error)


@pytest.mark.parametrize("binding", ["official", "compiled"])
def test_a_backend_that_did_not_start_is_said(
    binding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where /proc or /sys is not mounted; ExecuTorch itself says only `error 32`."""
    from pfedfrz_edge.runtimes import executorch_compiled, executorch_official

    module = {"official": executorch_official, "compiled": executorch_compiled}[binding]
    monkeypatch.setattr(module, "XNNPACK", "NoSuchBackend")
    with pytest.raises(ConfigurationError) as error:
        ExecutorchRuntime(program_of("mlp"), binding=binding_named(binding))
    assert "XNNPACK did not start" in complaint(error)
    assert "/proc and /sys" in complaint(error)


def test_a_library_that_is_not_one_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "libpfedfrz_executorch.so"
    broken.write_bytes(b"not a library")
    with pytest.raises(ConfigurationError, match="cannot be loaded") as error:
        CompiledBinding(broken)
    complaint(error)
    foreign = executorch_program.package_folder() / "lib" / "libexecutorch.so"
    with pytest.raises(ConfigurationError, match=r"cannot be loaded: .*pfedfrz_") as error:
        CompiledBinding(foreign)
    complaint(error)


def test_a_missing_library_of_the_package_is_named(tmp_path: Path) -> None:
    package = executorch_program.package_folder()
    for folder in ("include", "lib"):
        shutil.copytree(package / folder, tmp_path / folder)
    done = subprocess.run(
        [str(BUILD)],
        env={**os.environ, "EXECUTORCH": str(tmp_path), "EXECUTORCH_VERSION": "1.5.1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    built = tmp_path / "lib" / "libpfedfrz_executorch.so"
    assert (done.returncode, done.stdout) == (0, f"{built}\n"), done.stderr
    (tmp_path / "lib" / "libexecutorch_backend_xnnpack.so").unlink()
    # In a process of its own: here the library may be loaded already.
    script = (
        "import sys; from pathlib import Path\n"
        "from pfedfrz_protocol import ConfigurationError\n"
        "from pfedfrz_edge.runtimes.executorch_compiled import CompiledBinding\n"
        "try: CompiledBinding(Path(sys.argv[1]))\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(built)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.count("\n") == 1
    assert "libexecutorch_backend_xnnpack.so" in done.stdout
    assert "install executorch again" in done.stdout


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(BINDING_VARIABLE, str(tmp_path / "none.so"))
    with pytest.raises(ConfigurationError) as error:
        load_runtime("executorch", bundle_for("mlp"))
    assert "none.so, which does not exist" in complaint(error)


def test_a_broken_library_is_never_passed_over_for_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setenv(BINDING_VARIABLE, str(broken))
    with pytest.raises(ConfigurationError, match=r"broken\.so cannot be loaded"):
        load_runtime("executorch", bundle_for("mlp"))


def test_without_the_package_the_board_and_the_desktop_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(BINDING_VARIABLE, raising=False)
    monkeypatch.setattr(executorch_program.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as error:
        load_runtime("executorch", bundle_for("mlp"))
    assert "pip install --no-deps executorch==1.5.1" in complaint(error)
    assert "pfedfrz[executorch]" in complaint(error)


@pytest.mark.parametrize("binding", ["official", "compiled"])
def test_what_does_not_fit_the_program_is_one_line(binding: str) -> None:
    runtime = runtime_for("mlp", binding)
    weights = weights_of(bundle_for("mlp"))
    x, y, weight = draw("mlp", 3)
    with pytest.raises(OperationError, match=r"input \d+ of gradients_all is") as error:
        runtime.gradients(TrainableSet.ALL, {**weights, "fc1.bias": x}, x, y, weight)
    complaint(error)
    with pytest.raises(OperationError, match="wanted float32") as error:
        runtime.predict(weights, x[:, :, :20])
    complaint(error)
    with pytest.raises(ConfigurationError, match="no graph for the gradients of shared"):
        runtime.gradients(TrainableSet.SHARED, weights, x, y, weight)


def test_a_manifest_that_says_another_batch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import msgspec

    bundle = bundle_for("mlp")
    graphs = msgspec.structs.replace(bundle.manifest.runtimes["executorch"], batch_size=5)
    manifest = msgspec.structs.replace(bundle.manifest, runtimes={"executorch": graphs})
    other = read_bundle(write_bundle(manifest, bundle.files), "other.pfz")
    monkeypatch.setenv(BINDING_VARIABLE, str(compiled_library()))
    with pytest.raises(ConfigurationError, match=f"takes {BATCH} samples at a time"):
        load_runtime("executorch", other)
