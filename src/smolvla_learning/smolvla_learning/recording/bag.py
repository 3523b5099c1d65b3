# SPDX-License-Identifier: Apache-2.0
"""Reads a rosbag2, sqlite3 or MCAP, without ROS.

with Bag.open(Path("run_1")) as bag:
    bag.types                                        # topic -> type of its messages
    for topic, time_ns, data in bag.messages(["/joint_states"]):
        message = bag.read(topic, data)
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

METADATA = "metadata.yaml"
STORAGES = (".mcap", ".db3")
"""How the files of a bag end."""


class BagError(ValueError):
    """A bag cannot be read; the text names it and says what to do."""


class Bag:
    """An open bag; made by `open`, and a context manager that closes it.

    Args:
        path: folder or file.
        reader: that is open.

    Attributes:
        path: folder or file.
        types: topic -> ROS's name of the type of its messages; several types, which only a broken
            recorder leaves, with a comma between them.
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        self.path = path
        self._reader = reader
        self._connections: dict[str, list[Connection]] = {}
        for connection in reader.connections:
            self._connections.setdefault(connection.topic, []).append(connection)
        self.types = {
            topic: ", ".join(sorted({connection.msgtype for connection in connections}))
            for topic, connections in sorted(self._connections.items())
        }
        # The messages of ROS itself; they are the same in all releases. A bag defines its own.
        self._store = get_typestore(Stores.LATEST)

    @classmethod
    def open(cls, path: Path) -> Bag:
        """Open a folder with its metadata.yaml, or one .mcap or .db3 file.

        Raises:
            BagError: there is none, or it is damaged.
        """
        if path.is_dir() and not (path / METADATA).exists():
            files = sorted(file.name for file in path.iterdir() if file.suffix in STORAGES)
            if not files:
                raise BagError(
                    f"{path}: no bag: it has neither {METADATA} nor .mcap or .db3 files"
                )
            raise BagError(
                f"{path}: it has no {METADATA}: its recorder was killed, or records still. "
                f"`ros2 bag reindex {path}` writes one; or give the file: {path / files[0]}"
            )
        if path.is_file() and path.suffix not in STORAGES:
            raise BagError(
                f"{path}: no bag: give its folder, or a file that ends in {' or '.join(STORAGES)}"
            )
        if not path.exists():
            raise BagError(f"{path}: no such bag")
        for log in path.glob("*.db3-wal") if path.is_dir() else [Path(f"{path}-wal")]:
            if log.exists() and log.stat().st_size:
                raise BagError(
                    f"{log}: holds messages that are not in the bag yet: its recorder was killed, "
                    f"or records still. `sqlite3 {str(log).removesuffix('-wal')} 'PRAGMA "
                    "journal_mode=DELETE'` takes them in"
                )
        with _reading(path):
            reader = Reader(path)
            reader.open()
        return cls(path, reader)

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()

    def define(self, topic: str) -> bool:
        """Learn a type that is none of ROS's own from the bag. Returns whether it is known."""
        kind = self.types.get(topic, "")
        if kind in self._store.fielddefs:
            return True
        for connection in self._connections.get(topic, ()):
            definition = connection.msgdef
            if definition.format == MessageDefinitionFormat.MSG:
                with _reading(self.path):
                    found = get_types_from_msg(definition.data, kind)
                    self._store.register(
                        {
                            name: of
                            for name, of in found.items()
                            if name not in self._store.fielddefs
                        }
                    )
                return True
        return False

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Return topic, time of reception [ns] and content of the messages, in their order.

        Raises:
            BagError: the bag is damaged.
        """
        chosen = [
            connection for topic in topics for connection in self._connections.get(topic, ())
        ]
        if not chosen:
            return
        with _reading(self.path):
            for connection, time_ns, data in self._reader.messages(chosen):
                yield connection.topic, time_ns, bytes(data)

    def read(self, topic: str, data: bytes) -> Any:
        """Return a message, with the fields that it has in ROS.

        Raises:
            BagError: it is broken.
        """
        with _reading(self.path, f"a message on {topic}"):
            known = self._store.get_msgdef(self.types[topic])
            little_endian = data[1] & 1
            read = known.deserialize_cdr_le if little_endian else known.deserialize_cdr_be
            # Not `deserialize_cdr`, which refuses what rclpy's serialize_message leaves behind the
            # message, in the bags of programs that write with rosbag2_py.
            return read(data[4:], 0, known.cls, self._store)[0]


@contextlib.contextmanager
def _reading(path: Path, what: str = "the bag") -> Iterator[None]:
    """Turn what goes wrong in a damaged file into a BagError; it may be anything."""
    try:
        yield
    except BagError:
        raise
    except Exception as error:
        killed = path.suffix == ".mcap" or any(path.glob("*.mcap"))
        advice = (
            ". Was its recorder killed? `mcap recover FILE.mcap -o NEW.mcap` saves what is in it"
            if killed and what == "the bag"
            else ""
        )
        text = " ".join(str(error).split()).rstrip(".")
        raise BagError(
            f"{path}: {what} cannot be read: {text or type(error).__name__}{advice}"
        ) from error
