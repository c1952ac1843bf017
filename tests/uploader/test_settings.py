import math
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from spool import StreamSettings
from uploader.errors import ConfigurationError
from uploader.settings import NAME_CHARS_MAX, stream_settings

ROTATING = {"rotations_per_min": 12.0}


def settings(**changes: Any) -> StreamSettings:
    given: dict[str, Any] = {
        "endpoint": "https://api.invalid",
        "fps": 120.0,
        "rotations_per_min": 0.0,
        "chunk_size": 240,
        "stream_name": None,
        "physical_sample": None,
        "project_id": None,
        "tags": None,
        "azimuth": None,
    }
    return stream_settings(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"fps": 0}, "fps"),
        ({"fps": -1}, "fps"),
        ({"fps": math.nan}, "fps"),
        ({"fps": math.inf}, "fps"),
        ({"fps": -math.inf}, "fps"),
        ({"fps": 10**400}, "fps"),
        ({"fps": None}, "fps"),
        ({"fps": "fast"}, "fps"),
        ({"fps": 1j}, "fps"),
        ({"fps": [120]}, "fps"),
        ({"fps": 120.5}, "chunk_size"),
        ({"fps": 1e300}, "chunk_size"),
        ({"fps": 1e308}, "chunk_size"),
        ({"rotations_per_min": -0.1}, "rotations_per_min"),
        ({"rotations_per_min": math.nan}, "rotations_per_min"),
        ({"rotations_per_min": None}, "rotations_per_min"),
        ({"rotations_per_min": "twelve"}, "rotations_per_min"),
        ({"rotations_per_min": 1e-320}, "rotations_per_min"),
        ({"chunk_size": 239}, "chunk_size"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"chunk_size": -240}, "chunk_size"),
        ({"chunk_size": 240.0}, "chunk_size"),
        ({"chunk_size": "240"}, "chunk_size"),
        ({"chunk_size": None}, "chunk_size"),
        ({"chunk_size": 10**15}, "chunk_size"),
        ({"azimuth": "[110]", **ROTATING}, "azimuth"),
        ({"tags": "night"}, "tags"),
        ({"tags": b"night"}, "tags"),
        ({"tags": 5}, "tags"),
        ({"tags": ["x" * (NAME_CHARS_MAX + 1)]}, "tags"),
        ({"tags": ["fine", "a\nb"]}, "tags"),
        ({"stream_name": "x" * (NAME_CHARS_MAX + 1)}, "stream_name"),
        ({"stream_name": "a\x00b"}, "stream_name"),
        ({"stream_name": "a\ud800"}, "stream_name"),
        ({"physical_sample": "a\tb"}, "physical_sample"),
        ({"project_id": "a\nb"}, "project_id"),
        ({"project_id": "no uuid"}, "project_id"),
        ({"azimuth": "a\rb"}, "azimuth"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_that_cannot_be_used_is_a_configuration_error_that_names_it(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        settings(**changes)


def test_a_configuration_error_is_also_a_value_error_as_the_vendors_client_raises() -> None:
    with pytest.raises(ValueError, match="at least 2 s of frames: 240 at 120 fps"):
        settings(chunk_size=239)


def test_two_seconds_of_frames_are_just_enough() -> None:
    assert settings(chunk_size=240).chunk_size == 240
    assert settings(fps=0.25, chunk_size=1).chunk_size == 1


def test_numpy_numbers_and_decimals_are_numbers() -> None:
    found = settings(fps=np.float32(30), rotations_per_min=Decimal(0), chunk_size=np.int64(60))
    assert (found.fps, found.rotations_per_min, found.chunk_size) == (30.0, 0.0, 60)
    assert (type(found.fps), type(found.chunk_size)) == (float, int)


def test_text_is_trimmed_and_nothing_counts_as_nothing() -> None:
    found = settings(stream_name="  growth ", physical_sample=" ", project_id="", tags=[" a ", "", None, "b"])
    assert found.name == "growth"
    assert found.physical_sample is None
    assert found.project_id is None
    assert found.tags == ("a", "b")


def test_a_stream_without_a_name_is_named_after_its_time() -> None:
    assert settings().name.startswith("RHEED stream 2")
    assert settings(stream_name="   ").name.startswith("RHEED stream 2")


def test_uuid_objects_are_as_good_as_their_text() -> None:
    one = uuid.uuid4()
    assert settings(project_id=one, physical_sample=one).project_id == str(one)


def test_an_azimuth_is_for_stationary_samples() -> None:
    assert settings(azimuth=" [110] ").azimuth == "[110]"
    assert settings(rotations_per_min=12).azimuth is None
