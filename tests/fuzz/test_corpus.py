"""Every committed input on its target, and variants of them: in bounded memory and time.

What is fuzzed for hours by scripts/fuzz is held here for seconds, in the ordinary suite.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from json_mutation import change_json
from targets import Target, load_target, target_names

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
MOST_BYTES = 96 << 20
"""Of Python's memory, for one input: a bomb unpacks to less than this or not at all."""
MOST_S = 10.0
EXAMPLES = {
    "study": 15,
    "study_results": 30,
    "coordinator": 40,
    "device": 60,
    "journal": 60,
    "operators": 60,
}
"""Where one input costs milliseconds; elsewhere 300."""


def inputs(name: str) -> list[Path]:
    return sorted((CORPUS / name).iterdir())


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("name", target_names())
@pytest.mark.filterwarnings("ignore")
def test_every_input_is_taken_or_refused_in_bounded_memory_and_time(name: str) -> None:
    target = load_target(name)
    target.run(b"")  # what is imported or made once is no input's
    tracemalloc.start()
    try:
        for path in inputs(name):
            data = path.read_bytes()
            tracemalloc.reset_peak()
            before, began = tracemalloc.get_traced_memory()[0], time.monotonic()
            target.run(data)
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < MOST_BYTES, f"{path.name}: {peak >> 20} MiB"
            assert time.monotonic() - began < MOST_S, path.name
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", target_names())
@pytest.mark.filterwarnings("ignore")
def test_variants_of_the_inputs_are_taken_or_refused(name: str) -> None:
    target = load_target(name)
    known = [path.read_bytes() for path in inputs(name)]

    @settings(
        max_examples=EXAMPLES.get(name, 300),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        target.run(data.draw(variants(target, known)))

    run()


def variants(target: Target, known: list[bytes]) -> st.SearchStrategy[bytes]:
    """An input that was cut, overwritten, doubled in part, joined to another or changed as JSON."""

    @st.composite
    def draw(pick: st.DrawFn) -> bytes:
        data = pick(st.sampled_from(known))
        start = pick(st.integers(0, len(data)))
        stop = pick(st.integers(start, min(len(data), start + 64)))
        kind = pick(st.integers(0, 4 if target.mutate is None else 8))
        if kind == 0:
            return data[:start]
        if kind == 1:
            return data[:start] + pick(st.binary(max_size=16)) + data[stop:]
        if kind == 2:
            return data[:stop] + data[start:]
        if kind == 3:
            other = pick(st.sampled_from(known))
            return data[:start] + other[start:]
        if kind == 4:
            flipped = bytearray(data or b"\x00")
            flipped[start % len(flipped)] ^= 1 << pick(st.integers(0, 7))
            return bytes(flipped)
        assert target.mutate is not None
        changed = target.mutate(data, 1 << 20, pick(st.integers(0, 2**32)))
        return data if changed is None else changed

    return draw()


def test_seeds_of_every_target_are_committed_and_the_corpus_is_small() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(target_names())
    every = [path for name in target_names() for path in inputs(name)]
    assert sum(path.stat().st_size for path in every) < 1_000_000
    for name in target_names():
        committed = {path.name for path in inputs(name)}
        assert set(load_target(name).seeds) <= committed, f"run tests/fuzz/make_corpus.py {name}"


@pytest.mark.parametrize(
    "words",
    [
        ("bomb",),
        ("zstd-bomb",),
        ("deep",),
        ("duplicated",),
        ("huge-shape", "negative-shape"),
        ("not-a-number", "nan"),
        ("path",),
        ("foreign", "direction"),
        ("truncated",),
        ("claim", "oversized"),
        ("wrong-digest",),
        ("negative",),
    ],
)
def test_every_class_of_attack_is_in_the_corpus(words: tuple[str, ...]) -> None:
    names = [path.name for name in target_names() for path in inputs(name)]
    for word in words:
        assert any(word in name for name in names), word


def test_a_process_with_little_memory_survives_every_bomb() -> None:
    """The address space of the child is what no library can go around."""
    code = (
        "import resource, sys\n"
        f"sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent / 'support')!r}]\n"
        "from targets import load_target\n"
        "from pathlib import Path\n"
        "made = {name: load_target(name) for name in ('tensors', 'bundle', 'idx', 'remote_archive')}\n"
        "for target in made.values(): target.run(b'')\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (192 << 20),) * 2)\n"
        "for name, target in made.items():\n"
        f"    for path in sorted(Path({str(CORPUS)!r}, name).iterdir()):\n"
        "        target.run(path.read_bytes())\n"
        "print('alive')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "alive\n", done.stderr[-2000:]


@pytest.mark.parametrize("text", [b"", b"[", b"3", b"[]", b"{}", b"[[1, {}]]", b'{"a": [1]}'])
def test_mutated_json_is_json_again_or_nothing(text: bytes) -> None:
    for seed in range(200):
        changed = change_json(text, 4096, seed)
        assert changed is None or changed[:1] in b'[{"0123456789-tfnNI'
