from pathlib import Path

import pytest

from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_edge.data import SourceKind, parse_address
from pfedfrz_protocol import ConfigurationError

TOP = 'federation = "demo"\ndevice = "pi-1"\nbundle = "m.pfz"\nstate_dir = "state"\n[data]\n'


@pytest.mark.parametrize(
    ("text", "kind", "place", "function"),
    [
        ("train.npz", SourceKind.NPZ, "train.npz", ""),
        ("/data/a:b.npz", SourceKind.NPZ, "/data/a:b.npz", ""),
        ("./odd:name", SourceKind.NPZ, "./odd:name", ""),
        ("npz:train", SourceKind.NPZ, "train", ""),
        ("folder:images", SourceKind.FOLDER, "images", ""),
        ("csv:a:b.csv", SourceKind.CSV, "a:b.csv", ""),
        ("factory:sensors.py:samples", SourceKind.FACTORY, "sensors.py", "samples"),
        ("factory:/a:b/s.py:f", SourceKind.FACTORY, "/a:b/s.py", "f"),
        ("factory:board.sensors:samples", SourceKind.FACTORY, "board.sensors", "samples"),
    ],
)
def test_a_source_is_a_kind_and_a_place(
    text: str, kind: SourceKind, place: str, function: str
) -> None:
    address = parse_address(text)
    assert (address.kind, address.place, address.function) == (kind, place, function)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("floder:images", "no source is called 'floder'"),
        ("http://here/x.npz", "no source is called 'http'"),
        ("folder:", "wants a path"),
        ("", "wants a path"),
        ("csv:a\0b", "wants a path"),
        ("factory:sensors.py", "FILE.py:FUNCTION"),
        ("factory:sensors.py:", "FILE.py:FUNCTION"),
        ("factory:sensors.py:a b", "FILE.py:FUNCTION"),
        ("factory:a/b:samples", "FILE.py:FUNCTION"),
        ("factory:os;x:samples", "FILE.py:FUNCTION"),
    ],
)
def test_what_names_no_source_is_one_line(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_address(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "device.toml"
    path.write_text(TOP + text)
    return load_device_settings(path).data


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("folder:images", "folder:{here}/images"),
        ("csv:/data/r.csv", "csv:/data/r.csv"),
        ("factory:sensors.py:samples", "factory:{here}/sensors.py:samples"),
        ("factory:board.sensors:samples", "factory:board.sensors:samples"),
    ],
)
def test_paths_start_at_the_files_folder_and_modules_nowhere(
    tmp_path: Path, said: str, meant: str
) -> None:
    data = load(tmp_path, f'train = "{said}"\ntest = "{said}"\n')
    expected = meant.format(here=tmp_path)
    assert (data.train, data.test) == (expected, expected)  # type: ignore[attr-defined]


FAULTS = {
    "misspelt": ('train = "flder:x"', "[data] train = 'flder:x': no source is called 'flder'"),
    "all held out": ('train = "x.npz"\nhold_out = 1.0', "hold_out = 1.0"),
    "two test sets": ('train = "x.npz"\ntest = "y.npz"\nhold_out = 0.2', "leave one out"),
    "fewer than none": ('train = "x.npz"\nmax_samples = -1', "max_samples = -1"),
    "a number for a name": ("train = 3", "train"),
    "unknown key": ('train = "x.npz"\n[data.images]\nsize = 3', "size"),
    "no deviation": ('train = "x.npz"\n[data.images]\nstd = 0.0', "[data.images] std"),
    "no mean": ('train = "x.npz"\n[data.images]\nmean = nan', "[data.images] mean"),
    "a path as label": ('train = "x"\n[data.images]\nlabels = ["a", ".."]', "'..' is no folder"),
    "a label twice": ('train = "x"\n[data.images]\nlabels = ["a", "a"]', "'a' is there twice"),
    "endless pixels": ('train = "x"\n[data.images]\nmax_megapixels = 0', "max_megapixels"),
    "long delimiter": ('train = "x"\n[data.csv]\ndelimiter = "ab"', "delimiter"),
    "endless scale": ('train = "x"\n[data.csv]\nscale = inf', "scale"),
    "names without header": ('train = "x"\n[data.csv]\nheader = false\nlabel = "y"', "header"),
    "label names twice": ('train = "x"\n[data.csv]\nlabels = ["a", "a"]', "twice"),
    "unknown manner": ('train = "x"\n[data.csv]\nbad_rows = "fix"', "fix"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_table_is_one_line_with_the_files_name(tmp_path: Path, name: str) -> None:
    text, says = FAULTS[name]
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text + "\n")
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/device.toml: ")
    assert "\n" not in str(caught.value)
