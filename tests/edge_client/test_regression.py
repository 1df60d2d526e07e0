"""A device whose labels are numbers: data from a file, training, and what it reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pfedfrz
from pfedfrz_edge.batches import epoch_batches, epoch_order
from pfedfrz_edge.data import LocalData, load_labelled
from pfedfrz_edge.doctor.probe import measure_runtime
from pfedfrz_edge.local_training import LocalTraining
from pfedfrz_edge.runtimes import load_runtime
from pfedfrz_protocol import Bundle, Group, LossKind, Purpose


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    torch.manual_seed(0)
    return pfedfrz.export(
        nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2)),
        torch.zeros(1, 4),
        personal="head",
        hyperparameters=pfedfrz.Hyperparameters(epochs=4, batch_size=8, learning_rate=0.1),
        loss="mean-squared-error",
        name="regression",
    )


@pytest.fixture
def data(bundle: Bundle, tmp_path: Path) -> LocalData:
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 4), np.float32)
    y = np.stack([x[:, 0] - x[:, 1], 0.5 * x[:, 2]], 1)
    np.savez(tmp_path / "train.npz", x=x[:40], y=y[:40])
    np.savez(tmp_path / "test.npz", x=x[40:], y=y[40:])
    spec, loss = bundle.manifest.input, bundle.manifest.loss
    train, test = (
        load_labelled(tmp_path / f"{name}.npz", spec, loss) for name in ("train", "test")
    )
    return LocalData(train, test, spec.classes)


def test_training_lowers_the_loss_and_reports_it_instead_of_an_accuracy(
    bundle: Bundle, data: LocalData
) -> None:
    runtime = load_runtime("onnxruntime", bundle)
    training = LocalTraining(runtime, bundle.manifest, data, "device", 1)
    groups = [bundle.initial_weights(group) for group in (Group.SHARED, Group.PERSONAL)]
    update = training.run(1, Purpose.TRAIN, *groups)
    report = update.report
    assert (report.received, report.local) == (None, None)
    assert report.received_loss is not None
    assert report.local_loss is not None
    assert report.local_loss < 0.5 * report.received_loss
    assert data.test is not None
    outputs = runtime.predict(update.shared | update.personal, data.test.x)
    assert report.local_loss == pytest.approx(float(((outputs - data.test.y) ** 2).mean()))


def test_the_trajectory_is_torchs(bundle: Bundle, data: LocalData) -> None:
    assert bundle.manifest.loss.kind is LossKind.MEAN_SQUARED_ERROR
    runtime = load_runtime("onnxruntime", bundle)
    groups = [bundle.initial_weights(group) for group in (Group.SHARED, Group.PERSONAL)]
    start = {n: torch.from_numpy(a.copy()) for group in groups for n, a in group.items()}
    update = LocalTraining(runtime, bundle.manifest, data, "device", 1).run(
        1, Purpose.TRAIN, *groups
    )
    module = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
    module.load_state_dict(start)
    x, y = torch.from_numpy(data.train.x), torch.from_numpy(data.train.y)
    for index, trained in enumerate((["2.weight", "2.bias"], list(start))):
        parameters = [p for n, p in module.named_parameters() if n in trained]
        for epoch in range(4):
            for rows in epoch_batches(epoch_order(1, "device", 1, str(index), epoch, 40), 8):
                loss = nn.functional.mse_loss(module(x[rows]), y[rows])
                with torch.no_grad():
                    for parameter, gradient in zip(
                        parameters, torch.autograd.grad(loss, parameters), strict=True
                    ):
                        parameter -= 0.1 * gradient
    for name, parameter in module.named_parameters():
        found = (update.shared | update.personal)[name]
        np.testing.assert_allclose(found, parameter.detach().numpy(), rtol=0, atol=1e-5)


def test_the_doctor_measures_it_too(bundle: Bundle) -> None:
    finding = measure_runtime(bundle, "onnxruntime")
    assert finding.fault is None
    assert finding.update_bytes > 0
