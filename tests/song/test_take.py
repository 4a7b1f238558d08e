import json

import numpy as np
import pytest

from khala_studio.song.codes import empty_codes
from khala_studio.song.request import SongRequest
from khala_studio.song.take import Take


def make_take(n_frames=3, **changes):
    codes = empty_codes(n_frames)
    codes[:2] = 5
    fields = {
        "request": SongRequest("la"),
        "codes": codes,
        "n_frames": n_frames,
        "logprobs": np.array([-1.5, np.nan, -2.25], np.float32)[:n_frames],
        "complete": False,
        "pack_id": "tiny",
        "pack_sha256": "0" * 64,
        "timings": {"compose": 1.25},
        "created": "2026-01-01T00:00:00Z",
    }
    return Take(**fields | changes)


def test_depth():
    assert make_take().depth == 2


def test_survives_a_trip_through_json():
    take = make_take()
    text = json.dumps(take.to_json(), allow_nan=False)
    again = Take.from_json(json.loads(text), take.codes)
    np.testing.assert_array_equal(again.logprobs, take.logprobs)
    assert again.logprobs.dtype == np.float32
    for name in ("request", "n_frames", "complete", "pack_id", "pack_sha256", "timings", "created"):
        assert getattr(again, name) == getattr(take, name)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="4 frames has 3"):
        make_take(n_frames=4, codes=empty_codes(3), logprobs=np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="3 frames has 3 frames of codes and 2"):
        make_take(logprobs=np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="not int64"):
        make_take(codes=np.zeros((64, 3), np.int64))


@pytest.mark.parametrize(
    "change",
    [
        {"n_frames": "3"},
        {"n_frames": None},
        {"n_frames": 4},
        {"complete": 1},
        {"pack_id": None},
        {"logprobs": ["x", 1, 2]},
        {"logprobs": [1, 2]},
        {"timings": {"compose": "fast"}},
        {"request": {}},
        {"request": {"lyrics": "la", "seed": -1}},
    ],
)
def test_from_json_refuses(change):
    data = make_take().to_json() | change
    with pytest.raises(ValueError, match=r"take|request|seed"):
        Take.from_json(data, make_take().codes)


def test_from_json_refuses_what_is_no_object():
    with pytest.raises(ValueError, match="not a JSON object"):
        Take.from_json([], make_take().codes)
