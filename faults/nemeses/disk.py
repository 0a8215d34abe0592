"""The disk of a server on SQLite: full, and free again."""

from __future__ import annotations

from faults.nemeses.nemesis import Nemesis
from faults.world import World
from tests.services.small_disk import SmallDisk


class FillDisk(Nemesis):
    """Nothing can be written; what needs no row goes on."""

    name = "fill the disk"
    seconds = (2.0, 25.0)

    @classmethod
    def is_possible(cls, world: World) -> bool:
        """Only where the file of SQLite has a disk of its own."""
        return world.disk is not None

    @property
    def disk(self) -> SmallDisk:
        """The one of the run."""
        assert self.world.disk is not None
        return self.world.disk

    def begin(self) -> str:
        """To the last byte."""
        return f"{self.disk.fill()} bytes"

    def heal(self) -> None:
        """Somebody has deleted what was in the way."""
        self.disk.free()
