"""A device's table of readings, read in one piece and as it grows."""

from __future__ import annotations

import numpy as np
from recipe import Recipe, scratch

from pfedfrz_edge.data import BadRows, CsvSettings
from pfedfrz_edge.data.csv_table import CsvTable
from pfedfrz_protocol import ConfigurationError, InputSpec, LossKind, LossSpec

_NUMBERS = LossSpec(LossKind.MEAN_SQUARED_ERROR)
_YES_NO = LossSpec(LossKind.BINARY_CROSS_ENTROPY)
CASES = (
    (InputSpec((2,), 3), LossSpec(), CsvSettings()),
    (InputSpec((2,), 3), LossSpec(), CsvSettings(header=False, delimiter=";", scale=1e38)),
    (InputSpec((2,), 3), LossSpec(), CsvSettings(label="y", labels=("a", "b", "c"))),
    (InputSpec((1, 1), 2), _NUMBERS, CsvSettings(label=("a", "b"), features=(-1,), std=1e-30)),
    (InputSpec((2,), 1), _YES_NO, CsvSettings(label=0)),
    (InputSpec((2,), 3, tokens=9), LossSpec(), CsvSettings()),
)


def target(data: bytes) -> None:
    """Every table gives finite samples or one line; however it grew, they are those of the whole."""
    recipe = Recipe(data)
    spec, loss, settings = CASES[recipe.number() % len(CASES)]
    form = recipe.number()
    skip = BadRows.SKIP if form & 1 else BadRows.REFUSE
    text = recipe.rest()
    path = scratch() / "table.csv"
    kind = type(settings)
    chosen = kind(
        **{key: getattr(settings, key) for key in kind.__struct_fields__} | {"bad_rows": skip}
    )

    def table(now_s: float = 0.0) -> CsvTable:
        return CsvTable(path, spec, loss, chosen, 5, lambda: now_s)

    growing = table()
    for cut in (len(text) * (form >> 1) // 128, len(text)):
        path.write_bytes(text[:cut])
        found = _read(growing)
    whole = _read(table())
    assert (found is None) == (whole is None)
    if found is not None and whole is not None:
        np.testing.assert_array_equal(found[0], whole[0])
        np.testing.assert_array_equal(found[1], whole[1])


def _read(table: CsvTable) -> tuple[object, object] | None:
    try:
        reading = table.read()
    except ConfigurationError as error:
        assert str(error).isprintable(), error
        return None
    assert np.isfinite(reading.data.x).all() and len(reading.data) <= 5
    assert len(reading.identities()) == len(reading.data)
    return reading.data.x, reading.data.y


def seeds() -> dict[str, bytes]:
    plain = b"a,b,y\n1,2,0\n3,4,2\n"
    texts = {
        "good": plain,
        "long": b"a,b,y\n" + b"1,2,0\n" * 50,
        "no-newline": plain[:-1],
        "truncated": plain[:-4],
        "empty": b"",
        "names": b"y,p,q\na,1,2\nc,3,4\n",
        "quotes": b'"a","b","y"\n"1","2","0"\n"3,4,2\n"1""2",3,1\n',
        "nan": b"a,b,y\nnan,1,0\ninf,1,0\n1e999,1,0\n1e38,1e-46,0\n",
        "digits": "a,b,y\n٦,1,0\n1_0,1,0\n0x10,1,0\n １,1,1\n".encode(),
        "negative": b"a,b,y\n-1,-2,-1\n1,2,99999999999999999999\n1,2,0.5\n",
        "wide": b"a,b,y\n" + b"," * 5000 + b"\n",
        "nul": b"a,b,y\n1,\0,0\n\0\0\0\n",
        "mac": b"a,b,y\r1,2,0\r3,4,2\r",
        "dos": b"\xef\xbb\xbfa,b,y\r\n1,2,0\r\n\r\n3,4,2\r\n",
        "not-utf-8": b"a,b,y\n\xff\xfe,1,0\n",
        "utf-16": "a,b,y\n1,2,0\n".encode("utf-16"),
        "duplicated-column": b"y,y,y\n1,2,0\n",
        "escapes": b"a,b,y\n\x1b[2J,1,0\n\xe2\x80\xa8,1,0\n",
        "line-separators": "a,b,y\n1,2,0\x0b1,2,0\x1c1,2,0\u20281,2,0\n".encode(),
    }
    found = {}
    for name, text in texts.items():
        for case in (0, 2) if name == "names" else (0,):
            found[f"{name}-{case}"] = bytes([case, 65]) + text
    found["refused"] = bytes([0, 0]) + texts["nan"]
    found["semicolons"] = bytes([1, 65]) + b"1;2;0\n3;4;2\n"
    found["numbers"] = bytes([3, 129]) + b"a,b,c\n1,2,3\n1e38,2,3e38\n"
    found["yes-no"] = bytes([4, 129]) + b"y,a,b\n1,2,3\n0,2,3\n2,2,3\n"
    found["tokens"] = bytes([5, 129]) + b"a,b,y\n1,8,0\n9,1,0\n0.5,1,0\n"
    return found
