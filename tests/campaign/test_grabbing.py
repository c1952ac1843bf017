"""The short version of ``tools/grabbing``: every frame of a camera accounted for, through an outage and a kill."""

from pathlib import Path

from tools.grabbing.camera import accounted, camera


def test_every_frame_of_a_camera_arrives_or_is_told_as_lost(tmp_path: Path) -> None:
    source = "stamped:height=60,width=80,frames=240"
    found = camera(tmp_path, source, seconds=30.0, options=("--fps", "60"), seed=1, more={}, calm=False)
    assert found.problems == []
    assert "240 captured" in found.lines[0]


def test_the_judge_sees_what_is_missing() -> None:
    capture = {"first": 1, "last": 4, "losses": []}
    chunk = {"chunk_idx": 0, "n": 4, "capture": capture, "receipt": {"confirmed": True}}
    source = {"frames_spooled": 4, "frames_captured": 4, "frames_lost": {"source": 0}}
    told = {"complete": True, "state": "finalized", "chunks": [chunk], "source": source}
    assert accounted(told) == []
    assert accounted({**told, "chunks": [{**chunk, "n": 3}]})
    assert accounted({**told, "chunks": [{**chunk, "receipt": None}]})
    assert accounted({**told, "state": "sealed"})
    assert accounted({**told, "source": {**source, "frames_captured": 5}})
    late = {**chunk, "chunk_idx": 1, "capture": {"first": 6, "last": 9, "losses": []}}
    assert accounted({**told, "chunks": [chunk, late], "source": {**source, "frames_spooled": 8}})
