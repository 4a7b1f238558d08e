"""Codes [K, T] and vocabulary ids.

K layers, T frames. Codes are int16, 0 .. codebook_size - 1, and UNKNOWN where a layer is not known yet.
In the vocabulary the text ids come first; code c of layer k is audio_offset + codebook_size * k + c.
"""

import numpy as np
import numpy.typing as npt

from khala_studio.song.codec import CodecSpec

Codes = npt.NDArray[np.int16]  # [K, T]
TokenIds = npt.NDArray[np.int64]

UNKNOWN = -1


def empty_codes(n_frames: int, n_codebooks: int = 64) -> Codes:
    """[n_codebooks, n_frames], nothing known."""
    return np.full((n_codebooks, n_frames), UNKNOWN, dtype=np.int16)


def known_depth(codes: Codes) -> int:
    """How many leading layers are known at every frame. No frames: 0."""
    if codes.shape[1] == 0:
        return 0
    holes = np.flatnonzero((codes < 0).any(axis=1))  # layers that lack a frame
    return int(holes[0]) if holes.size else codes.shape[0]


def check_codes(codes: npt.NDArray[np.generic], spec: CodecSpec) -> Codes:
    """`codes` as int16 [K, T] if they are codes of `spec` and each layer stands on whole layers below it.

    Args:
        codes: [K, T] of any integer type, 1 <= K <= spec.n_codebooks.

    Raises:
        ValueError: a sentence that says what is wrong.
    """
    if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(
            f"Codes must be whole numbers [layers, frames], not {codes.dtype} {list(codes.shape)}."
        )
    n_layers, n_frames = codes.shape
    if not 1 <= n_layers <= spec.n_codebooks:
        raise ValueError(f"There are {n_layers} layers of codes; this codec has 1 to {spec.n_codebooks}.")
    # Compare before narrowing: 65536 would pass as 0.
    if n_frames and (codes.min() < UNKNOWN or codes.max() >= spec.codebook_size):
        raise ValueError(f"A code lies outside {UNKNOWN} .. {spec.codebook_size - 1}.")
    narrow: Codes = np.ascontiguousarray(codes, dtype=np.int16)
    return narrow


def layer_ids(codes: Codes, first_layer: int, audio_offset: int, codebook_size: int = 1_024) -> TokenIds:
    """Vocabulary ids of `codes`.

    Args:
        codes: [k, T], known, of layers first_layer .. first_layer + k - 1.

    Returns:
        [k, T] ids.
    """
    layers = np.arange(first_layer, first_layer + codes.shape[0], dtype=np.int64)
    ids: TokenIds = codes.astype(np.int64) + (audio_offset + codebook_size * layers)[:, None]
    return ids


def interleave(codes: Codes, audio_offset: int, codebook_size: int = 1_024) -> TokenIds:
    """The backbone's single stream: the coarse layers of each frame in turn.

    Args:
        codes: [n_coarse, T], known.

    Returns:
        [n_coarse * T] vocabulary ids; q0 and q1 of frame 0, then of frame 1, ...
    """
    return layer_ids(codes, 0, audio_offset, codebook_size).T.reshape(-1)


def deinterleave(tokens: TokenIds, audio_offset: int, n_coarse: int = 2, codebook_size: int = 1_024) -> Codes:
    """Split the backbone's single stream into its coarse layers. The inverse of `interleave`.

    Args:
        tokens: [n_coarse * T] vocabulary ids.

    Returns:
        [n_coarse, T] codes.

    Raises:
        ValueError: the stream ends inside a frame, or an id is not of the layer whose turn it is.
    """
    if len(tokens) % n_coarse:
        raise ValueError(f"{len(tokens)} tokens are not whole frames of {n_coarse}.")
    coarse = tokens.reshape(-1, n_coarse).T  # [n_coarse, T]
    codes = coarse - (audio_offset + codebook_size * np.arange(n_coarse))[:, None]
    if codes.size and not (codes.min() >= 0 and codes.max() < codebook_size):
        raise ValueError("A token is not of the layer whose turn it is.")
    return codes.astype(np.int16)
