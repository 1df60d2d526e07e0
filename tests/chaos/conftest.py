"""A fleet on disks and clocks that are not well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.scene import Scene, prepare_scene

from pfedfrz_emulator.brokers import RunningBroker, start_broker
from pfedfrz_emulator.preparation import PreparedFleet


@pytest.fixture(scope="session")
def prepared() -> PreparedFleet:
    return prepare_scene()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with start_broker("mosquitto", tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def scene(prepared: PreparedFleet, broker: RunningBroker, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(prepared, tmp_path, broker)
    yield scene
    scene.close()


@pytest.fixture
def running(scene: Scene) -> Scene:
    """Everybody is started and two rounds have closed."""
    for name in ("coordinator", "device-00", "device-01"):
        scene.start(name)
    scene.wait_for_rounds(2)
    return scene
