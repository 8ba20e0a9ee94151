"""What the server and its worker say to each other: plain values and picture bytes, never objects.

Unpickling runs whatever the bytes name. Here a frame is JSON and, for pixels, raw bytes behind it, so that
neither side can make the other do anything but read an `Event` or a `Plan`.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from typing import Any, BinaryIO, cast

from fooocus_lite.events import Event, event_from_dict
from fooocus_lite.plan import Plan, plan_from_dict

#: (kind, number of the run, value). To the worker: ``engine`` with its name and options, ``warm_up`` with a plan
#: or None, ``run`` with a list of plans, ``stop`` with the place of one of them, ``expand`` with what an `Expansion`
#: says. Back: ``event`` with (place of the plan, event), ``about`` with a dict, ``words`` with the words or the
#: problem.
Message = tuple[str, int, Any]
_HEADER = struct.Struct(">II")  # bytes of JSON, bytes of picture


def send_frame(stream: BinaryIO, message: Message) -> None:
    """Write one message.

    Raises:
        TypeError: the value is nothing that JSON can say; nothing was written.
    """
    kind, number, value = message
    picture = b""
    if kind == "event":
        place, event = cast("tuple[int, Event]", value)
        value, picture = [place, event.to_dict()], event.picture_bytes
    elif kind == "run":
        value = [asdict(plan) for plan in cast("list[Plan]", value)]
    elif isinstance(value, Plan):
        value = asdict(value)
    stream.write(join_frame([kind, number, value], picture))
    stream.flush()


def read_frame(stream: BinaryIO) -> Message | None:
    """The next message, or None at the end of the stream, also in the middle of a frame.

    Raises:
        ValueError: these bytes are no message.
    """
    frame = read_raw_frame(stream)
    if frame is None:
        return None
    said, picture = split_frame(frame)
    try:
        kind, number, value = said
        return str(kind), int(number), _value(kind, value, picture)
    except (TypeError, KeyError, AttributeError) as exc:
        raise ValueError(f"not a message between server and worker: {str(said)[:80]!r}") from exc


def read_raw_frame(stream: BinaryIO) -> bytes | None:
    """The next frame as it is, or None at the end of the stream: for whoever only passes it on."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    size = sum(_HEADER.unpack(header))
    body = stream.read(size)
    return header + body if len(body) == size else None


def split_frame(frame: bytes) -> tuple[list[Any], bytes]:
    """(what a whole frame says, its picture); nothing of it is taken for more than plain values.

    Raises:
        ValueError: these bytes are no message.
    """
    text_size, _ = _HEADER.unpack_from(frame)
    text_end = _HEADER.size + text_size
    return json.loads(frame[_HEADER.size : text_end]), frame[text_end:]


def join_frame(said: list[Any], picture: bytes = b"") -> bytes:
    """The inverse of `split_frame`.

    Raises:
        TypeError: a value is nothing that JSON can say.
    """
    text = json.dumps(said).encode("ascii")
    return _HEADER.pack(len(text), len(picture)) + text + picture


def _value(kind: str, value: Any, picture: bytes) -> Any:
    if kind == "event":
        place, event = value
        return int(place), event_from_dict(event, picture)
    if kind == "run":
        return [plan_from_dict(plan) for plan in value]
    return plan_from_dict(value) if kind == "warm_up" and value is not None else value
