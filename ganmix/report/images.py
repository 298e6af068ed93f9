"""Sample grids small enough for a page, as data URIs."""

import base64
import io
from pathlib import Path

from PIL import Image

SIDE = 400  # pixels
LARGE_PNG = 160_000  # bytes; a colour image above it becomes a JPEG


def data_uri(path: Path) -> str | None:
    """Return an image, at most `SIDE` pixels wide and high, as a data URI; None where it cannot be read."""
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError:
        return None
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    red, green, blue = (channel.tobytes() for channel in image.split())
    is_grey = red == green == blue
    data = _encoded(image.convert("L") if is_grey else image, "png", optimize=True)
    kind = "png"
    if len(data) > LARGE_PNG and not is_grey:
        data, kind = _encoded(image, "jpeg", quality=90, subsampling=0), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
