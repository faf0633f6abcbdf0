"""Record batches made by hand, for what no client library writes: damaged, oversized and odd ones.

``send`` hands one to a broker by a Produce request over a plain socket; the broker checks it as it checks any other.
``damage`` changes bytes of one that stands in the broker's log already, as a failing disk does.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Header = tuple[bytes, bytes | None]
Raw = tuple[bytes | None, bytes | None, Sequence[Header]]
"""Key, value and headers, whose names are bytes: that is what Kafka keeps."""

_BODY = 21
"""Where a batch's checksum begins to count: behind base offset, length, leader epoch, magic and the checksum."""
_NONE, _GZIP, _ZSTD = 0, 1, 4


def batch(records: Sequence[Raw], compress: Callable[[bytes], bytes] | None = None, codec: int = _NONE) -> bytes:
    """One batch of the present format (magic 2), its checksum right."""
    now = time.time_ns() // 1_000_000
    body = b"".join(_record(number, *record) for number, record in enumerate(records))
    return _sealed(
        struct.pack(">hiqqqhii", codec, len(records) - 1, now, now, -1, -1, -1, len(records))
        + (compress(body) if compress else body)
    )


def send(server: str, topic: str, made: bytes, partition: int = 0) -> tuple[int, int]:
    """Produce it, acknowledged by all. Returns Kafka's error code (0: taken) and the base offset that it got."""
    name = topic.encode()
    request = struct.pack(">hhih", 0, 7, 1, 4) + b"test"  # Produce, version 7
    request += struct.pack(">hhi", -1, -1, 10_000) + struct.pack(">ih", 1, len(name)) + name
    request += struct.pack(">iii", 1, partition, len(made)) + made
    host, _, port = server.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as link:
        link.sendall(struct.pack(">i", len(request)) + request)
        answer = _take(link, struct.unpack(">i", _take(link, 4))[0])
    at = 4 + 4 + 2 + len(name) + 4 + 4  # correlation, topics, name, partitions, partition
    error, base = struct.unpack_from(">hq", answer, at)
    return error, base


def segment(data: Path, topic: str, partition: int = 0) -> Path:
    """The file that holds the head of the partition, below a broker's data folder."""
    found: Path = next(data.rglob(f"{topic}-{partition}/00000000000000000000.log"))
    return found


def damage(file: Path, base: int, change: Callable[[bytearray], None]) -> None:
    """Change the batch that begins at offset ``base``, where it stands; the broker reads it anew with every fetch."""
    content, at = file.read_bytes(), 0
    while struct.unpack_from(">q", content, at)[0] != base:
        at += 12 + struct.unpack_from(">i", content, at + 8)[0]
    size = 12 + struct.unpack_from(">i", content, at + 8)[0]
    changed = bytearray(content[at : at + size])
    change(changed)
    assert len(changed) == size
    with file.open("r+b") as open_file:
        open_file.seek(at)
        open_file.write(changed)


def reseal(made: bytearray) -> None:
    """Make the checksum right again after a change."""
    struct.pack_into(">I", made, _BODY - 4, crc32c(bytes(made[_BODY:])))


def _sealed(body: bytes) -> bytes:
    head = struct.pack(">ibI", -1, 2, crc32c(body))  # leader epoch, magic, checksum
    return struct.pack(">qi", 0, len(head) + len(body)) + head + body


def _record(number: int, key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> bytes:
    body = b"\0" + _varint(0) + _varint(number) + _bytes(key) + _bytes(value) + _varint(len(headers))
    body += b"".join(_bytes(name) + _bytes(content) for name, content in headers)
    return _varint(len(body)) + body


def _bytes(content: bytes | None) -> bytes:
    return _varint(-1) if content is None else _varint(len(content)) + content


def _varint(number: int) -> bytes:
    left, out = (number << 1) ^ (number >> 63), bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def _take(link: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = link.recv(size - len(found))
        assert more, "the broker hung up"
        found += more
    return found


def _table() -> list[int]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    return table


_TABLE = _table()


def crc32c(content: bytes) -> int:
    """The checksum of a batch (Castagnoli)."""
    found = 0xFFFFFFFF
    for byte in content:
        found = found >> 8 ^ _TABLE[(found ^ byte) & 0xFF]
    return found ^ 0xFFFFFFFF
