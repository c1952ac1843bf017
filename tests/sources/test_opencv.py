"""USB cameras, network streams and files through OpenCV; the stream is a real one, served on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.sources.cameras import grab_on, grabbed
from uploader.sources import SourceError
from uploader.sources.installed import open_live
from uploader.sources.live import Grabbed, LiveSource, SourceLost, Wanted
from uploader.sources.opencv import look, open_opencv
from uploader.sources.pixels import luminance

FRAMES = 12


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lossless and grey; frame k is 10 k all over, but for its corner."""
    path = tmp_path_factory.mktemp("video") / "growth 1.avi"
    frames = np.repeat(10 * np.arange(FRAMES, dtype=np.uint8), 48 * 64).reshape(FRAMES, 48, 64)
    frames[:, 0, 0] = 255
    write(path, frames)
    return path


def write(path: Path, frames: NDArray[np.uint8]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 200.0, (64, 48), isColor=False)
    for frame in frames:
        writer.write(frame)
    writer.release()


def all_of(source: LiveSource) -> list[Grabbed]:
    """Everything until it is over."""
    found = []
    for _ in range(10_000):
        one = source.grab(0.01)
        if one is not None:
            found.append(one)
        if source.is_over:
            return found
    raise AssertionError("it does not end")


def test_a_file_is_given_once_in_order_and_is_over(video: Path) -> None:
    source = open_live(f"opencv:{video}", Wanted())
    assert source is not None
    source.start()
    assert isinstance(source, LiveSource)
    assert source.describe() == "OpenCV growth 1.avi, 48 x 64 px, 200 frames/s"
    assert not source.is_over
    frames = all_of(source)
    assert [one.number for one in frames] == list(range(FRAMES))
    assert [one.frame[5, 5] for one in frames] == [10 * number for number in range(FRAMES)]
    assert frames[0].frame[0, 0] == 255
    assert source.grab(0.0) is None
    source.start()
    assert not source.is_over
    assert grabbed(source).number == 0
    source.stop()


def test_a_file_has_the_pace_that_is_asked_for(video: Path) -> None:
    source = open_opencv(str(video), Wanted(fps=0.001))
    source.start()
    assert source.frame_rate == 0.001
    assert grabbed(source).number == 0
    assert source.grab(0.0) is None, "the next one is due in a quarter of an hour"
    source.stop()


def test_a_region_is_cut_out(video: Path) -> None:
    source = open_opencv(str(video), Wanted(region=(0, 0, 8, 4)))
    source.start()
    frame = grabbed(source).frame
    assert (frame.shape, frame[0, 0], frame.flags.c_contiguous) == ((4, 8), 255, True)
    source.stop()


def test_a_damaged_file_is_an_error_after_what_could_be_read(tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    write(cut, np.random.default_rng(5).integers(0, 256, (FRAMES, 48, 64), np.uint8))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    source = open_opencv(str(cut), Wanted())
    source.start()
    with pytest.raises(SourceError, match=r"cut\.avi ends after \d of its 12 frames") as broken:
        grab_on(source)
    assert not isinstance(broken.value, SourceLost)
    source.stop()


def test_grey_that_came_as_colour_is_exact_and_colour_is_its_luminance() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    assert (cv2.cvtColor(grey, cv2.COLOR_BGR2GRAY) == grey[:, :, 0]).all()
    colour = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    ours = luminance(colour[:, :, ::-1]).astype(int)
    assert abs(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY).astype(int) - ours).max() <= 1


@pytest.mark.parametrize(
    ("wanted", "says", "hint"),
    [
        (Wanted(settings={"EXPOSUR": "1"}), "no setting EXPOSUR", "Did you mean EXPOSURE"),
        (Wanted(settings={"cap_prop_exposure": "long"}), "it is a number", "All settings"),
        (Wanted(settings={"EXPOSURE": "1"}), "EXPOSURE=1 is not taken", "It is"),
        (Wanted(region=(60, 0, 8, 4)), "region 60,0,8,4 is not inside", "64 wide and 48 high"),
        (Wanted(region=(0, 0, 0, 4)), "not inside", "64 wide and 48 high"),
        (Wanted(binning=2), "cannot bin", "FRAME_WIDTH"),
    ],
)
def test_what_cannot_be_had_is_refused(video: Path, wanted: Wanted, says: str, hint: str) -> None:
    def opened() -> None:
        open_opencv(str(video), wanted).start()

    with pytest.raises(SourceError, match=says) as refusal:
        opened()
    assert hint in refusal.value.hint


@pytest.mark.parametrize(
    ("rest", "wanted", "error", "says"),
    [
        ("nowhere.avi", Wanted(), SourceError, r"nowhere\.avi: no such file"),
        (__file__, Wanted(), SourceError, r"test_opencv\.py is no video"),
        ("77", Wanted(), SourceLost, "camera 77 cannot be opened"),
        ("", Wanted(), SourceLost, "camera 0 cannot be opened"),
        ("http://127.0.0.1:9/a.mjpg", Wanted(), SourceLost, "cannot be opened"),
    ],
)
def test_what_is_not_there_is_said(rest: str, wanted: Wanted, error: type[SourceError], says: str) -> None:
    def opened() -> None:
        open_opencv(rest, wanted).start()

    with pytest.raises(error, match=says):
        opened()


def test_looking_for_cameras_finds_what_the_system_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, index, name in ((0, 0, "Lab Cam"), (1, 1, "Lab Cam"), (2, 0, "Other")):
        node = tmp_path / f"video{number}"
        node.mkdir()
        (node / "index").write_text(f"{index}\n", "ascii")
        (node / "name").write_text(f"{name}\n", "utf-8")
    monkeypatch.setattr("uploader.sources.opencv._V4L", tmp_path)
    assert [(one.name, one.says) for one in look()] == [("opencv:0", "Lab Cam"), ("opencv:2", "Other")]
    monkeypatch.setattr("uploader.sources.opencv._V4L", tmp_path / "nowhere")
    assert isinstance(look(), list)


@contextmanager
def network_camera(port: int = 0) -> Iterator[int]:
    """A camera that serves MJPEG, as many do: twenty pictures a connection, each brighter than the one before."""

    class Pictures(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
            self.end_headers()
            for number in range(20):
                _, picture = cv2.imencode(".jpg", np.full((48, 64), 10 * number, np.uint8))
                head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture.tobytes() + b"\r\n")

    server = ThreadingHTTPServer(("127.0.0.1", port), Pictures)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_network_camera_that_ends_is_lost_and_comes_back() -> None:
    with network_camera() as port:
        source = open_opencv(f"http://me:secret@127.0.0.1:{port}/a.mjpg?token=secret", Wanted())
        source.start()
        assert source.name == f"http://127.0.0.1:{port}/a.mjpg"
        assert "secret" not in json.dumps([source.name, source.describe(), source.facts()])
        levels = [int(grabbed(source).frame.mean()) for _ in range(20)]
        assert levels == [10 * number for number in range(20)]
        with pytest.raises(SourceLost, match="gives no more pictures"):
            grab_on(source)
        source.stop()
    with pytest.raises(SourceLost, match="cannot be opened"):
        source.start()
    with network_camera(port):
        source.start()
        assert grabbed(source).frame.mean() == 0
        source.stop()


def test_a_rate_that_a_stream_does_not_have_is_refused() -> None:
    with network_camera() as port:
        with pytest.raises(SourceError, match="does not give 5 frames/s, but 25") as refusal:
            open_opencv(f"http://127.0.0.1:{port}/a.mjpg", Wanted(fps=5.0)).start()
        assert not isinstance(refusal.value, SourceLost)
        source = open_opencv(f"http://127.0.0.1:{port}/a.mjpg", Wanted(fps=25.0))
        source.start()
        assert source.frame_rate == 25.0
        source.stop()


def test_that_frames_are_not_counted_is_told_once() -> None:
    with network_camera() as port:
        source = open_opencv(f"http://127.0.0.1:{port}/a.mjpg", Wanted())
        source.start()
        assert grabbed(source).number is None
        assert source.facts()["counts_frames"] is False
        source.start()
        grabbed(source)
        assert [one.what for one in source.notices()] == ["frames_not_counted"]
        source.stop()
