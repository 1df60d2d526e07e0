from pathlib import Path

import numpy as np
import pytest

from pfedfrz_edge.data import parse_address
from pfedfrz_edge.data.factory import Factory
from pfedfrz_protocol import ConfigurationError, InputSpec, LossKind, LossSpec

SPEC, LOSS = InputSpec((2,), 3), LossSpec()
HEAD = "import numpy as np\n"


def factory(
    tmp_path: Path, body: str, loss: LossSpec = LOSS, most: int = 0, name: str = "samples"
) -> Factory:
    (tmp_path / "sensors.py").write_text(HEAD + body)
    return Factory(parse_address(f"factory:{tmp_path}/sensors.py:{name}"), SPEC, loss, most)


GIVEN = {
    "two arrays": "def samples(): return np.ones((4, 2), np.float32), np.array([0, 1, 2, 0])",
    "lists of numbers": "def samples(): return np.ones((4, 2)), [0, 1, 2, 0]",
    "batches": (
        "def samples():\n"
        "    for y in ([0, 1], [2, 0]):\n"
        "        yield np.ones((2, 2), np.float32), np.array(y)"
    ),
    "single samples": "def samples(): return [(np.ones(2), y) for y in (0, 1, 2, 0)]",
    "a tuple of samples": "def samples(): return tuple(([1, 1.0], y) for y in (0, 1, 2, 0))",
}


@pytest.mark.parametrize("how", GIVEN)
def test_a_function_gives_samples(tmp_path: Path, how: str) -> None:
    reading = factory(tmp_path, GIVEN[how]).read()
    np.testing.assert_array_equal(reading.data.x, np.ones((4, 2), np.float32))
    np.testing.assert_array_equal(reading.data.y, [0, 1, 2, 0])
    assert len(set(reading.identities().tolist())) == 1


def test_numbers_as_labels(tmp_path: Path) -> None:
    loss = LossSpec(LossKind.MEAN_SQUARED_ERROR)
    body = "def samples(): return [(np.ones(2), [1.5, 2, 3]), (np.ones((2, 2)), np.ones((2, 3)))]"
    np.testing.assert_array_equal(
        factory(tmp_path, body, loss).read().data.y, [[1.5, 2, 3], [1, 1, 1], [1, 1, 1]]
    )


def test_it_is_called_at_every_reading_and_its_arrays_are_copied(tmp_path: Path) -> None:
    body = (
        "x, calls = np.zeros((1, 2), np.float32), []\n"
        "def samples():\n"
        "    calls.append(1)\n"
        "    x[:] = len(calls)\n"
        "    return x, np.zeros(1, int)\n"
    )
    made = factory(tmp_path, body)
    first, second = made.read().data, made.read().data
    assert (first.x[0, 0], second.x[0, 0]) == (1, 2)
    assert made.signature() is None


def test_the_last_samples_are_kept(tmp_path: Path) -> None:
    body = "def samples(): return ((np.full((2, 2), i, np.float32), [0, 0]) for i in range(50))"
    np.testing.assert_array_equal(factory(tmp_path, body, most=3).read().data.x[:, 0], [48, 49, 49])


def test_nothing_yet_is_no_fault(tmp_path: Path) -> None:
    assert len(factory(tmp_path, "def samples(): return []").read().data) == 0


FAULTS = {
    "an exception": ("def samples():\n    raise KeyError('a\\nb')", "sensors.py:3: KeyError: "),
    "one in numpy": ("def samples(): return np.load('none.npy'), 1", "sensors.py:2: FileNotFound"),
    "one on the way": (
        "def samples():\n    yield np.ones(2), 0\n    1 / 0",
        "sensors.py:4: ZeroDivisionError: division by zero",
    ),
    "an exit": ("def samples(): raise SystemExit(3)", "sensors.py:2: SystemExit: 3"),
    "nothing": ("def samples(): pass", "it gave NoneType; want (x, y)"),
    "one array": ("def samples(): return np.ones((4, 2))", "it gave ndarray; want (x, y)"),
    "text": ("def samples(): return 'abc'", "it gave str"),
    "other shape": ("def samples(): return np.ones((4, 3)), [0] * 4", "samples have shape (3,)"),
    "other labels": ("def samples(): return np.ones((2, 2)), [0, 3]", "labels run from 0 to 3"),
    "ragged": ("def samples(): return np.ones((2, 2)), [[1], [2, 3]]", "ValueError"),
    "nan": ("def samples(): return np.full((2, 2), np.nan), [0, 1]", "NaN"),
    "endless": (
        "def samples():\n    while True:\n        yield np.ones((50, 2)), [0] * 50",
        "no end; let it return",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_with_its_place(tmp_path: Path, name: str) -> None:
    body, says = FAULTS[name]
    made = factory(tmp_path, body, most=10)
    with pytest.raises(ConfigurationError) as caught:
        made.read()
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"factory:{tmp_path}/sensors.py:samples: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("body", "name", "says"),
    [
        ("1 / 0", "samples", "sensors.py:2: ZeroDivisionError"),
        ("def samples(:", "samples", "sensors.py:2: SyntaxError"),
        ("import no_such_module_anywhere", "samples", "sensors.py:2: ModuleNotFoundError"),
        ("raise SystemExit", "samples", "sensors.py:2: SystemExit"),
        ("samples = 3", "samples", "has no function 'samples'"),
        ("def samples(): pass", "sample", "has no function 'sample'"),
    ],
)
def test_a_module_that_cannot_be_had_is_one_line(
    tmp_path: Path, body: str, name: str, says: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        factory(tmp_path, body, name=name)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_or_module_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    for place in (f"{tmp_path}/none.py", "no_such_package.sensors"):
        with pytest.raises(ConfigurationError, match="cannot be imported: ") as caught:
            Factory(parse_address(f"factory:{place}:samples"), SPEC, LOSS)
        assert "\n" not in str(caught.value)


def test_an_installed_module_is_imported_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "board_sensors_here.py").write_text(HEAD + GIVEN["two arrays"])
    monkeypatch.syspath_prepend(tmp_path)
    made = Factory(parse_address("factory:board_sensors_here:samples"), SPEC, LOSS)
    assert len(made.read().data) == 4
