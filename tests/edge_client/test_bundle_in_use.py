"""Whoever looks from beside the device finds the same bundle and stores as the device itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundle import make_bundle

from pfedfrz_edge.bundle_homes import BundleHomes
from pfedfrz_edge.bundle_in_use import bundle_that_runs, bundle_that_was_trained
from pfedfrz_edge.configuration import DataSettings, DeviceSettings
from pfedfrz_protocol import (
    Bundle,
    BundleOffer,
    ConfigurationError,
    describe_transfer,
    write_bundle,
)
from pfedfrz_storage import read_bundle_file


def write(path: Path, bundle: Bundle) -> Bundle:
    path.write_bytes(write_bundle(bundle.manifest, bundle.files))
    return read_bundle_file(path)


@pytest.fixture
def settings(tmp_path: Path) -> DeviceSettings:
    write(tmp_path / "m.pfz", make_bundle())
    (tmp_path / "state").mkdir()
    return DeviceSettings(
        "lab", "me", tmp_path / "m.pfz", tmp_path / "state", DataSettings("x.npz")
    )


@pytest.fixture
def homes(settings: DeviceSettings) -> BundleHomes:
    return BundleHomes(settings.state_dir, read_bundle_file(settings.bundle))


def install(homes: BundleHomes, bundle: Bundle) -> None:
    archive = write_bundle(bundle.manifest, bundle.files)
    homes.folder.mkdir(parents=True, exist_ok=True)
    homes.offered.write_bytes(archive)
    homes.install(BundleOffer(1, bundle.manifest.digest, describe_transfer(archive)))


def test_at_first_it_is_the_configured_one_in_the_state_directory(
    settings: DeviceSettings, homes: BundleHomes
) -> None:
    for found in (bundle_that_runs(settings), bundle_that_was_trained(settings)):
        assert found.bundle.manifest.digest == homes.active
        assert (found.path, found.home) == (settings.bundle, settings.state_dir) == (
            settings.bundle, homes.home)  # fmt: skip


def test_on_trial_another_one_runs_and_the_one_before_predicts(
    settings: DeviceSettings, homes: BundleHomes
) -> None:
    before, other = homes.active, make_bundle(seed=1)
    install(homes, other)
    runs, trained = bundle_that_runs(settings), bundle_that_was_trained(settings)
    assert runs.bundle.manifest.digest == homes.active == other.manifest.digest
    assert (runs.home, runs.path) == (homes.home, homes.home / "model.pfz")
    assert (trained.bundle.manifest.digest, trained.home) == (before, settings.state_dir)
    homes.pass_trial()
    assert bundle_that_was_trained(settings) == runs


def test_after_an_offer_during_a_trial_the_proved_bundle_predicts(
    settings: DeviceSettings, homes: BundleHomes
) -> None:
    before = homes.active
    install(homes, make_bundle(seed=1))
    install(homes, third := make_bundle(seed=2))
    assert bundle_that_runs(settings).bundle.manifest.digest == third.manifest.digest
    trained = bundle_that_was_trained(settings)
    assert (trained.bundle.manifest.digest, trained.home) == (before, settings.state_dir)


def test_a_bundle_that_a_person_put_in_since_is_the_one(
    settings: DeviceSettings, homes: BundleHomes
) -> None:
    install(homes, make_bundle(seed=1))
    chosen = write(settings.bundle, make_bundle(seed=2))
    found = bundle_that_runs(settings)
    again = BundleHomes(settings.state_dir, chosen)
    again.follow_the_person()
    assert found.bundle.manifest.digest == again.active == chosen.manifest.digest
    assert (found.path, found.home) == (settings.bundle, again.home)


def test_a_file_that_is_another_bundle_than_it_was_is_refused(
    settings: DeviceSettings, homes: BundleHomes
) -> None:
    install(homes, make_bundle(seed=1))
    write(homes.home / "model.pfz", make_bundle(seed=2))
    with pytest.raises(ConfigurationError, match="is not the bundle"):
        bundle_that_runs(settings)
