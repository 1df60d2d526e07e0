"""An image of a device's folder, as it stands there."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image
from recipe import Recipe

from pfedfrz_edge.data import Fit
from pfedfrz_edge.data.image_decoding import NotAnImage, decode_image

SHAPES = ((1, 8, 8), (3, 5, 7))


def target(data: bytes) -> None:
    """Pixels of the shape that was asked for, or one line."""
    recipe = Recipe(data)
    form = recipe.number()
    shape, fit = SHAPES[form & 1], (Fit.STRETCH, Fit.CROP)[form >> 1 & 1]
    try:
        pixels = decode_image(recipe.rest(), shape, fit, 4e6)
    except NotAnImage as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert pixels.shape == shape and pixels.dtype == np.uint8 and pixels.base is None


def _saved(kind: str, mode: str = "L", size: tuple[int, int] = (6, 4), **more: object) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, 7 if len(mode) == 1 or mode == "I;16" else (7,) * len(mode)).save(
        stream, kind, **more
    )
    return stream.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _png(width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join((_chunk(b"IHDR", header), *chunks, _chunk(b"IEND", b"")))


def seeds() -> dict[str, bytes]:
    zeros = zlib.compress(bytes(4 << 20), 9)
    exif = Image.Exif()
    exif[0x0112] = 6
    images = {
        "png-grey": _saved("PNG"),
        "png-rgb": _saved("PNG", "RGB"),
        "png-rgba": _saved("PNG", "RGBA"),
        "png-palette": _saved("PNG", "P"),
        "png-one-bit": _saved("PNG", "1"),
        "png-wide": _saved("PNG", "I;16"),
        "png-exif": _saved("PNG", exif=exif),
        "jpeg": _saved("JPEG", "RGB"),
        "jpeg-exif": _saved("JPEG", exif=exif),
        "jpeg-cmyk": _saved("JPEG", "CMYK"),
        "jpeg-progressive": _saved("JPEG", progressive=True),
        "bmp": _saved("BMP", "RGB"),
        "pgm": b"P5 6 4 255\n" + bytes(24),
        "pgm-text": b"P2 2 2 9 1 2 3 4",
        "pgm-wide": b"P5 2 2 65535\n" + bytes(range(8)),
        "ppm": _saved("PPM", "RGB"),
        "pfm": b"Pf\n2 2\n-1.0\n" + bytes(16),
        "pam": b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\nENDHDR\n\0\0\0\0",
        "gif": _saved("GIF"),
        "tiff": _saved("TIFF"),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n",
        "empty": b"",
        "png-bomb": _png(20000, 20000, 8, 0, _chunk(b"IDAT", zeros)),
        "png-text-bomb": _png(
            4, 4, 8, 0, _chunk(b"zTXt", b"a\0\0" + zeros), _chunk(b"IDAT", zeros)
        ),
        "png-icc-bomb": _png(4, 4, 8, 0, _chunk(b"iCCP", b"a\0\0" + zeros), _chunk(b"IDAT", zeros)),
        "png-deflate-bomb": _png(4, 4, 8, 0, _chunk(b"IDAT", zeros)),
        "png-oversized": _png(2**31 - 1, 2**31 - 1, 16, 6, _chunk(b"IDAT", b"")),
        "png-no-extent": _png(0, 0, 8, 0, _chunk(b"IDAT", b"")),
        "pgm-huge": b"P5 99999999999 99999999999 255\n",
        "pgm-negative": b"P5 -4 -4 255\n" + bytes(16),
        "pgm-long-comment": b"P5 #" + b"x" * 5000,
        "bmp-negative": b"BM"
        + bytes(8)
        + struct.pack("<IIiiHH", 54, 40, -4, -4, 1, 24)
        + bytes(80),
    }
    found = {f"{name}": b"\x00" + data for name, data in images.items()}
    for name in ("png-rgb", "jpeg", "bmp", "ppm"):
        found[f"{name}-cropped"] = b"\x03" + images[name]
        found[f"{name}-truncated"] = b"\x01" + images[name][: len(images[name]) * 2 // 3]
    return found
