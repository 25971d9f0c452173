"""What every action of one raw record has in common: where it lies, who sent it and when."""

import msgspec

from tachograph.pipeline.normalize.assurance import Sender
from tachograph.pipeline.normalize.raw import RawRecord
from tachograph.pipeline.replayed import item_of, place_of


class Origin(msgspec.Struct, gc=False):
    """What every action of one raw record has in common."""

    record: RawRecord
    tenant: str
    observed_us: int | None
    principal: str | None
    door: bool = False  # the door signed it
    lone: bool = False  # the record holds exactly one item

    @property
    def replayed(self) -> str | None:
        """Where the record first lay, if it was put back."""
        return place_of(self.record.headers) if self.record.headers else None

    def place_of(self, index: int) -> str:
        """Where an item of the record first lay in the log."""
        record, first = self.record, self.replayed
        if first is not None:
            return f"{record.topic}/{item_of(first, index)}"
        return f"{record.topic}/{record.partition}/{record.offset}/{index}"

    @property
    def sender(self) -> Sender:
        """How it came, as far as that is proved."""
        return Sender(self.record.topic, self.tenant, self.door, self.principal)

    @property
    def source(self) -> str:
        """Whose dead letters are counted together: the principal the door named, else the place."""
        topic = self.record.topic
        return f"{topic}/{self.principal}" if self.principal else f"{topic}/{self.record.partition}"
