"""Chunks gathered in a file until they are worth a statement of DuckDB's.

A statement takes milliseconds to plan, whatever it reads. The bytes wait on disk, so that a batch
may be large while memory stays small.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from karma.dumps.lines import Chunk, LongLine, Reject

SIZE = 16 << 20
# Millions of tiny lines would make a large table.
LINES = 1 << 17


@dataclass
class Batch:
    """Whole lines in a file: the number of the first (from 1), and where it begins in the stream.

    ``offsets`` says where each line's record begins, if the lines were made from records of another
    format; ``rejects`` are records set aside already, an empty object in the place of each.
    """

    file: Path
    line: int
    offset: int
    count: int = 0
    size: int = 0
    offsets: list[int] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    def add(self, chunk: Chunk) -> None:
        """Take the chunk that follows in the stream."""
        with self.file.open("ab") as out:
            out.writelines(chunk.parts)
        self.count += chunk.count
        self.size += sum(map(len, chunk.parts))
        self.offsets += chunk.offsets
        self.rejects += chunk.rejects


def batches(
    pieces: Iterable[Chunk | LongLine], folder: Path, size: int = SIZE, lines: int = LINES
) -> Iterator[Batch | LongLine]:
    """The chunks in batches of about ``size`` bytes or ``lines`` lines, the long lines between.

    Each batch has a file of its own in ``folder``, which is the caller's to delete.
    """
    batch: Batch | None = None
    for piece in pieces:
        if isinstance(piece, LongLine):
            if batch is not None:
                yield batch
                batch = None
            yield piece
            continue
        if batch is None:
            batch = Batch(folder / f"{piece.line}.ndjson", piece.line, piece.offset)
            # A run that was killed may have left one.
            batch.file.unlink(missing_ok=True)
        batch.add(piece)
        if batch.size >= size or batch.count >= lines:
            yield batch
            batch = None
    if batch is not None:
        yield batch
