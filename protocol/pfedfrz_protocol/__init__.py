"""The contract between rooms and machines: no I/O, no torch, no MQTT."""

from __future__ import annotations

from .bundle import Bundle, Parameters, read_bundle, write_bundle
from .errors import (
    BundleError,
    ConfigurationError,
    OperationError,
    PfedfrzError,
    ProtocolError,
    RejectReason,
)
from .manifest import (
    FORMAT_VERSION,
    FileRecord,
    InputSpec,
    Manifest,
    ParameterSpec,
    RuntimeGraphs,
    decode_manifest,
    encode_manifest,
    sha256_hex,
)
from .partition import Group, Partition, TensorSpec, partition_by_patterns, uniform_partition
from .schedule import Phase, Schedule, TrainableSet

__all__ = [
    "FORMAT_VERSION",
    "Bundle",
    "BundleError",
    "ConfigurationError",
    "FileRecord",
    "Group",
    "InputSpec",
    "Manifest",
    "OperationError",
    "ParameterSpec",
    "Parameters",
    "Partition",
    "PfedfrzError",
    "Phase",
    "ProtocolError",
    "RejectReason",
    "RuntimeGraphs",
    "Schedule",
    "TensorSpec",
    "TrainableSet",
    "decode_manifest",
    "encode_manifest",
    "partition_by_patterns",
    "read_bundle",
    "sha256_hex",
    "uniform_partition",
    "write_bundle",
]
