"""One case, measured in this process: the step, and the phases of a round."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import torch

from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.feature_cache import FeatureBudget
from pfedfrz_edge.local_training import LocalTraining
from pfedfrz_edge.runtimes import FeatureRuntime, Runtime, load_runtime
from pfedfrz_export import export_bundle, save_bundle
from pfedfrz_models import NamedModel, build_model, resolve_partition
from pfedfrz_protocol import (
    Bundle,
    Group,
    Hyperparameters,
    Phase,
    Purpose,
    Schedule,
    TrainableSet,
    find_method,
    read_bundle,
)

from .cases import BATCH, EPOCHS, Case, PhaseRow, StepRow
from .material import all_weights, random_inputs
from .products import GEMM_FLOP, gemm, step_flop
from .turns import medians_ms

__all__ = ["measure"]

PHASE_REPEATS = 3
GEMM_REPEATS = 10
LEARNING_RATE = 1e-4


def measure(case: Case, path: Path, *, repeats: int, samples: int) -> StepRow:
    """The row of a case, its memory still missing; the bundle is left at `path`.

    A bundle that is there already is used as it is.
    """
    torch.set_num_threads(1)
    model = build_model(case.model, case.classes, seed=0)
    export_s = None
    if not path.exists():
        start = time.process_time()
        save_bundle(_export(case, model), path)
        export_s = time.process_time() - start
    bundle = read_bundle(path.read_bytes(), str(path))
    runtime = load_runtime(case.runtime, bundle, "cpu")
    x = random_inputs(model.input, BATCH)
    y = np.random.default_rng(1).integers(0, case.classes, BATCH)
    weights, weight = all_weights(bundle), np.ones(BATCH, np.float32)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    parameters = list(model.module.parameters())

    def eager() -> None:
        loss = torch.nn.functional.cross_entropy(model.module(tensors[0]), tensors[1])
        torch.autograd.grad(loss, parameters)

    eager_ms, all_ms, personal_ms = medians_ms(
        (
            eager,
            lambda: runtime.gradients(TrainableSet.ALL, weights, x, y, weight),
            lambda: runtime.gradients(TrainableSet.PERSONAL, weights, x, y, weight),
        ),
        repeats,
    )
    (gemm_ms,) = medians_ms((gemm(),), GEMM_REPEATS)  # in turns it would empty their caches
    personal = [row.name for row in bundle.manifest.parameters if row.group is Group.PERSONAL]
    graphs = bundle.manifest.runtimes[case.runtime]
    return StepRow(
        case,
        eager_ms,
        all_ms,
        personal_ms,
        GEMM_FLOP / gemm_ms / 1e6,
        step_flop(model.module, *tensors, list(weights)) / 1e6,
        step_flop(model.module, *tensors, personal) / 1e6,
        _phases(bundle, runtime, samples),
        export_s,
        sum({f.file: f.bytes for f in (graphs.predict, *graphs.gradients.values())}.values()) / 1e3,
        graphs.batch_size,
    )


def _export(case: Case, model: NamedModel) -> Bundle:
    return export_bundle(
        model.module,
        name=case.model,
        input_spec=model.input,
        partition=resolve_partition(model.parameter_names, model.presets, [case.personal]),
        schedule=find_method("pfedfrz").schedule(Hyperparameters(batch_size=BATCH)),
        runtimes=[case.runtime],
    )


def _phases(bundle: Bundle, runtime: Runtime, samples: int) -> tuple[PhaseRow, ...]:
    """The phases as a device runs them, with and without kept features; none without features."""
    personal = TrainableSet.PERSONAL
    if not isinstance(runtime, FeatureRuntime) or not runtime.feature_shapes(personal):
        return ()
    return tuple(_phase(bundle, runtime, samples, epochs) for epochs in EPOCHS)


def _phase(bundle: Bundle, runtime: Runtime, samples: int, epochs: int) -> PhaseRow:
    manifest = bundle.manifest
    x = random_inputs(manifest.input, samples)
    y = np.random.default_rng(2).integers(0, manifest.input.classes, samples)
    data = LocalData(LabelledData(x, y), None, manifest.input.classes)

    def phase(trainable: TrainableSet, budget: FeatureBudget) -> Callable[[], object]:
        schedule = Schedule("one phase", (Phase(trainable, epochs, BATCH, LEARNING_RATE),))
        alone = msgspec.structs.replace(manifest, schedule=schedule)
        training = LocalTraining(runtime, alone, data, "device", 0, budget=budget)
        groups = [bundle.initial_weights(group) for group in (Group.SHARED, Group.PERSONAL)]
        return lambda: training.run(1, Purpose.TRAIN, *groups)

    joint_ms, frozen_ms, cached_ms = medians_ms(
        (
            phase(TrainableSet.ALL, FeatureBudget()),
            phase(TrainableSet.PERSONAL, FeatureBudget(memory_bytes=0)),
            phase(TrainableSet.PERSONAL, FeatureBudget()),
        ),
        PHASE_REPEATS,
        warm_up=1,
    )
    return PhaseRow(epochs, joint_ms, frozen_ms, cached_ms if epochs > 1 else None)
