"""Samples from the user's own function: `factory:FILE.py:FUNCTION` or `factory:MODULE:FUNCTION`.

The function is named in the device's own TOML file and nowhere else: nothing that comes over the
network can choose what is run.
"""

from __future__ import annotations

import importlib
import importlib.util
import traceback
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, InputSpec, LossSpec
from pfedfrz_protocol.one_line import one_line

from .address import SourceAddress
from .checks import checked
from .labelled import LabelledData
from .source import Reading, hash_of_rows, most_samples

__all__ = ["Factory"]

_MOST_PASSED = 100
"""A factory that gives more than so many times what is kept is taken to be endless."""


class Factory:
    """A function, called at the start and before every round's work."""

    def __init__(
        self, address: SourceAddress, spec: InputSpec, loss: LossSpec, max_samples: int = 0
    ) -> None:
        """Imports the function's module; ConfigurationError, one line, where that fails."""
        self.name = str(address)
        self._spec = spec
        self._loss = loss
        self._most = most_samples(spec, max_samples)
        self._file: str | None = None
        self._function = self._find(address)

    def signature(self) -> None:
        """None: what a function would return is known when it was called."""
        return

    def read(self) -> Reading:
        """What the function gives now, the last of it where there is more than fits."""
        try:
            blocks = self._blocks(self._function())
        except ConfigurationError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigurationError(f"{self.name}: {_where(error, self._file)}") from error
        data = self._joined(blocks)
        return Reading(data, lambda: hash_of_rows(data.x))

    def _find(self, address: SourceAddress) -> Callable[[], Any]:
        try:
            module = _module(address)
        except (Exception, SystemExit) as error:
            raise ConfigurationError(
                f"{self.name}: cannot be imported: {_where(error, address.place)}"
            ) from error
        self._file = module.__file__
        function = getattr(module, address.function, None)
        if not callable(function):
            raise ConfigurationError(
                f"{self.name}: {address.place} has no function {address.function!r}"
            )
        return function  # type: ignore[no-any-return]

    def _blocks(self, given: Any) -> list[LabelledData]:
        # A tuple of two pairs is an iterable of them.
        if _is_pair(given) and not isinstance(given[0], tuple):
            return [self._checked(*given)]
        if not isinstance(given, Iterable):
            raise self._foreign(given)
        blocks: list[LabelledData] = []
        held = passed = 0
        for pair in given:
            if not _is_pair(pair):
                raise self._foreign(pair)
            block = self._checked(*pair)
            blocks.append(block)
            held, passed = held + len(block), passed + max(1, len(block))
            while held - len(blocks[0]) >= self._most:
                held -= len(blocks.pop(0))
            if passed > _MOST_PASSED * self._most:
                raise ConfigurationError(
                    f"{self.name}: more than {_MOST_PASSED} times the {self._most} samples that "
                    "are kept, and no end; let it return"
                )
        return blocks

    def _checked(self, x: Any, y: Any) -> LabelledData:
        samples, labels = np.asarray(x), np.asarray(y)
        if samples.shape == self._spec.shape:  # one sample and its label
            samples = samples[None]
            labels = labels.reshape(1) if self._loss.has_classes else labels.reshape(1, -1)
        if samples.dtype == np.float64:
            with np.errstate(over="ignore"):
                samples = samples.astype(np.float32)
        return checked(samples, labels, self._spec, self._loss, self.name)

    def _joined(self, blocks: list[LabelledData]) -> LabelledData:
        if not blocks:
            labels: NDArray[Any] = np.zeros(
                (0,) if self._loss.has_classes else (0, self._spec.classes), np.int64
            )
            x = np.zeros((0, *self._spec.shape), np.float32)
            return checked(x, labels, self._spec, self._loss, self.name)
        # Copies: the user's own arrays may change while they are trained on.
        x = np.concatenate([block.x for block in blocks])[-self._most :].copy()
        y = np.concatenate([block.y for block in blocks])[-self._most :].copy()
        return LabelledData(x, y)

    def _foreign(self, given: Any) -> ConfigurationError:
        return ConfigurationError(
            f"{self.name}: it gave {one_line(type(given).__name__, 60)}; want (x, y), two arrays, "
            "or an iterable of such pairs"
        )


def _is_pair(given: Any) -> bool:
    return isinstance(given, tuple) and len(given) == 2


def _module(address: SourceAddress) -> ModuleType:
    path = address.path
    if path is None:
        return importlib.import_module(address.place)
    spec = importlib.util.spec_from_file_location(f"pfedfrz_factory_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _where(error: BaseException, file: str | None) -> str:
    """`FILE:LINE: TYPE: MESSAGE` of an exception; the line is the last one in the user's file."""
    said = one_line((str(error).splitlines() or [""])[0], 300)
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {what}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen")
    ]
    mine = [frame for frame in frames if frame.filename == file] or frames
    return f"{mine[-1].filename}:{mine[-1].lineno}: {what}" if mine else what
