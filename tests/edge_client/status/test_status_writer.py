"""How a device says how it is, and how seldom."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundle import make_bundle

from pfedfrz_edge.configuration import DataSettings, DeviceSettings
from pfedfrz_edge.outbox import PendingUpdate
from pfedfrz_edge.session import DeviceSession
from pfedfrz_edge.session_exchange import EvaluationDone, UpdateTrained, WorkBroken, WorkKey
from pfedfrz_edge.status import StatusWriter
from pfedfrz_edge.status.round_history import RoundHistory
from pfedfrz_edge.status.running_status import RunningStatus, read_status
from pfedfrz_protocol import LocalReport, Purpose, SharedCodec

MANIFEST = make_bundle().manifest
CODEC = SharedCodec.for_manifest(MANIFEST)


class Scene:
    """A writer in a folder, and clocks that a test moves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_s = 0.0
        settings = DeviceSettings(
            "lab",
            "me",
            folder / "b.pfz",
            folder,
            DataSettings(str(folder / "x.npz")),
            heartbeat_s=15.0,
        )
        self.session = DeviceSession("me", "boot", MANIFEST.digest, CODEC)
        self.writer = StatusWriter(
            settings, "b" * 64, "boot", 60, lambda: self.now_s, lambda: 1e9 + self.now_s
        )

    def show(self, after: float, waiting_for: str = "", value: str = "") -> RunningStatus:
        self.now_s += after
        self.writer.show(self.session, None, 60, waiting_for, {"temperature": value})
        found = read_status(self.folder)
        assert found is not None
        return found


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return Scene(tmp_path)


def test_it_is_there_from_the_start_and_says_what_is_so(scene: Scene) -> None:
    status = scene.show(0)
    assert (status.state, status.round, status.connected) == ("idle", 0, False)
    assert (status.samples, status.started_at, status.written_at) == (60, 1e9, 1e9)


def test_on_a_card_it_is_written_at_changes_and_not_more_often_than_a_heartbeat(
    scene: Scene,
) -> None:
    scene.show(0)
    assert scene.show(14, "power: not on mains").waiting_for == ""
    status = scene.show(1, "power: not on mains")
    assert (status.waiting_for, status.written_at) == ("power: not on mains", 1e9 + 15)


def test_a_device_where_nothing_happens_writes_nothing(scene: Scene) -> None:
    before = scene.show(0, value="60 C")
    stamp = (scene.folder / "status.json").stat()
    for second in range(1000):
        assert scene.show(15, value=f"{second} C") == before
    after = (scene.folder / "status.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns)
    assert scene.show(15, "hot", value="80 C").conditions == {"temperature": "80 C"}


def test_a_lost_connection_is_said_with_its_time_and_fault(scene: Scene) -> None:
    scene.writer.connected()
    assert scene.show(0).connected
    scene.now_s = 100.0
    scene.writer.disconnected("keepalive timed out")
    status = scene.show(5)
    assert (status.connected, status.connected_since) == (False, 1e9 + 100)
    assert status.connection_fault == "keepalive timed out"


def test_the_end_is_written_at_once(scene: Scene) -> None:
    scene.show(0)
    scene.now_s = 1.0
    scene.writer.end()
    status = read_status(scene.folder)
    assert status is not None
    assert status.ended_at == 1e9 + 1


def test_in_systemds_directory_it_is_written_more_often_and_found_from_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, run = tmp_path / "state", tmp_path / "run"
    state.mkdir()
    run.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{run}:/another")
    scene = Scene(state)
    scene.show(0)
    assert scene.show(1.9, "hot").waiting_for == ""
    assert scene.show(0.1, "hot").waiting_for == "hot"
    assert [path.name for path in run.iterdir()] == ["lab.me.status.json"]
    link = state / "status.json"
    assert link.is_symlink()
    inode = link.lstat().st_ino
    Scene(state).show(0)
    assert link.lstat().st_ino == inode  # the card is left alone at the next start
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    Scene(state).show(0)
    assert not link.is_symlink()


def test_a_directory_that_refuses_is_said_once_and_ends_nothing(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    (scene.folder / "status.json").mkdir()
    for reason in ("a", "b"):
        scene.now_s += 15
        scene.writer.show(scene.session, None, 60, reason, {})
    (record,) = caplog.records
    assert "the status of this device cannot be shown" in record.getMessage()


def test_rounds_are_kept_with_what_became_of_them(scene: Scene) -> None:
    report = LocalReport(60, 0.5, 0.75, 0.25)
    key = WorkKey(1, "d" * 64)
    scene.writer.worked(UpdateTrained(key, PendingUpdate(1, "d" * 64, report, b"")))
    scene.writer.worked(WorkBroken(WorkKey(2, "e" * 64), "the disk is full"))
    scene.writer.worked(EvaluationDone(WorkKey(3, "e" * 64), report))
    found = RoundHistory(scene.folder).records
    assert [(r.round, r.purpose, r.report, r.fault) for r in found] == [
        (1, Purpose.TRAIN, report, ""),
        (2, Purpose.TRAIN, None, "the disk is full"),
        (3, Purpose.EVALUATE, report, ""),
    ]
    for number in range(4, 90):
        scene.writer.worked(WorkBroken(WorkKey(number, "e" * 64), "again"))
    assert [r.round for r in RoundHistory(scene.folder).records] == list(range(40, 90))


def test_a_history_that_cannot_be_read_is_said_and_begun_anew(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    (scene.folder / "rounds.json").write_bytes(b"[{")
    assert RoundHistory(scene.folder).records == ()
    assert "rounds.json cannot be read, the rounds of before are not shown" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 5000])
def test_a_status_that_a_power_cut_has_spoilt_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "status.json").write_bytes(content)
    assert read_status(tmp_path) is None
