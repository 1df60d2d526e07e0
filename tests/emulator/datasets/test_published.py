from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pfedfrz_emulator.datasets.cache import DatasetCache
from pfedfrz_emulator.datasets.folder import IdxFolder
from pfedfrz_emulator.datasets.published import PublishedFile, SourceUnavailable, load_published
from pfedfrz_protocol import ConfigurationError

if TYPE_CHECKING:
    from tests.emulator.datasets.conftest import Tiny


@dataclass
class Shelf:
    """A source that has what the test gave it and counts how often it was asked."""

    contents: Mapping[str, bytes] | None
    label: str = "the shelf"
    asked: list[int] = field(default_factory=list)

    def fetch(self, files: Sequence[PublishedFile]) -> Mapping[str, bytes]:
        self.asked.append(len(files))
        if self.contents is None:
            raise SourceUnavailable("it is empty")
        return self.contents


def test_the_parsed_dataset_holds_the_published_samples(tiny: Tiny, tmp_path: Path) -> None:
    loaded = load_published(
        tiny.dataset,
        local=(),
        cache=DatasetCache(tmp_path),
        remote=[Shelf(tiny.contents)],
        input_shape=(1, 4, 4),
    )
    assert (loaded.train_x[:, 0] == tiny.train_x).all()
    assert loaded.train_y.dtype == np.int64
    assert loaded.train_y.tolist() == tiny.train_y.tolist()
    assert loaded.test_x.shape == (4, 1, 4, 4)
    assert (loaded.source, loaded.classes, loaded.notes) == ("the shelf", 3, ())


def test_a_remote_source_is_asked_once_and_then_the_cache(tiny: Tiny, tmp_path: Path) -> None:
    shelf, cache = Shelf(tiny.contents), DatasetCache(tmp_path / "new" / "cache")
    for expected in ("the shelf", cache.label):
        loaded = load_published(
            tiny.dataset, local=(), cache=cache, remote=[shelf], input_shape=None
        )
        assert loaded.source == expected
    assert len(shelf.asked) == 1
    assert sorted(path.name for path in cache.directory.iterdir()) == sorted(tiny.contents)


def test_a_local_source_is_preferred_and_not_copied(tiny: Tiny, tmp_path: Path) -> None:
    tiny.write(tmp_path / "installed", packed=True)
    cache = DatasetCache(tmp_path / "cache")
    loaded = load_published(
        tiny.dataset,
        local=[IdxFolder(tmp_path / "installed", "installed")],
        cache=cache,
        remote=(),
        input_shape=None,
    )
    assert loaded.source == "installed"
    assert not cache.directory.exists()


def test_a_flipped_bit_in_the_cache_is_noticed_and_mended(tiny: Tiny, tmp_path: Path) -> None:
    tiny.write(tmp_path)
    damaged = bytearray(tiny.contents["train-images"])
    damaged[40] ^= 1
    (tmp_path / "train-images").write_bytes(damaged)
    loaded = load_published(
        tiny.dataset,
        local=(),
        cache=DatasetCache(tmp_path),
        remote=[Shelf(tiny.contents)],
        input_shape=None,
    )
    assert loaded.source == "the shelf"
    assert (tmp_path / "train-images").read_bytes() == tiny.contents["train-images"]


def test_the_error_says_what_was_tried_and_what_always_works(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "train-images").write_bytes(b"")
    wrong = {**tiny.contents, "test-labels": b"something else"}
    few = {"train-images": tiny.contents["train-images"]}
    with pytest.raises(ConfigurationError) as caught:
        load_published(
            tiny.dataset,
            local=[IdxFolder(tmp_path / "absent", "Debian's")],
            cache=DatasetCache(tmp_path),
            remote=[Shelf(None), Shelf(wrong, "a mirror"), Shelf(few, "a tape")],
            input_shape=None,
        )
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "dataset tiny cannot be had here",
        "Debian's (not installed)",
        "train-labels is missing",
        "the shelf (it is empty)",
        "a mirror (test-labels has another sha256 than the published file)",
        "a tape (train-labels is missing)",
        "--dataset digits always works",
    ):
        assert part in message


def test_a_cache_that_cannot_be_written_is_only_noted(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    loaded = load_published(
        tiny.dataset,
        local=(),
        cache=DatasetCache(tmp_path / "file" / "cache"),
        remote=[Shelf(tiny.contents)],
        input_shape=None,
    )
    assert len(loaded.train_y) == 12
    assert loaded.notes[0].startswith("not kept in the cache ")
