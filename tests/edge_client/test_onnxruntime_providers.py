"""CUDA or CPU: what onnxruntime is told, and what it is found to do.

Without a CUDA device the sessions here are stand-ins that say what a real one would.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest

from pfedfrz_edge.runtimes import device_of, load_runtime
from pfedfrz_protocol import Bundle, ConfigurationError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
REAL = onnxruntime.InferenceSession


class Build:
    """An onnxruntime with CUDA whose sessions really run on the CPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.starts = True
        """Whether the CUDA part finds its libraries."""
        self.raises: Exception | None = None
        self.told: list[list[Any]] = []
        self.fallback: list[int] = []
        self.deterministic: list[bool] = []
        monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider", CUDA, CPU]
        )
        monkeypatch.setattr(onnxruntime, "InferenceSession", self.session)

    def session(
        self, content: bytes, options: Any, *, providers: list[Any], enable_fallback: int
    ) -> Any:
        self.told.append(providers)
        self.fallback.append(enable_fallback)
        self.deterministic.append(options.use_deterministic_compute)
        wanted = [each if isinstance(each, str) else each[0] for each in providers]
        if self.raises and CUDA in wanted:
            raise self.raises
        session = REAL(content, options, providers=[CPU])
        has = wanted if self.starts else [CPU]
        session.get_providers = lambda: has
        return session


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Build:
    return Build(monkeypatch)


@pytest.mark.parametrize(("setting", "index"), [("cuda", "0"), ("cuda:1", "1"), ("auto", "0")])
def test_cuda_is_taken_where_it_works(
    build: Build, wide_bundle: Bundle, setting: str, index: str
) -> None:
    runtime = load_runtime("onnxruntime", wide_bundle, setting)
    assert device_of(runtime) == ("cuda" if setting == "auto" else setting)
    options = {"device_id": index, "use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}
    assert build.told
    assert all(told == [(CUDA, options), CPU] for told in build.told)
    assert all(build.deterministic)
    assert not any(build.fallback)


def test_the_cpu_is_taken_where_it_was_asked_for(build: Build, wide_bundle: Bundle) -> None:
    runtime = load_runtime("onnxruntime", wide_bundle, "cpu")
    assert device_of(runtime) == "cpu"
    assert all(told == [CPU] for told in build.told)
    assert not any(build.deterministic)


def silent(build: Build) -> None:
    build.starts = False


def loud(build: Build) -> None:
    build.raises = RuntimeError("libcudnn.so.9: cannot open\ntrace\ntrace")


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (silent, "could not start its CUDA part and would compute on the CPU"),
        (loud, "on cuda: libcudnn.so.9: cannot open; mend what it names"),
    ],
)
def test_cuda_that_does_not_start_is_refused_and_never_replaced(
    build: Build, wide_bundle: Bundle, broken: Callable[[Build], None], says: str
) -> None:
    broken(build)
    with pytest.raises(ConfigurationError) as caught:
        load_runtime("onnxruntime", wide_bundle, "cuda")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(CUDA in told[0] for told in build.told)


@pytest.mark.parametrize("broken", [silent, loud])
def test_auto_takes_the_cpu_where_cuda_does_not_start_and_says_so(
    build: Build,
    wide_bundle: Bundle,
    broken: Callable[[Build], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken(build)
    with caplog.at_level(logging.WARNING):
        runtime = load_runtime("onnxruntime", wide_bundle, "auto")
    assert device_of(runtime) == "cpu"
    (record,) = caplog.records
    assert record.getMessage().startswith("computing on the CPU: ")
    assert build.told[0] != [CPU]
    assert all(told == [CPU] for told in build.told[1:])


def test_a_build_without_cuda_says_what_to_install(wide_bundle: Bundle) -> None:
    assert CUDA not in onnxruntime.get_available_providers()
    assert device_of(load_runtime("onnxruntime", wide_bundle, "auto")) == "cpu"
    with pytest.raises(ConfigurationError) as caught:
        load_runtime("onnxruntime", wide_bundle, "cuda:1")
    message = str(caught.value)
    assert message.startswith("compute_device = 'cuda:1', but onnxruntime ")
    assert "is built without CUDA" in message
    assert "install onnxruntime-gpu, on a Jetson NVIDIA's wheel of it for the board's" in message
    assert "\n" not in message


@pytest.mark.parametrize("setting", ["gpu", "", "cuda:", "cuda:-1", "cuda:9999", "CUDA", "mps"])
def test_what_is_no_device_is_refused(wide_bundle: Bundle, setting: str) -> None:
    with pytest.raises(ConfigurationError, match=r"compute_device = .*; want auto, cpu or cuda"):
        load_runtime("onnxruntime", wide_bundle, setting)
