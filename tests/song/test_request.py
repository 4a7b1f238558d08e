import json

import pytest

from khala_studio.song.request import SEED_LIMIT, Sampling, SongRequest


def test_defaults_are_a_right_request():
    request = SongRequest("la la")
    assert (request.seconds, request.seed, request.depth) == (30.0, 0, 64)
    assert request.backbone is None


def test_survives_a_trip_through_json():
    request = SongRequest(
        "la “la”\nżółć",
        "pop, slow",
        12.5,
        True,
        SEED_LIMIT - 1,
        Sampling(0.9, 40),
        Sampling(1.0, 10),
        depth=8,
    )
    assert SongRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lyrics": None}, "lyrics must be text"),
        ({"style": 3}, "style must be text"),
        ({"instrumental": 1}, "true or false"),
        ({"seconds": 0}, "length is 0 seconds"),
        ({"seconds": -3}, "length is -3 seconds"),
        ({"seconds": 1e9}, "up to 3600"),
        ({"seconds": float("nan")}, "finite number"),
        ({"seconds": float("inf")}, "finite number"),
        ({"seconds": 10**400}, "finite number"),
        ({"seconds": "30"}, "finite number"),
        ({"seconds": True}, "finite number"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": SEED_LIMIT}, "choose a whole number"),
        ({"seed": 1.0}, "whole number"),
        ({"seed": True}, "whole number"),
        ({"depth": 1}, "depth is 1"),
        ({"depth": 65}, "depth is 65"),
    ],
)
def test_says_what_is_wrong(change, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        SongRequest(**{"lyrics": "la"} | change)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"temperature": 0.0}, "temperature is 0"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": 11}, "up to 10"),
        ({"temperature": float("nan")}, "finite number"),
        ({"top_k": 0}, "top-k is 0"),
        ({"top_k": 2.5}, "whole number"),
    ],
)
def test_sampling_says_what_is_wrong(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        Sampling(**change)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "not a JSON object"),
        ({}, "has no lyrics"),
        ({"lyrics": "la", "tempo": 3}, "unknown field 'tempo'"),
        ({"lyrics": "la", "backbone": 3}, "backbone is not a JSON object"),
        ({"lyrics": "la", "backbone": {"top_p": 1}}, "unknown field 'top_p'"),
        ({"lyrics": "la", "superres": {"top_k": -1}}, "top-k is -1"),
    ],
)
def test_from_json_says_what_is_wrong(data, sentence):
    with pytest.raises(ValueError, match=sentence):
        SongRequest.from_json(data)
