import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pfedfrz_edge.data import Fit, ImageSettings, image_decoding
from pfedfrz_edge.data.image_folder import ImageFolder
from pfedfrz_protocol import ConfigurationError, InputSpec, LossKind, LossSpec

SPEC, LOSS = InputSpec((1, 4, 4), 2), LossSpec()
NOW_S = 1_000_000.0


def encoded(value: int = 128, kind: str = "PNG", mode: str = "L", size: int = 4) -> bytes:
    stream = io.BytesIO()
    colour = value if mode in ("L", "I;16") else (value,) * len(mode)
    Image.new(mode, (size, size), colour).save(stream, kind)
    return stream.getvalue()


class Album:
    """A folder of images that were written long ago, unless told otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for label in ("cat", "dog"):
            (root / label).mkdir(parents=True)

    def put(self, name: str, content: bytes, age_s: float = 100.0) -> Path:
        path = self.root / name
        path.write_bytes(content)
        os.utime(path, (NOW_S - age_s, NOW_S - age_s))
        return path

    def open(
        self,
        spec: InputSpec = SPEC,
        loss: LossSpec = LOSS,
        most: int = 0,
        images: ImageSettings | None = None,
    ) -> ImageFolder:
        return ImageFolder(self.root, spec, loss, images or ImageSettings(), most, lambda: NOW_S)


@pytest.fixture
def album(tmp_path: Path) -> Album:
    return Album(tmp_path / "images")


def test_folders_are_labels_in_the_order_of_their_names(album: Album) -> None:
    album.put("dog/b.png", encoded(255))
    album.put("cat/a.png", encoded(0))
    album.put("cat/z.png", encoded(51))
    data = album.open().read().data
    np.testing.assert_array_equal(data.y, [0, 0, 1])
    np.testing.assert_allclose(data.x[:, 0, 0, 0], [0, 0.2, 1])
    assert (data.x.shape, data.x.dtype) == ((3, 1, 4, 4), np.float32)


@pytest.mark.parametrize("how", ["settings", "file"])
def test_a_list_of_labels_keeps_the_numbers_of_classes_without_images(
    album: Album, how: str
) -> None:
    album.put("dog/b.png", encoded())
    names = ("bird", "dog", "cat")
    if how == "file":
        album.put("labels.txt", "\ufeffbird\r\n\ndog\ncat".encode())
    images = ImageSettings(labels=names) if how == "settings" else None
    folder = album.open(InputSpec((1, 4, 4), 3), images=images)
    np.testing.assert_array_equal(folder.read().data.y, [1])
    assert folder.skipped == {}


def test_missing_folders_without_a_list_are_refused(album: Album) -> None:
    with pytest.raises(ConfigurationError, match=r"2 labels, the bundle's model knows 3; name"):
        album.open(InputSpec((1, 4, 4), 3)).read()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"cat\n../dog\n", "'../dog' is no folder's name"),
        (b"cat\ncat\n", "'cat' is there twice"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * (2 << 20), "larger than 1 MiB"),
    ],
)
def test_a_bad_list_of_labels_is_one_line(album: Album, content: bytes, says: str) -> None:
    album.put("labels.txt", content)
    with pytest.raises(ConfigurationError) as caught:
        album.open().read()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "PPM"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_formats_and_modes_come_to_the_models_channels(
    album: Album, kind: str, mode: str, channels: int
) -> None:
    album.put("cat/a", encoded(102, kind, mode))
    x = album.open(InputSpec((channels, 4, 4), 2)).read().data.x
    np.testing.assert_allclose(x, np.full((1, channels, 4, 4), 0.4), atol=0.01)


def test_sixteen_bits_are_scaled_and_not_cut_off(album: Album) -> None:
    album.put("cat/a.png", encoded(0x80FF, mode="I;16"))
    album.put("cat/b.pgm", b"P5 4 4 65535\n" + b"\x40\x00" * 16)
    x = album.open().read().data.x
    np.testing.assert_allclose(x[:, 0, 0, 0], [0x80 / 255, 0x40 / 255])


def test_transparency_is_dropped_and_exif_turns(album: Album) -> None:
    album.put("cat/a.png", encoded(102, mode="RGBA"))
    upright = Image.fromarray(np.repeat([[0, 255]], 4, axis=0).astype(np.uint8).repeat(2, axis=1))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    stream = io.BytesIO()
    upright.save(stream, "PNG", exif=exif)
    album.put("cat/b.png", stream.getvalue())
    x = album.open().read().data.x
    np.testing.assert_allclose(x[0], 0.4)
    np.testing.assert_array_equal(x[1, 0, 0], [1, 1, 0, 0])


def test_other_sizes_are_stretched_or_cropped(album: Album) -> None:
    wide = np.zeros((4, 8), np.uint8)
    wide[:, 2:6] = 255
    stream = io.BytesIO()
    Image.fromarray(wide).save(stream, "PNG")
    album.put("cat/a.png", stream.getvalue())
    stretched = album.open().read().data.x
    assert stretched[0, 0, 0, 0] < 0.5 < stretched[0, 0, 0, 1]
    cropped = album.open(images=ImageSettings(fit=Fit.CROP)).read().data.x
    np.testing.assert_array_equal(cropped, np.ones((1, 1, 4, 4)))


def test_pixels_are_normalised_by_channel(album: Album) -> None:
    album.put("cat/a.png", encoded(255, mode="RGB"))
    images = ImageSettings(mean=(0.0, 0.5, 1.0), std=0.5)
    x = album.open(InputSpec((3, 4, 4), 2), images=images).read().data.x
    np.testing.assert_array_equal(x[0, :, 0, 0], [2, 1, 0])
    with pytest.raises(ConfigurationError, match="mean has 3 numbers; want one"):
        album.open(images=images)


def bomb() -> bytes:
    """A PNG of 20,000 x 20,000 pixels in some kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(20_001)) for _ in range(2000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    end = chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + end


def gif() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "GIF")
    return stream.getvalue()


WRONG = {
    "text": (b"hello", "not a PNG, JPEG, BMP or PGM image"),
    "empty": (b"", "not a PNG"),
    "truncated png": (encoded(size=64)[:-30], ""),
    "truncated jpeg": (encoded(kind="JPEG", size=64)[:-60], "load"),
    "truncated bmp": (encoded(kind="BMP")[:-5], "truncated"),
    "short pgm": (b"P5 4 4 255\n" + bytes(7), ""),
    "gif": (gif(), "not a PNG"),
    "huge pgm": (b"P5 99999999 99999999 255\n", "decompression bomb"),
    "negative pgm": (b"P5 -4 -4 255\n" + bytes(16), ""),
    "floats": (b"Pf\n4 4\n-1.0\n" + bytes(64), "floating-point"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", "not a PNG"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_no_image_is_skipped_with_one_line_and_counted(
    album: Album, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    content, says = WRONG[name]
    album.put("cat/bad.png", content)
    album.put("dog/good.png", encoded())
    folder = album.open()
    np.testing.assert_array_equal(folder.read().data.y, [1])
    assert says in folder.skipped["cat/bad.png"]
    folder.read()
    (record,) = caplog.records  # said once
    assert record.getMessage().startswith(f"{album.root}: skipped cat/bad.png: ")
    assert "\n" not in record.getMessage()


def test_a_decompression_bomb_is_refused_before_it_unpacks(album: Album) -> None:
    album.put("cat/bomb.png", bomb())
    folder = album.open()
    tracemalloc.start()
    try:
        assert len(folder.read().data) == 0
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert set(folder.skipped) == {"cat/bomb.png"}


def test_the_bound_on_pixels_can_be_set(album: Album) -> None:
    album.put("cat/a.png", encoded(size=64))
    folder = album.open(images=ImageSettings(max_megapixels=0.004))
    folder.read()
    assert folder.skipped["cat/a.png"] == "64 x 64 pixels, more than 0.004 million"


def test_links_do_not_leave_the_folder(album: Album, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.mkdir()
    (outside / "s.png").write_bytes(encoded(7))
    album.put("cat/real.png", encoded(255))
    (album.root / "cat/out.png").symlink_to(outside / "s.png")
    (album.root / "cat/in.png").symlink_to(album.root / "cat/real.png")
    (album.root / "cat/loop.png").symlink_to(album.root / "cat/loop.png")
    (album.root / "dog").rmdir()
    (album.root / "dog").symlink_to(outside)
    folder = album.open()
    np.testing.assert_array_equal(folder.read().data.x[:, 0, 0, 0], [1, 1])
    assert set(folder.skipped) == {"cat/out.png", "cat/loop.png", "dog"}


def test_what_is_no_file_of_a_label_is_skipped(
    album: Album, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(album.root / "cat/pipe.png")
    (album.root / "cat/deeper").mkdir()
    album.put("cat/.hidden.png", b"half of it")
    album.put("notes.txt", b"hello")
    with (album.root / "dog/large.bmp").open("wb") as file:
        file.truncate(65 << 20)
    bad = album.root / "dog" / "a\nb\x1b.png"
    bad.write_bytes(b"x")
    os.utime(bad, (1, 1))
    folder = album.open()
    assert len(folder.read().data) == 0
    assert set(folder.skipped) == {
        *("cat/pipe.png", "cat/deeper", "notes.txt", "dog/large.bmp", "dog/a\nb\x1b.png")
    }
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_many_skipped_files_are_a_few_lines(album: Album, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(40):
        album.put(f"cat/{number}.png", b"x")
    album.open().read()
    assert len(caplog.records) == 6
    assert caplog.records[-1].getMessage().endswith("skipped 35 more; 40 in all")


def counting(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    decoded: list[bytes] = []
    real = image_decoding.decode_image

    def decode(content: bytes, *rest: object) -> object:
        decoded.append(content)
        return real(content, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(image_decoding, "decode_image", decode)
    return decoded


def test_only_new_files_are_decoded(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    album.put("cat/a.png", encoded(1))
    album.put("cat/bad.png", b"x")
    folder, decoded = album.open(), counting(monkeypatch)
    before, signature = folder.read().data, folder.signature()
    assert len(decoded) == 2
    album.put("dog/b.png", encoded(2))
    assert folder.signature() != signature
    assert len(folder.read().data) == 2
    assert decoded[2:] == [encoded(2)]
    album.put("cat/a.png", encoded(3), age_s=50)
    (album.root / "dog/b.png").unlink()
    np.testing.assert_allclose(folder.read().data.x, np.full((1, 1, 4, 4), 3 / 255))
    assert len(decoded) == 4
    assert len(before) == 1


def test_a_file_that_is_still_written_is_left_for_the_next_time(
    album: Album, caplog: pytest.LogCaptureFixture
) -> None:
    whole = encoded(kind="JPEG", size=64)
    album.put("cat/a.jpg", whole[:-60], age_s=0.5)
    folder = album.open()
    reading = folder.read()
    assert (len(reading.data), reading.is_settled, folder.skipped) == (0, False, {})
    album.put("cat/a.jpg", whole, age_s=0.1)
    reading = folder.read()
    assert (len(reading.data), reading.is_settled) == (1, True)
    assert caplog.records == []


def test_a_file_that_changes_while_it_is_read_is_left(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = album.put("cat/a.png", encoded())
    real = os.fstat
    seen: list[int] = []

    def grows(handle: int) -> os.stat_result:
        seen.append(handle)
        if len(seen) == 2:
            path.write_bytes(encoded() + b"more")
        return real(handle)

    folder = album.open()
    monkeypatch.setattr(os, "fstat", grows)
    reading = folder.read()
    monkeypatch.undo()
    assert (len(reading.data), reading.is_settled) == (0, False)
    assert len(folder.read().data) == 1


def test_the_newest_are_kept_and_older_ones_never_decoded(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        album.put(f"cat/{number}.png", encoded(number), age_s=200 - number)
    folder, decoded = album.open(most=3), counting(monkeypatch)
    np.testing.assert_allclose(folder.read().data.x[:, 0, 0, 0] * 255, [6, 7, 8], rtol=1e-6)
    assert len(decoded) == 3


def test_identities_are_of_the_content(album: Album) -> None:
    album.put("cat/a.png", encoded(1))
    album.put("cat/b.png", encoded(2))
    one, two = album.open().read().identities()
    (album.root / "cat/a.png").rename(album.root / "dog/renamed.png")
    np.testing.assert_array_equal(album.open().read().identities(), [two, one])


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    for images in (ImageSettings(), ImageSettings(labels=("a", "b"))):
        with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
            ImageFolder(tmp_path / "none", SPEC, LOSS, images).read()


@pytest.mark.parametrize(
    ("spec", "loss", "says"),
    [
        (InputSpec((16,), 2), LOSS, "images have shape"),
        (InputSpec((2, 4, 4), 2), LOSS, "images have shape"),
        (InputSpec((1, 4, 4), 2, tokens=9), LOSS, "images have shape"),
        (SPEC, LossSpec(LossKind.MEAN_SQUARED_ERROR), "wants 2 numbers"),
        (SPEC, LossSpec(LossKind.BINARY_CROSS_ENTROPY), "wants 2 numbers"),
    ],
)
def test_a_model_that_takes_no_images_is_said(
    album: Album, spec: InputSpec, loss: LossSpec, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        album.open(spec, loss)


def test_yes_and_no_are_two_folders(album: Album) -> None:
    album.put("cat/a.png", encoded())
    album.put("dog/a.png", encoded())
    loss = LossSpec(LossKind.BINARY_CROSS_ENTROPY)
    np.testing.assert_array_equal(
        album.open(InputSpec((1, 4, 4), 1), loss).read().data.y, [[0], [1]]
    )


def test_without_pillow_one_line_says_what_to_install(album: Album) -> None:
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from pathlib import Path\n"
        "from pfedfrz_edge.data import DataSettings, open_device_data\n"
        "from pfedfrz_protocol import *\n"
        "try:\n"
        f"    open_device_data(DataSettings('folder:{album.root}'), InputSpec((1, 4, 4), 2), "
        "LossSpec())\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("a folder of images needs Pillow (")
    assert done.stdout.endswith("run: pip install 'pfedfrz[images]'\n")
