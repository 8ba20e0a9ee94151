"""What every route that sends a file says of it."""

from __future__ import annotations

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
#: For an address under which there will never be another file.
FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}
