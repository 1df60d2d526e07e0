"""What a journal says of the federation that wrote it."""

from __future__ import annotations

from pathlib import Path

from tiny_bundle import make_bundle

from pfedfrz_coordinator.circumstances import read_circumstances, write_circumstances
from pfedfrz_coordinator.configuration import CoordinatorSettings
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.policy import RoundPolicy


def settings(folder: Path, rounds: int = 3) -> CoordinatorSettings:
    return CoordinatorSettings(
        federation="lab",
        bundle=folder / "model.pfz",
        state_dir=folder,
        broker="mqtts://fleet:correct-horse@broker.example:8883",
        aggregation="median",
        rounds=RoundPolicy(rounds=rounds),
    )


def test_they_come_back_as_they_were_and_the_newest_stand(tmp_path: Path) -> None:
    journal, manifest = Journal(tmp_path / "journal.sqlite"), make_bundle().manifest
    write_circumstances(journal, settings(tmp_path), manifest)
    write_circumstances(journal, settings(tmp_path, rounds=7), manifest)
    told, of_bundle = read_circumstances(journal)
    journal.close()
    assert told is not None
    assert (told.federation, told.aggregation, told.rounds) == ("lab", "median", RoundPolicy(7))
    assert {"pfedfrz", "python", "machine"} <= told.environment.keys()
    assert of_bundle == manifest


def test_no_password_and_no_path_is_in_them(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    write_circumstances(journal, settings(tmp_path), make_bundle().manifest)
    written = (journal.fact("circumstances") or "") + (journal.fact("manifest") or "")
    journal.close()
    assert "broker.example:8883" in written
    assert "correct-horse" not in written
    assert str(tmp_path) not in written


def test_a_journal_without_them_or_with_others_has_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    assert read_circumstances(journal) == (None, None)
    for value in ("{}", "[", '{"federation": 3}', '{"rounds": {"rounds": 0}}'):
        journal.set_fact("circumstances", value)
        journal.set_fact("manifest", value)
        assert read_circumstances(journal) == (None, None)
    journal.close()
