import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pfedfrz_edge.data import BadRows, CsvSettings
from pfedfrz_edge.data.csv_table import CsvTable
from pfedfrz_protocol import ConfigurationError, InputSpec, LossKind, LossSpec

SPEC, LOSS = InputSpec((2,), 3), LossSpec()
TEXT = "time,warm,damp,state\n1,20.5,3,0\n2,21.5,4,2\n3,-1e1,5,1\n"
TWO = CsvSettings(features=("warm", "damp"), label="state")
NOW_S = 1_000_000.0


class Log:
    """A file that was written long ago, unless told otherwise."""

    def __init__(self, path: Path, text: str | bytes = TEXT) -> None:
        self.path = path
        self.writes = 0
        self.write(text)

    def write(self, text: str | bytes, age_s: float = 100.0) -> None:
        self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        self.writes += 1
        when = int((NOW_S - age_s) * 1e9) + self.writes
        os.utime(self.path, ns=(when, when))

    def add(self, text: str, age_s: float = 100.0) -> None:
        self.write(self.path.read_bytes() + text.encode(), age_s)

    def table(
        self,
        table: CsvSettings = TWO,
        spec: InputSpec = SPEC,
        loss: LossSpec = LOSS,
        most: int = 0,
    ) -> CsvTable:
        return CsvTable(self.path, spec, loss, table, most, lambda: NOW_S)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "readings.csv")


def test_rows_are_samples(log: Log) -> None:
    data = log.table().read().data
    np.testing.assert_array_equal(data.x, np.float32([[20.5, 3], [21.5, 4], [-10, 5]]))
    np.testing.assert_array_equal(data.y, [0, 2, 1])
    assert (data.x.dtype, data.y.dtype) == (np.float32, np.int64)


def test_columns_go_by_number_and_the_label_is_the_last_by_default(log: Log) -> None:
    log.write("7;8;1\r\n9;10;0\r\n\r\n")
    data = log.table(CsvSettings(header=False, delimiter=";")).read().data
    np.testing.assert_array_equal(data.x, [[7, 8], [9, 10]])
    np.testing.assert_array_equal(data.y, [1, 0])
    swapped = CsvSettings(header=False, delimiter=";", features=(1, 0), label=-1)
    np.testing.assert_array_equal(log.table(swapped).read().data.x, [[8, 7], [10, 9]])


def test_numbers_are_scaled_and_reshaped(log: Log) -> None:
    log.write("a,b,c,d,y\n0,10,20,30,1\n")
    table = CsvSettings(scale=0.1, mean=(0.0, 1.0, 1.0, 1.0), std=2.0)
    data = log.table(table, InputSpec((1, 2, 2), 3)).read().data
    np.testing.assert_allclose(data.x, [[[[0, 0], [0.5, 1]]]])


def test_labels_may_be_names_and_a_byte_order_mark_is_none_of_them(log: Log) -> None:
    log.write(b'\xef\xbb\xbfstate,a,b\n"on",1,2\n off ,3,4\n')
    table = CsvSettings(label="state", labels=("off", "on", "broken"))
    np.testing.assert_array_equal(log.table(table).read().data.y, [1, 0])


def test_a_loss_of_numbers_takes_several_columns(log: Log) -> None:
    loss = LossSpec(LossKind.MEAN_SQUARED_ERROR)
    table = CsvSettings(label=("warm", "damp"), features=("time", "state"))
    data = log.table(table, InputSpec((2,), 2), loss).read().data
    np.testing.assert_array_equal(data.y, np.float32([[20.5, 3], [21.5, 4], [-10, 5]]))
    with pytest.raises(ConfigurationError, match=r"label names 1 columns, .* wants 2"):
        log.table(TWO, InputSpec((2,), 2), loss)


BAD = {
    "text": ("4,warm,3,0", "line 3: column 1: 'warm' is not a number"),
    "nan": ("4,nan,3,0", "'nan'"),
    "infinity": ("4,inf,3,0", "'inf'"),
    "beyond float32": ("4,1e39,3,0", "'1e39'"),
    "underscores": ("4,1_0,3,0", "'1_0'"),
    "foreign digits": ("4,٣,3,0", "column 1"),
    "decimal comma": ("4,1,5,3,0", "5 columns, not 4"),
    "too few": ("4,1", "2 columns, not 4"),
    "empty cell": ("4,,3,0", "''"),
    "unknown class": ("4,1,3,3", "label '3', the bundle's model knows 0 to 2"),
    "half a class": ("4,1,3,0.5", "label '0.5'"),
    "negative class": ("4,1,3,-1", "label '-1'"),
    "open quote": ('4,"1,3,0', "line 3"),
    "huge cell": ("4," + "1" * 200_000 + ",3,0", "line 3"),
    "escape sequence": ("4,\x1b[2J,3,0", "\\x1b"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_refused_by_its_line_or_skipped(
    log: Log, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    row, says = BAD[name]
    first, second, rest = TEXT.split("\n", 2)
    log.write("\n".join([first, second, row, rest]))
    with pytest.raises(ConfigurationError) as caught:
        log.table().read()
    message = str(caught.value)
    assert message.startswith(f"{log.path}: line 3: ")
    assert says in message
    assert message.isprintable()
    lenient = CsvSettings(features=TWO.features, label="state", bad_rows=BadRows.SKIP)
    table = log.table(lenient)
    np.testing.assert_array_equal(table.read().data.y, [0, 2, 1])
    assert table.bad_rows == 1
    assert [record.getMessage() for record in caplog.records] == [
        message.split(";")[0].replace(": line 3", ": skipped line 3")
    ]


def test_many_bad_rows_are_a_few_lines(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    log.write(TEXT + "x\n" * 100)
    log.table(CsvSettings(features=TWO.features, bad_rows=BadRows.SKIP)).read()
    assert len(caplog.records) == 6
    assert caplog.records[-1].getMessage().endswith("skipped 95 more; 100 in all")


TABLES = {
    "no such column": (CsvSettings(label="stat"), TEXT, "column 'stat' is not there"),
    "escapes in header": (CsvSettings(label="y"), "\x1b[2J,b,c\n", "\\x1b[2J, b, c"),
    "column twice": (CsvSettings(label="a"), "a,a,b\n", "column 'a' is there twice"),
    "number too large": (CsvSettings(label=9), TEXT, "no column 9, the first line has 4"),
    "label as feature": (CsvSettings(features=("state", "warm")), TEXT, "both"),
    "too many features": (CsvSettings(), TEXT, "3 features, the bundle's model takes 2"),
    "binary": (CsvSettings(), b"\x00\xff\xfe" * 9 + b"\n", "0 features"),
    "quotes in header": (CsvSettings(bad_rows=BadRows.SKIP), '"a\n1,2,0\n', "the first line"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_does_not_fit_is_one_line(log: Log, name: str) -> None:
    table, text, says = TABLES[name]
    log.write(text)
    with pytest.raises(ConfigurationError) as caught:
        log.table(table).read()
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{log.path}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (CsvSettings(labels=("a", "b")), "2 names, the bundle's model knows 3"),
        (CsvSettings(mean=(1.0, 2.0, 3.0)), "mean has 3 numbers; want one, or one for each of 2"),
    ],
)
def test_settings_of_another_model_are_refused(log: Log, table: CsvSettings, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        log.table(table)


def test_tokens_that_the_model_has_no_row_for_are_bad_rows(log: Log) -> None:
    with pytest.raises(ConfigurationError, match="line 2: the bundle's model looks up"):
        log.table(TWO, InputSpec((2,), 3, tokens=30)).read()


def test_a_line_without_end_is_refused_in_bounded_memory(log: Log) -> None:
    log.write("a,b,c\n" + "1" * (5 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError, match="line 2 is longer than 1 MiB"):
            log.table(CsvSettings(bad_rows=BadRows.SKIP)).read()
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_not_there_and_what_is_no_file_are_said(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, says in (("none", "No such file"), ("folder", "not a file"), ("pipe", "not a file")):
        with pytest.raises(ConfigurationError, match=says):
            CsvTable(tmp_path / name, SPEC, LOSS, TWO).read()


def test_added_rows_are_found_and_earlier_ones_not_read_again(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = log.table()
    before, signature = table.read().data, table.signature()
    log.add("4,1,2,1\n")
    assert table.signature() != signature
    parsed: list[str] = []
    from pfedfrz_edge.data import csv_table

    split = csv_table.split_line
    monkeypatch.setattr(
        csv_table, "split_line", lambda line, d: (parsed.append(line), split(line, d))[1]
    )
    after = table.read().data
    assert parsed == ["4,1,2,1"]
    assert len(before) == 3  # what is trained on is not changed under it
    np.testing.assert_array_equal(after.x, np.concatenate([before.x, [[1, 2]]]))


@pytest.mark.parametrize("text", ["time,warm,damp,state\n9,9,9,0\n", TEXT.replace("20.5", "99.5")])
def test_a_file_that_is_written_anew_is_read_anew(log: Log, text: str) -> None:
    table = log.table()
    table.read()
    log.write(text + "8,8,8,1\n")
    np.testing.assert_array_equal(table.read().data.x, log.table().read().data.x)


def test_half_a_line_waits_while_it_is_written(log: Log) -> None:
    table = log.table()
    log.add("4,1,2", age_s=0.5)
    reading = table.read()
    assert (len(reading.data), reading.is_settled) == (3, False)
    log.add(",1\n5,1,2,2", age_s=0.1)
    assert len(table.read().data) == 4
    os.utime(log.path, (NOW_S - 50, NOW_S - 50))
    reading = table.read()
    assert (len(reading.data), reading.is_settled) == (5, True)  # a last line needs no line break
    log.add("1\n")  # it was none: 21 is another label
    with pytest.raises(ConfigurationError, match="line 6: label '21'"):
        table.read()


def test_the_newest_rows_are_kept(log: Log) -> None:
    log.write("a,b,y\n" + "".join(f"{i},0,{i % 3}\n" for i in range(100)))
    table = log.table(CsvSettings(), most=7)
    np.testing.assert_array_equal(table.read().data.x[:, 0], range(93, 100))
    log.add("100,0,0\n101,0,0\n")
    np.testing.assert_array_equal(table.read().data.x[:, 0], range(95, 102))


def test_identities_are_of_the_row_without_its_label(log: Log) -> None:
    before = log.table().read().identities()
    log.write(TEXT.replace("1,20.5,3,0", "1,20.5,3,2").replace("2,21.5", "2,21.6"))
    after = log.table().read().identities()
    np.testing.assert_array_equal(before == after, [True, False, True])


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 2)), max_size=12), st.data())
def test_however_a_file_grows_the_samples_are_those_of_the_whole(
    log: Log, rows: list[tuple[float, int]], data: st.DataObject
) -> None:
    text = "a,b,y\n" + "".join(f"{x!r},1,{y}\n" for x, y in rows)
    cuts = sorted(data.draw(st.lists(st.integers(6, len(text)), max_size=4)))
    log.write("a,b,y\n")
    table = log.table(CsvSettings(), most=5)
    for cut in cuts:
        log.write(text[:cut], age_s=0.5)
        table.read()
    log.write(text)
    found, whole = table.read(), log.table(CsvSettings(), most=5).read()
    np.testing.assert_array_equal(found.data.x, whole.data.x)
    np.testing.assert_array_equal(found.data.y, [y for _, y in rows][-5:])
    np.testing.assert_array_equal(found.identities(), whole.identities())
