"""The manifest of a bundle: what a device must know to train, and digests of all it needs.

The manifest says everything; the other files of a bundle are opaque to it and named with their
sha256. The manifest's own digest identifies the bundle: coordinator and devices compare it before
they exchange a single tensor.
"""

from __future__ import annotations

import hashlib

import msgspec

from .errors import BundleError, ConfigurationError
from .loss import LossSpec
from .one_line import one_line
from .partition import Group, Partition, TensorSpec
from .schedule import Schedule, TrainableSet
from .strict_json import decode_json

__all__ = [
    "FORMAT_VERSION",
    "CachedGraphs",
    "FileRecord",
    "InputSpec",
    "Manifest",
    "ParameterSpec",
    "RuntimeGraphs",
    "decode_manifest",
    "encode_manifest",
    "sha256_hex",
]

FORMAT_VERSION = 1
MAX_PARAMETERS = 10_000
MAX_ELEMENTS = 1 << 31
MAX_RANK = 8
MAX_BATCH = 1 << 20
_MOST_SHOWN = 80
MAX_TOKENS = 1 << 24  # what float32 can count


def sha256_hex(data: bytes | memoryview) -> str:
    """The sha256 of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class FileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the archive: its name, its length and the digest of its content."""

    file: str
    bytes: int
    sha256: str


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model takes and returns: x is float32 `(batch, *shape)`, its outputs are
    `(batch, classes)`. What y is depends on the loss; by default int64 `(batch,)` below classes.
    """

    shape: tuple[int, ...]
    classes: int
    dtype: str = "float32"
    tokens: int | None = None
    """x holds whole numbers from 0 below this, which the model looks up; None: any numbers."""


class ParameterSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the parameter table."""

    name: str
    shape: tuple[int, ...]
    group: Group
    dtype: str = "float32"

    @property
    def tensor(self) -> TensorSpec:
        """The same row without its group, as the tensor codec wants it."""
        return TensorSpec(self.name, self.shape, self.dtype)


class CachedGraphs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A gradient graph in two parts: what comes before everything trained, and the rest."""

    features: FileRecord
    """(frozen parameters, x) -> features, to be run once for each sample."""
    gradients: FileRecord
    """(parameters, features, x, y, weight) -> what the whole graph returns."""
    shapes: tuple[tuple[int, ...], ...]
    """Of one sample, for each feature; all float32."""


class RuntimeGraphs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The graphs of one runtime: `predict` and one gradient graph per trainable set in use.

    A file that holds several of them is named by each.
    """

    predict: FileRecord
    gradients: dict[TrainableSet, FileRecord]
    cached: dict[TrainableSet, CachedGraphs] = {}
    """The same gradients from features, for the sets where that saves work; never needed."""
    batch_size: int | None = None
    """Samples that every graph takes at a time; None for any number."""

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Every file of the runtime."""
        parts = (f for c in self.cached.values() for f in (c.features, c.gradients))
        return (self.predict, *self.gradients.values(), *parts)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything about a bundle that is not a tensor or a graph."""

    format_version: int
    model: str
    input: InputSpec
    parameters: tuple[ParameterSpec, ...]
    personal_patterns: tuple[str, ...]
    schedule: Schedule
    weights: dict[Group, FileRecord]
    runtimes: dict[str, RuntimeGraphs]
    loss: LossSpec = LossSpec()

    def layout(self, group: Group) -> tuple[TensorSpec, ...]:
        """The tensors of one group, in the model's order."""
        return tuple(row.tensor for row in self.parameters if row.group is group)

    @property
    def partition(self) -> Partition:
        """The partition that the parameter table records."""
        names = {g: tuple(p.name for p in self.parameters if p.group is g) for g in Group}
        return Partition(names[Group.PERSONAL], names[Group.SHARED], self.personal_patterns)

    @property
    def digest(self) -> str:
        """sha256 of the canonical encoding: the identity of the bundle."""
        return sha256_hex(encode_manifest(self))

    def files(self) -> tuple[FileRecord, ...]:
        """Every file that the archive must hold beside the manifest, each once."""
        graphs = (record for runtime in self.runtimes.values() for record in runtime.files)
        return tuple(dict.fromkeys((*self.weights.values(), *graphs)))


def encode_manifest(manifest: Manifest) -> bytes:
    """The canonical JSON of a manifest (keys sorted, so that equal manifests are equal bytes)."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1)


def decode_manifest(data: bytes) -> Manifest:
    """The manifest in `data`, checked for inner consistency; BundleError says what is wrong."""
    try:
        version = decode_json(data, _VersionOnly).format_version
    except msgspec.DecodeError as error:
        raise BundleError(f"manifest.json cannot be read: {error}") from error
    if version != FORMAT_VERSION:
        raise BundleError(
            f"manifest.json has format version {version}; this pfedfrz reads {FORMAT_VERSION}: "
            "export the model again with this version"
        )
    try:
        manifest = decode_json(data, Manifest)
    except (msgspec.DecodeError, ConfigurationError) as error:
        # A ConfigurationError is what a schedule or a loss says of itself.
        raise BundleError(f"manifest.json cannot be read: {error}") from error
    _check(manifest)
    return manifest


def _fits(shape: tuple[int, ...]) -> bool:
    return len(shape) <= MAX_RANK and all(extent >= 1 for extent in shape)


class _VersionOnly(msgspec.Struct):
    format_version: int


def _check(manifest: Manifest) -> None:
    rows = manifest.parameters
    names = [row.name for row in rows]
    faults: list[str] = []
    if not 1 <= len(rows) <= MAX_PARAMETERS:
        faults.append(f"{len(rows)} parameters (want 1 to {MAX_PARAMETERS})")
    shown = (manifest.model, *names, *manifest.personal_patterns, *manifest.runtimes)
    bad = next((name for name in shown if not name.isprintable()), None)
    if bad is not None:  # it would act on the terminal of whoever reads it
        raise BundleError(
            f"manifest.json is inconsistent: the name '{one_line(bad, _MOST_SHOWN)}' has "
            "characters that cannot be printed"
        )
    if len(set(names)) != len(names):
        faults.append("a parameter name occurs twice")
    if any(row.dtype != "float32" for row in rows) or manifest.input.dtype != "float32":
        faults.append("a dtype other than float32")
    shapes = [*(row.shape for row in rows), manifest.input.shape]
    if not all(map(_fits, shapes)):
        faults.append(f"a shape with an extent below 1 or a rank above {MAX_RANK}")
    elif sum(row.tensor.elements for row in rows) > MAX_ELEMENTS:
        faults.append(f"more than {MAX_ELEMENTS} weights")
    if manifest.input.classes < 1:
        faults.append("fewer than one class")
    if manifest.input.tokens is not None and not 1 <= manifest.input.tokens <= MAX_TOKENS:
        faults.append(f"{manifest.input.tokens} tokens (want 1 to {MAX_TOKENS})")
    if manifest.schedule.keeps_copy and any(row.group is Group.PERSONAL for row in rows):
        faults.append("a schedule with a copy of the shared weights beside personal ones")
    if set(manifest.weights) != set(Group):
        faults.append("weights for one group are missing")
    files = [record.file for record in manifest.files()]
    if len(set(files)) != len(files):
        faults.append("two records of one file that differ")
    for runtime, graphs in manifest.runtimes.items():
        if graphs.batch_size is not None and not 1 <= graphs.batch_size <= MAX_BATCH:
            faults.append(f"runtime {runtime} takes {graphs.batch_size} samples at a time")
        missing = set(manifest.schedule.trainable_sets) - set(graphs.gradients)
        if missing:
            kinds = ", ".join(sorted(kind.value for kind in missing))
            faults.append(f"runtime {runtime} lacks the gradient graph for: {kinds}")
        features = [shape for cached in graphs.cached.values() for shape in cached.shapes]
        if not set(graphs.cached) <= set(graphs.gradients):
            faults.append(f"runtime {runtime} has features for a graph that it lacks")
        if any(not cached.shapes for cached in graphs.cached.values()) or not all(
            map(_fits, features)
        ):
            faults.append(f"runtime {runtime} has features of an impossible shape")
    if faults:
        raise BundleError("manifest.json is inconsistent: " + "; ".join(faults))
