"""A split that was made elsewhere, read from a file and checked.

`.json` is an object with one of two keys, each a list with an entry for every device:

    {"indices": [[0, 17, 4], [5, 9]]}    rows of the training set
    {"labels": [[0, 1], [2]]}            labels; the devices of a label share its samples

`.npz` has one array, `owner`, int `(training samples,)`: the device that has the row, or -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from pfedfrz_edge.array_archive import require_bounded
from pfedfrz_protocol import ConfigurationError, decode_json

from .pathological import deal_by_labels
from .split import MIN_SAMPLES, Split, check_request, split_random

__all__ = ["FileSplit"]

_MAX_BYTES = 256 << 20
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Lists = tuple[tuple[_Number, ...], ...]


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    indices: _Lists | None = None
    labels: _Lists | None = None


@dataclass(frozen=True)
class FileSplit:
    """The split in the file `path`."""

    path: str

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"file({self.path})"

    @property
    def label_alpha(self) -> None:
        """A file has no concentration."""

    def split_labels(
        self,
        labels: NDArray[np.int64],
        devices: int,
        samples_per_device: int,
        classes: int,
        seed: int,
    ) -> Split:
        """See LabelSplit. Rows are taken as listed, however many: a note says when not as asked.

        ConfigurationError names the file and what does not fit.
        """
        check_request(labels, devices, samples_per_device, classes)
        random = split_random(seed)
        if self.path.endswith(".npz"):
            return self._by_rows(self._owned(len(labels), devices), len(labels), samples_per_device)
        content = self._content()
        lists = content.labels if content.indices is None else content.indices
        if lists is None or (content.labels is not None and content.indices is not None):
            raise self._fault('want {"indices": [[...], ...]} or {"labels": [[...], ...]}')
        if len(lists) != devices:
            raise self._fault(f"it is for {len(lists)} devices, not {devices}; use --devices")
        if content.labels is not None:
            self._check_labels(content.labels, classes)
            held = [sorted(own) for own in content.labels]
            return deal_by_labels(labels, held, samples_per_device, classes, random)
        return self._by_rows(
            tuple(np.array(own, np.int64) for own in lists), len(labels), samples_per_device
        )

    def _fault(self, detail: str) -> ConfigurationError:
        return ConfigurationError(f"split {self.path}: {detail}")

    def _content(self) -> _Content:
        path = Path(self.path)
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise self._fault(f"it is larger than {_MAX_BYTES} bytes")
            return decode_json(path.read_bytes(), _Content)
        except OSError as error:
            raise self._fault(f"cannot be read: {error.strerror or error}") from error
        except (msgspec.DecodeError, ValueError) as error:  # ValueError: a path that cannot be one
            raise self._fault(f"{error}") from error

    def _owned(self, samples: int, devices: int) -> tuple[NDArray[np.int64], ...]:
        try:
            # Opened here: numpy leaves a file that it opened itself open when it is damaged.
            with Path(self.path).open("rb") as file:
                require_bounded(file, _MAX_BYTES)
                loaded = np.load(file, allow_pickle=False)
                if not isinstance(loaded, np.lib.npyio.NpzFile):
                    raise ValueError("a single array; save owner with numpy.savez")
                if loaded.files != ["owner"]:
                    found = ", ".join(loaded.files) or "nothing"
                    raise self._fault(f"it holds {found}; want one array, owner")
                owner = loaded["owner"]
            if not isinstance(owner, np.ndarray):
                raise ValueError("owner is no array")
        except ConfigurationError:
            raise
        except OSError as error:
            raise self._fault(f"cannot be read: {error.strerror or error}") from error
        except Exception as error:  # of damaged archives errors come that have no common base
            raise self._fault(f"not a readable .npz file: {error}") from error
        if owner.shape != (samples,) or not np.issubdtype(owner.dtype, np.integer):
            raise self._fault(
                f"owner is {owner.dtype} {owner.shape}; want whole numbers ({samples},), one for "
                "each training sample"
            )
        if owner.min() < -1 or owner.max() >= devices:
            raise self._fault(
                f"owner runs from {owner.min()} to {owner.max()}; want -1 to {devices - 1}"
            )
        return tuple(np.flatnonzero(owner == device).astype(np.int64) for device in range(devices))

    def _check_labels(self, held: _Lists, classes: int) -> None:
        for device, own in enumerate(held):
            if not own or len(set(own)) < len(own):
                raise self._fault(f"device {device} has no label, or one twice")
            if max(own) >= classes:
                raise self._fault(f"device {device}: labels go from 0 to {classes - 1}")

    def _by_rows(
        self, indices: tuple[NDArray[np.int64], ...], samples: int, samples_per_device: int
    ) -> Split:
        for device, rows in enumerate(indices):
            if len(rows) < MIN_SAMPLES:
                raise self._fault(f"device {device} has {len(rows)} samples; want {MIN_SAMPLES}")
            if rows.max() >= samples:
                raise self._fault(
                    f"device {device}: rows run from {rows.min()} to {rows.max()}, the training "
                    f"set from 0 to {samples - 1}"
                )
        every, counts = np.unique(np.concatenate(indices), return_counts=True)
        if (counts > 1).any():
            raise self._fault(f"row {every[counts > 1][0]} occurs more than once")
        sizes = {len(rows) for rows in indices}
        if sizes == {samples_per_device}:
            return Split(indices)
        note = (
            f"devices hold {min(sizes)} to {max(sizes)} samples, as {self.path} says, not "
            f"{samples_per_device}"
        )
        return Split(indices, (note,))
