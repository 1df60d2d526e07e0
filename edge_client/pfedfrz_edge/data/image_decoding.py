"""One image file's content as the pixels that a model takes.

The only importer of Pillow. Its decoders are limited to four formats, because each of the others is
one more parser of other people's bytes, and the size is looked at before anything is unpacked.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .image_settings import Fit

__all__ = ["NotAnImage", "decode_image", "shape_of_image"]

_FORMATS = ("PNG", "JPEG", "BMP", "PPM")
"""Pillow's name for PGM is PPM."""
_WIDE = ("I", "I;16", "I;16L", "I;16B", "I;16N")
"""Modes of grey images with 16 bits; converted by Pillow they would be cut off at 255."""

# What it warns of (large images, odd metadata) is either refused below or does not matter.
warnings.filterwarnings("ignore", module=r"PIL\.")


class NotAnImage(ValueError):
    """Content that no image comes out of; the message is one line for people."""


def decode_image(
    content: bytes, shape: tuple[int, int, int], fit: Fit, max_pixels: float
) -> NDArray[np.uint8]:
    """Pixels of `shape` (channels, height, width) uint8, one channel (grey) or three (RGB).

    Turned as its EXIF data say; transparency is dropped. Another size is brought to the model's by
    Pillow's bilinear filter, which takes the mean where it shrinks. Raises NotAnImage.
    """
    try:
        # Opening reads the header alone.
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise NotAnImage(
                    f"{image.width} x {image.height} pixels, more than {max_pixels / 1e6:g} million"
                )
            if not pixels:
                raise NotAnImage("no pixels")
            return _pixels(image, shape, fit)
    except NotAnImage:
        raise
    except UnidentifiedImageError as error:
        raise NotAnImage("not a PNG, JPEG, BMP or PGM image") from error
    except Exception as error:
        # Out of damaged images its decoders let whatever they meet: OSError, SyntaxError,
        # struct.error, zlib.error, IndexError and more.
        line = (str(error).splitlines() or [""])[0]
        raise NotAnImage(line or type(error).__name__) from error


def shape_of_image(content: bytes) -> tuple[int, int, int]:
    """(channels, height, width) as the header says: one channel for grey, else three.

    Raises NotAnImage.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            grey = image.mode in ("1", "L", "LA", *_WIDE)
            return (1 if grey else 3), image.height, image.width
    except Exception as error:
        raise NotAnImage("not a PNG, JPEG, BMP or PGM image") from error


def _pixels(image: Image.Image, shape: tuple[int, int, int], fit: Fit) -> NDArray[np.uint8]:
    channels, height, width = shape
    if image.mode in _WIDE:
        values = np.asarray(image).astype(np.int64).clip(0, 0xFFFF)
        grey: Image.Image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise NotAnImage("pixels are floating-point numbers")
    else:
        grey = image
    turned = ImageOps.exif_transpose(grey) if grey is image else grey
    plain = turned.convert("L" if channels == 1 else "RGB")
    if plain.size != (width, height):
        if fit is Fit.CROP:
            plain = ImageOps.fit(plain, (width, height), Image.Resampling.BILINEAR)
        else:
            plain = plain.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain, np.uint8)
    # A copy either way: an array over Pillow's memory would keep the image alive.
    return pixels[None].copy() if channels == 1 else pixels.transpose(2, 0, 1).copy()
