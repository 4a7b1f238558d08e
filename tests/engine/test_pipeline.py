import threading
import time
from contextlib import closing

import numpy as np
import pytest

from khala_studio.engine.collector import TakeCollector, empty_take
from khala_studio.engine.errors import ErrorKind
from khala_studio.engine.events import (
    Done,
    Failed,
    Notice,
    PreviewReady,
    Progress,
    Stage,
    StageStarted,
    TokensReady,
)
from khala_studio.engine.pipeline import generate, refine
from khala_studio.song.request import Sampling, SongRequest
from tests.fakes import FakeStages, fake_manifest

REQUEST = SongRequest("la la la", seconds=6, seed=3)


def _run(events):
    return list(events)


def _done(events):
    last = list(events)[-1]
    assert isinstance(last, Done), last
    return last


def _only(events, kind):
    return [e for e in events if isinstance(e, kind)]


@pytest.fixture(scope="module")
def song():
    stages = FakeStages()
    return stages, _run(generate(REQUEST, stages))


def test_the_stages_come_in_order_and_the_song_last(song):
    _, events = song
    started = [(e.stage, e.total, e.unit) for e in _only(events, StageStarted)]
    assert started == [
        (Stage.COMPOSE, 2 * 130, "tokens"),
        (Stage.SHARPEN, 64, "layers"),
        (Stage.DECODE, events[-1].take.n_frames, "frames"),
    ]
    assert isinstance(events[-1], Done)
    assert events[-1].take.complete
    assert events[-1].take.depth == 64
    assert events[-1].waveform.shape == (2, events[-1].take.n_frames * 64)


def test_the_length_asked_for_is_obeyed(song):
    assert 0.6 * 130 <= song[1][-1].take.n_frames <= 1.1 * 130
    short = _done(generate(REQUEST, FakeStages(end_bias=50), previews=False))
    long = _done(generate(REQUEST, FakeStages(end_bias=-50), previews=False))
    assert (short.take.n_frames, long.take.n_frames) == (78, 143)


def test_one_feed_a_token_and_one_pass_a_layer(song):
    stages, events = song
    feeds = stages.log.count("feed")
    # The prompt brings the first token; the last one is fed only to hear whether the song ends.
    assert feeds - 2 * events[-1].take.n_frames in (0, 1)
    assert [w for w in stages.log if w.startswith("pass")] == [f"pass {k}" for k in range(2, 64)]


def test_tokens_add_up_to_the_take(song):
    _, events = song
    take = events[-1].take
    codes = np.full((64, take.n_frames), -1, dtype=np.int16)
    logprobs = np.full(take.n_frames, np.nan, dtype=np.float32)
    composing = [e for e in _only(events, TokensReady) if e.first_layer == 0]
    for event in _only(events, TokensReady):
        k, t = event.codes.shape
        place = (
            slice(event.first_layer, event.first_layer + k),
            slice(event.start_frame, event.start_frame + t),
        )
        codes[place] = event.codes
        if event.logprobs is not None:
            logprobs[place[1]] = event.logprobs
    np.testing.assert_array_equal(codes, take.codes)
    np.testing.assert_array_equal(logprobs, take.logprobs)
    assert {e.codes.shape[1] for e in composing[:-1]} == {10}


def test_the_draft_grows_while_it_is_composed_and_the_song_is_heard_again(song):
    _, events = song
    previews = _only(events, PreviewReady)
    depths = [p.depth for p in previews]
    assert depths == sorted(depths)
    assert sorted(set(depths)) == [2, 8, 16, 32, 64]
    for depth in (2, 64):  # the draft and the last one are whole
        pieces = [p for p in previews if p.depth == depth]
        ends = [p.start_sample + p.samples.shape[1] for p in pieces]
        assert [p.start_sample for p in pieces] == [0, *ends[:-1]]
        assert ends[-1] == events[-1].waveform.shape[1]
    for depth in (8, 16, 32):
        assert next(p for p in previews if p.depth == depth).start_sample == 0


def test_the_draft_sounds_like_an_unchunked_decode_of_its_codes(song):
    stages, events = song
    draft = np.concatenate([p.samples for p in _only(events, PreviewReady) if p.depth == 2], axis=1)
    take = events[-1].take
    np.testing.assert_allclose(draft, stages.decode(take.codes[:2], 0), atol=1e-4)
    np.testing.assert_allclose(events[-1].waveform, stages.decode(take.codes, 0), atol=1e-4)


def test_the_first_preview_comes_after_two_seconds_of_music():
    heard, composed = threading.Event(), []

    def slowly(word):
        if word == "feed":
            composed.append(word)
            if len(composed) > 2 * 60:  # well after 2 s: wait until the preview was heard
                assert heard.wait(5)

    with closing(generate(SongRequest("la", seconds=20), FakeStages(before=slowly))) as events:
        first = next(e for e in events if isinstance(e, PreviewReady))
        heard.set()
    assert first.start_sample == 0
    assert 1.5 <= first.samples.shape[1] / 1_378 <= 2.5


def test_previews_change_no_code(song):
    silent = FakeStages()
    events = _run(generate(REQUEST, silent, previews=False))
    assert not _only(events, PreviewReady)
    np.testing.assert_array_equal(events[-1].take.codes, song[1][-1].take.codes)
    np.testing.assert_array_equal(events[-1].take.logprobs, song[1][-1].take.logprobs)


def test_same_seed_same_song_other_seed_other_song(song):
    again = _done(generate(REQUEST, FakeStages())).take
    other = _done(generate(SongRequest("la la la", seconds=6, seed=4), FakeStages())).take
    np.testing.assert_array_equal(again.codes, song[1][-1].take.codes)
    n = min(other.n_frames, again.n_frames)
    assert (other.codes[:, :n] != again.codes[:, :n]).any()


def test_a_requests_own_sampling_is_used():
    likeliest = Sampling(1.0, 1)
    songs = [
        _done(
            generate(
                SongRequest("la", seconds=2, seed=s, backbone=likeliest, superres=likeliest),
                FakeStages(end_bias=-50),
                previews=False,
            )
        ).take.codes
        for s in (1, 2)
    ]
    np.testing.assert_array_equal(*songs)


def test_a_draft_is_decoded_once():
    stages = FakeStages()
    request = SongRequest("la", seconds=6, depth=2)
    events = _run(generate(request, stages))
    done = events[-1]
    assert isinstance(done, Done)
    assert done.take.complete
    assert done.take.depth == 2
    assert len([w for w in stages.log if w.startswith("decode")]) == len(_only(events, PreviewReady))
    np.testing.assert_allclose(done.waveform, stages.decode(done.take.codes[:2], 0), atol=1e-4)
    silent = _done(generate(request, FakeStages(), previews=False))
    np.testing.assert_allclose(silent.waveform, done.waveform, atol=1e-4)


@pytest.mark.parametrize("depth", [2, 5, 16, 40])
def test_a_take_that_stopped_at_a_layer_goes_on_bit_equal(song, depth):
    stopped = _done(generate(SongRequest("la la la", seconds=6, seed=3, depth=depth), FakeStages())).take
    assert stopped.depth == depth
    stages = FakeStages()
    done = _done(refine(stopped, stages, 64))
    np.testing.assert_array_equal(done.take.codes, song[1][-1].take.codes)
    assert stages.log.count("feed") == 0
    assert [w for w in stages.log if w.startswith("pass")] == [f"pass {k}" for k in range(depth, 64)]
    assert done.take.request == REQUEST


def _stopped_when(condition, request=REQUEST):
    """The take collected from events until `condition`, when the generator is closed."""
    stages = FakeStages()
    collector = TakeCollector(empty_take(request, stages.manifest))
    events = generate(request, stages)
    for event in events:
        collector.add(event)
        if condition(event):
            break
    events.close()
    return collector.take()


def test_a_cancelled_draft_goes_on_bit_equal(song):
    take = _stopped_when(lambda e: isinstance(e, TokensReady) and e.start_frame == 40)
    assert (take.n_frames, take.depth, take.complete) == (50, 2, False)
    done = _done(refine(take, FakeStages(), 64))
    np.testing.assert_array_equal(done.take.codes, song[1][-1].take.codes)
    np.testing.assert_array_equal(done.take.logprobs, song[1][-1].take.logprobs)
    assert done.take.complete


def test_a_cancelled_render_goes_on_bit_equal(song):
    take = _stopped_when(lambda e: isinstance(e, TokensReady) and e.first_layer == 20)
    assert (take.depth, take.complete) == (21, True)
    done = _done(refine(take, FakeStages(), 64, previews=False))
    np.testing.assert_array_equal(done.take.codes, song[1][-1].take.codes)


def test_a_take_stopped_before_its_first_frame_goes_on_too(song):
    take = _stopped_when(lambda e: isinstance(e, StageStarted))
    assert take.n_frames == 0
    done = _done(refine(take, FakeStages(), 64, previews=False))
    np.testing.assert_array_equal(done.take.codes, song[1][-1].take.codes)


def test_a_finished_take_is_only_decoded(song):
    stages = FakeStages()
    take = song[1][-1].take
    done = _done(refine(take, stages, 16, previews=False))
    assert all(w.startswith("decode") for w in stages.log)
    np.testing.assert_array_equal(done.take.codes, take.codes)
    np.testing.assert_allclose(done.waveform, stages.decode(take.codes[:16], 0), atol=1e-4)


def test_closing_in_a_long_pass_ends_within_a_second():
    """The consumer closes on a preview that arrives while a pass of many seconds runs in the helper."""
    release = threading.Event()
    stages = FakeStages()

    def hang(word):
        if word.startswith("decode"):
            assert passing.wait(5)
        if word == "pass 2":
            passing.set()
            while not stages._stopped and not release.wait(0.01):
                pass

    passing = threading.Event()
    stages.before = hang
    events = generate(REQUEST, stages)
    next(e for e in events if isinstance(e, PreviewReady))
    began = time.perf_counter()
    events.close()
    assert time.perf_counter() - began < 1
    assert "pass 3" not in stages.log


@pytest.mark.parametrize("word", ["feed", "pass 2", "decode 0"])
def test_an_interrupt_from_another_thread_ends_with_cancelled(word):
    stages = FakeStages()

    def hang(now):
        if now == word and stages.log.count(now) == 1:
            threading.Timer(0.02, stages.interrupt).start()
            deadline = time.perf_counter() + 5
            while not stages._stopped and time.perf_counter() < deadline:
                time.sleep(0.005)

    stages.before = hang
    began = time.perf_counter()
    events = _run(generate(REQUEST, stages))
    assert time.perf_counter() - began < 2
    assert isinstance(events[-1], Failed)
    assert events[-1].error.kind is ErrorKind.CANCELLED
    stages.before = lambda _: None
    assert _done(generate(REQUEST, stages, previews=False)).take.depth == 64  # and can be used again


def test_what_was_composed_is_kept_when_a_model_fails():
    def fail(word):
        if word == "feed" and stages.log.count("feed") == 2 * 15 + 2:
            raise MemoryError

    stages = FakeStages(before=fail)
    collector = TakeCollector(empty_take(REQUEST, stages.manifest))
    events = _run(generate(REQUEST, stages))
    for event in events:
        collector.add(event)
    assert events[-1].error.kind is ErrorKind.OUT_OF_MEMORY
    assert collector.take().n_frames == 15


def test_an_unexpected_error_becomes_an_engine_failure():
    def fail(word):
        raise RuntimeError("the kernel is unhappy")

    (*_, last) = generate(REQUEST, FakeStages(before=fail))
    assert last.error.kind is ErrorKind.FAILURE
    assert "the kernel is unhappy" in last.error.sentence


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (SongRequest("la", seconds=0.5), "1 to 120 seconds"),
        (SongRequest("la", seconds=500), "500 were asked for"),
        (SongRequest("la" * 400, seconds=5), "too long"),
    ],
)
def test_what_the_pack_cannot_do_is_a_bad_request(request_, words):
    stages = FakeStages()
    (last,) = generate(request_, stages)
    assert last.error.kind is ErrorKind.BAD_REQUEST
    assert words in last.error.sentence
    assert stages.log == []


def test_a_song_that_does_not_fit_the_positions_is_a_bad_request():
    stages = FakeStages(fake_manifest(max_positions=100))
    (last,) = generate(SongRequest("la", seconds=5), stages)
    assert "too long" in last.error.sentence


def test_a_take_of_another_pack_is_a_bad_request(song):
    stages = FakeStages(fake_manifest(max_positions=4_000))
    (last,) = refine(song[1][-1].take, stages, 64)
    assert last.error.kind is ErrorKind.BAD_REQUEST
    assert "another version" in last.error.sentence


def test_notices_of_the_pack_come_first():
    stages = FakeStages()
    stages.notices = ("The GPU is asleep.",)
    assert next(generate(REQUEST, stages)) == Notice("The GPU is asleep.")


def test_progress_is_calm_and_ends_at_the_end(song):
    _, events = song
    for stage in Stage:
        reports = [e for e in _only(events, Progress) if e.stage is stage]
        assert reports[-1].done == reports[-1].total
        assert reports[-1].seconds_left == 0
        assert [r.done for r in reports] == sorted(r.done for r in reports)
        assert all(r.rate > 0 for r in reports)
    assert len(_only(events, Progress)) < 40


def test_a_take_says_how_long_it_took(song):
    timings = song[1][-1].take.timings
    assert {"compose", "sharpen", "decode", "first_preview"} <= timings.keys()
    assert all(seconds >= 0 for seconds in timings.values())


def test_a_pack_with_fewer_layers_is_filled_to_its_own_depth():
    done = _done(generate(REQUEST, FakeStages(fake_manifest(n_codebooks=12))))
    assert done.take.depth == 12
    assert done.take.codes.shape[0] == 12
