"""A folder or a bucket that streams go to: whether it is there and can be read, and a folder also written to."""

import time
import uuid

from spool import Disk
from uploader.addresses import folder_of
from uploader.destinations.stores.base import StoreTrouble
from uploader.destinations.stores.folder import MARK_NAME
from uploader.destinations.stores.making import make_store
from uploader.doctor.findings import Finding, Subject, ok, problem, warning

_KEPT = "What is recorded stays in the spool, and is delivered as soon as it is there."


def store(subject: Subject) -> Finding:
    """Ask for an object that is not there, which a store answers that is in order."""
    folder = folder_of(subject.endpoint)
    if folder is not None and not folder.parent.is_dir():
        return problem(f"{folder.parent} is not there", f"Mount its share, or name another folder. {_KEPT}")
    if folder is not None and not folder.is_dir():
        return warning(f"{folder} is not there yet", "The first recording makes it.")
    if folder is not None and not (folder / MARK_NAME).is_file():
        return warning(
            f"{folder} has no mark ({MARK_NAME})",
            "The first recording marks it, if this is the folder that is meant: see that its share is mounted.",
        )
    name = f".framespool-doctor-{uuid.uuid4().hex}"
    began = time.perf_counter()
    try:
        make_store(subject.endpoint).read(name)
    except StoreTrouble as error:
        return problem(str(error), f"See where it is, and what it lets us do. {_KEPT}")
    answer_s = time.perf_counter() - began
    if folder is None:
        seen = f"{subject.endpoint} answers after {answer_s * 1e3:.0f} ms, and lets itself be read"
        return ok(f"{seen}; that it takes objects is told by the first chunk", answer_s=answer_s)
    probe = folder / name
    try:
        Disk().write_new(probe, [b"doctor"], label="doctor")
    finally:
        probe.unlink(missing_ok=True)
    return ok(f"{folder} is marked, and takes files", answer_s=answer_s)
