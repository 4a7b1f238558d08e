import numpy as np
import pytest

from khala_studio.song.codec import CodecSpec
from khala_studio.song.codes import (
    UNKNOWN,
    check_codes,
    deinterleave,
    empty_codes,
    interleave,
    known_depth,
    layer_ids,
)


def test_interleave_writes_frame_by_frame():
    codes = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.int16)
    tokens = interleave(codes, audio_offset=100)
    assert tokens.tolist() == [101, 1128, 102, 1129, 103, 1130]
    assert tokens.dtype == np.int64
    assert (deinterleave(tokens, audio_offset=100) == codes).all()


def test_three_coarse_layers():
    codes = np.arange(12, dtype=np.int16).reshape(3, 4)
    tokens = interleave(codes, 10, codebook_size=16)
    assert tokens[:3].tolist() == [10, 10 + 16 + 4, 10 + 32 + 8]
    assert (deinterleave(tokens, 10, n_coarse=3, codebook_size=16) == codes).all()


@pytest.mark.parametrize("tokens", [[100], [1124, 100], [100, 101], [99, 1124], [100, 2148]])
def test_a_stream_out_of_turn_is_refused(tokens):
    with pytest.raises(ValueError, match="whole frames|turn"):
        deinterleave(np.array(tokens), audio_offset=100)


def test_ids_of_upper_layers():
    assert layer_ids(np.array([[7], [8]], dtype=np.int16), 2, 300).tolist() == [
        [300 + 2048 + 7],
        [300 + 3072 + 8],
    ]


def test_depth_counts_whole_leading_layers():
    codes = empty_codes(5)
    assert codes.shape == (64, 5)
    assert known_depth(codes) == 0
    codes[:2] = 1
    assert known_depth(codes) == 2
    codes[3] = 1  # a layer above a hole does not count
    assert known_depth(codes) == 2
    codes[2, :4] = 0  # nor does one that lacks a frame
    assert known_depth(codes) == 2
    codes[:] = 1023
    assert known_depth(codes) == 64
    assert known_depth(empty_codes(0)) == 0


def test_check_codes_takes_what_others_write():
    for dtype in (np.int16, np.int32, np.int64, np.uint16):
        checked = check_codes(np.full((3, 4), 1023, dtype=dtype), CodecSpec())
        assert checked.dtype == np.int16
        assert (checked == 1023).all()
    assert check_codes(empty_codes(2), CodecSpec())[0, 0] == UNKNOWN


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros(4, np.int16),
        np.zeros((2, 4), np.float32),
        np.zeros((2, 4), bool),
        np.array([["a"]]),
        np.zeros((0, 4), np.int16),
        np.zeros((65, 4), np.int16),
        np.full((2, 4), 1024),
        np.full((2, 4), -2),
        np.full((2, 4), 65536),
        np.full((2, 4), 2**64 - 1, np.uint64),
    ],
)
def test_check_codes_refuses(codes):
    with pytest.raises(ValueError, match="Codes must be|layers of codes|code lies outside"):
        check_codes(codes, CodecSpec())
