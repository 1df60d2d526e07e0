from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pfedfrz_emulator.datasets import load_dataset
from pfedfrz_protocol import ConfigurationError


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for label, value in (("cat", 40), ("dog", 200)):
        (tmp_path / label).mkdir()
        for number in range(10):
            Image.new("L", (6, 4), value + number).save(tmp_path / label / f"{number}.png")
    return tmp_path


def test_a_fifth_of_every_label_is_the_test_set(album: Path) -> None:
    loaded = load_dataset(f"folder:{album}", input_shape=(1, 8, 8))
    assert loaded.sample_shape == (1, 8, 8)
    assert loaded.classes == 2
    assert np.bincount(loaded.train_y).tolist() == [8, 8]
    assert np.bincount(loaded.test_y).tolist() == [2, 2]
    inputs = loaded.inputs(loaded.train_x)
    assert abs(float(inputs.mean())) < 1e-2
    every = np.concatenate([loaded.train_x, loaded.test_x])[:, 0, 0, 0]
    assert sorted(every.tolist()) == [*range(40, 50), *range(200, 210)]


def test_without_a_model_images_keep_the_shape_of_the_first(album: Path) -> None:
    assert load_dataset(f"folder:{album}").sample_shape == (1, 4, 6)


def test_what_is_no_image_is_left_out_and_counted(album: Path) -> None:
    (album / "cat" / "0.png").write_bytes(b"x")
    (album / "notes.md").write_text("x")
    (album / "labels.txt").write_text("dog\ncat\n")
    loaded = load_dataset(f"folder:{album}")
    assert loaded.notes[-1] == "2 files were left out, which are no images of a label"
    assert np.bincount(loaded.train_y)[0] == 8  # dogs, by the list


@pytest.mark.parametrize(
    ("names", "shape", "says"),
    [
        ((), None, "0 labels"),
        (("cat",), None, "1 labels"),
        (("cat", "dog"), None, "no image in the folders"),
        (("cat", "dog"), (1, 4, 4), "label 'cat' has 0 images"),
        (("cat", "dog"), (9,), "the model takes (9,)"),
    ],
)
def test_a_folder_that_is_no_dataset_is_one_line(
    tmp_path: Path, names: tuple[str, ...], shape: tuple[int, ...] | None, says: str
) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError) as caught:
        load_dataset(f"folder:{tmp_path}", input_shape=shape)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none: cannot be read"):
        load_dataset(f"folder:{tmp_path}/none")
