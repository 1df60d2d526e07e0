"""What a device trains on: an .npz file, a folder of images, a table, or one's own function."""

from __future__ import annotations

from .address import SourceAddress, SourceKind, parse_address
from .csv_settings import BadRows, CsvSettings
from .device_data import DeviceData, open_device_data, open_source
from .image_settings import Fit, ImageSettings
from .labelled import DataFeed, LabelledData, LocalData
from .npz import load_labelled
from .settings import DataSettings
from .source import Reading, Source

__all__ = [
    "BadRows",
    "CsvSettings",
    "DataFeed",
    "DataSettings",
    "DeviceData",
    "Fit",
    "ImageSettings",
    "LabelledData",
    "LocalData",
    "Reading",
    "Source",
    "SourceAddress",
    "SourceKind",
    "load_labelled",
    "open_device_data",
    "open_source",
    "parse_address",
]
