"""Spectrograms side by side, for eyes that cannot listen."""

from __future__ import annotations

from pathlib import Path

from khala_studio.training.evaluation.audio_metrics import SAMPLE_RATE, Floats, log_mel

SECONDS = 12  # of each recording that are shown, from its start
QUIET, LOUD = -9.0, -1.0  # ends of the colours, in nepers


def spectrograms(path: Path, title: str, waveforms: dict[str, Floats]) -> None:
    """One log-mel spectrogram (30 Hz-20 kHz) a recording, side by side, written to `path` as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(waveforms), figsize=(4.2 * len(waveforms), 3.6), squeeze=False)
    for axis, (name, waveform) in zip(axes[0], waveforms.items(), strict=True):
        shown = waveform[:, : SECONDS * SAMPLE_RATE].mean(axis=0, keepdims=True)
        extent = (0, shown.shape[1] / SAMPLE_RATE, 0, 128)
        axis.imshow(
            log_mel(shown)[0].T,
            origin="lower",
            aspect="auto",
            extent=extent,
            vmin=QUIET,
            vmax=LOUD,
            cmap="magma",
        )
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("s", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0][0].set_ylabel("mel band", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=75)
    pyplot.close(figure)
