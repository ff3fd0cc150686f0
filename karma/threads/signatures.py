"""The job ``threads/signatures/<dump>``: what tells the near-duplicates of a dump's comments.

Kept apart from the ranges, one artefact a dump, so that a range can look back at every month before
it without reading a text again, and a new month changes nothing of the old ones.
"""

from typing import Any

from karma import sql
from karma.jobs import Job, write_json

FILE = "signatures.parquet"


def run(job: Job) -> None:
    """Write ``FILE``: for each comment of at least ``duplicate_chars`` characters its
    thread, its time and two hashes, of which near-duplicates share one."""
    settings: dict[str, Any] = job.config["threads"]
    folder, out = job.inputs["dump"], job.out / FILE
    if not (folder / "comments.parquet").exists():
        write_json(job.out / "metrics.json", {"signatures": 0})
        return  # a corpus of posts alone
    connection = sql.connect([folder, job.out], job.scratch, memory_mb=settings["memory_mb"])
    parameters = {
        "comments": sql.plain(folder / "comments.parquet"),
        "out": sql.plain(out),
        "duplicate_chars": settings["duplicate_chars"],
        "bots": settings["bots"] == "keep",
    }
    ((rows,),) = connection.execute(sql.statement("threads/signatures"), parameters).fetchall()
    connection.close()
    write_json(job.out / "metrics.json", {"signatures": rows})
    print(f"{rows} comments have a signature")
