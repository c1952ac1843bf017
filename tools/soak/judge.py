"""The judgement: obligations against the bytes at the far end, and the audit against the truth, chunk by chunk."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from spool import Spool, SpoolError, make_proof, read_proof
from spool.testing import check_invariants
from tools.soak.figures import Figures
from tools.soak.obligations import (
    Obligation,
    Promised,
    everything_promised,
    frames_digest,
    push_times_ms,
    pushes_begun,
)
from uploader.loopback.process import LoopbackServer

_CHECKOUT = Path(__file__).resolve().parents[2]
_AUDIT_S = 120.0


def judge(folder: Path, spool: Spool, server: LoopbackServer, figures: Figures) -> None:
    """Count everything that was promised, and every promise that was not kept.

    Args:
        folder: where the producers' records are.
        spool: quiet, with everything drained.
        server: running.
        figures: gets the numbers and the violations.
    """
    streams = everything_promised(folder)
    times_ms = push_times_ms(folder)
    figures.streams = len(streams)
    figures.pushes = pushes_begun(folder)
    figures.pushed_again = figures.pushes - sum(len(stream.chunks) for stream in streams)
    figures.push_ms_p50 = float(np.median(times_ms)) if times_ms else 0.0
    figures.push_ms_max = max(times_ms, default=0.0)
    for promised in streams:
        # One that began without the server is known to its producer by our own id only.
        promised.data_id = spool.stream(promised.data_id).data_id or promised.data_id
    known = {part.data_id for stream in spool.streams() for part in stream.parts}
    for data_id, told in server.state()["streams"].items():
        if told["chunks"] and data_id not in known:
            figures.violate("extra", f"the server has chunks of {data_id}, which the spool does not know")
    for promised in streams:
        _judge_stream(promised, spool.root, server, figures)
        _judge_proof(promised.data_id, spool, server.objects(promised.data_id), figures)
    try:
        check_invariants(spool)
    except AssertionError as error:
        figures.violate("audit_differs", f"the spool contradicts itself: {error}")


def _judge_stream(promised: Promised, root: Path, server: LoopbackServer, figures: Figures) -> None:
    figures.obligations += sum(one.accepted for one in promised.chunks.values())
    figures.in_doubt += sum(not one.accepted for one in promised.chunks.values())
    told, is_complete = audit_of(promised.data_id, root)
    audited = {chunk["chunk_idx"]: chunk for chunk in told["chunks"]}
    # The truth: everything accepted, and of what was in doubt that which the far end or the audit knows.
    objects = server.objects(promised.data_id)
    for idx in sorted({*audited, *objects} - promised.chunks.keys()):
        figures.violate("extra", f"{promised.data_id} chunk {idx} was never pushed")
    for idx, one in sorted(promised.chunks.items()):
        if one.accepted and (idx not in objects or idx not in audited):
            figures.violate("lost", f"{promised.data_id} chunk {idx}: {_where(idx, objects, audited)}")
        elif (idx in objects) != (idx in audited):
            figures.violate("audit_differs", f"{promised.data_id} chunk {idx}: {_where(idx, objects, audited)}")
        elif idx in objects:
            figures.delivered += 1
            _judge_chunk(promised, one, audited[idx], objects[idx], figures)
    if objects:
        _judge_frames(promised, objects, server, figures)
        _judge_receptions(promised.data_id, audited, server, figures)
    _judge_summary(promised.data_id, told, is_complete, sorted(audited), figures)


def _judge_chunk(promised: Promised, one: Obligation, told: dict[str, Any], body: bytes, figures: Figures) -> None:
    truth = {
        "state": "acknowledged",
        "sha256": hashlib.sha256(body).hexdigest(),
        "bytes": len(body),
        "n": one.n,
        "height": one.height,
        "width": one.width,
    }
    for name, value in truth.items():
        if told[name] != value:
            words = f"{promised.data_id} chunk {one.chunk_idx}: {name} is {value}, the audit says {told[name]}"
            figures.violate("audit_differs", words)
    if told["receipt"] is None or not told["acknowledged_at"]:
        figures.violate("audit_differs", f"{promised.data_id} chunk {one.chunk_idx} has no receipt")


def _judge_proof(data_id: str, spool: Spool, objects: dict[int, bytes], figures: Figures) -> None:
    """The proof holds, and the bytes at the far end are those that it tells of."""
    try:
        proof = read_proof(make_proof(spool, data_id, made_by="the soak"))
        for idx, content in objects.items():
            proof.check_chunk(idx, content)
    except SpoolError as error:
        figures.violate("audit_differs", f"{data_id}: its proof: {error}")


def _judge_frames(promised: Promised, objects: dict[int, bytes], server: LoopbackServer, figures: Figures) -> None:
    """The frames that plain zarr-python reads at the far end, by their digest."""
    received = server.received(promised.data_id)
    for idx in objects:
        one = promised.chunks.get(idx)
        if one is None:
            continue
        first = idx * promised.chunk_size
        frames = np.asarray(received[first : first + one.n])
        if frames.shape != (one.n, one.height, one.width) or frames_digest(frames) != one.sha256:
            figures.violate("wrong", f"{promised.data_id} chunk {idx}: its frames are other ones")
    last = promised.chunks.get(max(objects))
    if last and received.shape[0] != last.chunk_idx * promised.chunk_size + last.n:
        figures.violate("extra", f"{promised.data_id}: {received.shape[0]} frames reach beyond the last chunk")


def _judge_receptions(
    data_id: str, audited: dict[int, dict[str, Any]], server: LoopbackServer, figures: Figures
) -> None:
    lines = [line for line in server.log(data_id) if line["event"] == "received"]
    order = list(dict.fromkeys(line["chunk_idx"] for line in lines))
    if order != sorted(order):
        figures.violate("out_of_order", f"{data_id}: first arrivals in the order {order}")
    figures.repeated += len(lines) - len(order)
    figures.healed += sum(bool(line["changed"]) for line in lines)
    for idx, receptions in Counter(line["chunk_idx"] for line in lines).items():
        if idx in audited and audited[idx]["attempts"] < receptions:
            words = f"{data_id} chunk {idx} arrived {receptions} times in {audited[idx]['attempts']} attempts"
            figures.violate("audit_differs", words)


def _judge_summary(
    data_id: str, told: dict[str, Any], is_complete: bool, idxs: list[int], figures: Figures
) -> None:
    gaps = sorted(set(range(idxs[-1] + 1)) - set(idxs)) if idxs else []
    truth = {
        "data_id": data_id,
        "state": "finalized",
        "gaps": gaps,
        "gap_count": len(gaps),
        "watermark": gaps[0] - 1 if gaps else len(idxs) - 1,
        "complete": not gaps,
    }
    for name, value in truth.items():
        if told[name] != value:
            figures.violate("audit_differs", f"{data_id}: {name} is {value}, the audit says {told[name]}")
    if is_complete != (not gaps):
        figures.violate("audit_differs", f"{data_id}: the audit's exit code does not fit its gaps {gaps}")


def audit_of(data_id: str, root: Path) -> tuple[dict[str, Any], bool]:
    """What ``framespool audit --json`` says, and whether it exits with 0."""
    command = [sys.executable, "-P", "-m", "uploader", "audit", data_id, "--json", "--spool", str(root)]
    done = subprocess.run(command, capture_output=True, cwd=_CHECKOUT, timeout=_AUDIT_S, check=False)
    told: dict[str, Any] = json.loads(done.stdout)
    return told, done.returncode == 0


def _where(idx: int, objects: dict[int, bytes], audited: dict[int, dict[str, Any]]) -> str:
    at_far_end = "at the far end" if idx in objects else "not at the far end"
    return f"{at_far_end}, and the audit {'lists it' if idx in audited else 'does not know it'}"
