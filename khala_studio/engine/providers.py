"""Where the models can run on this machine, found out by running one node there."""

import contextlib
import functools
import io
import logging
import os
from enum import StrEnum

import numpy as np
import onnxruntime as ort

log = logging.getLogger(__name__)


class Provider(StrEnum):
    """What a user can choose."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"


def default_threads() -> int:
    """One core is left to the window and the sound."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores - 1)


@functools.cache
def cuda_works() -> bool:
    """Whether a session really runs on an NVIDIA GPU: the runtime lists providers that it cannot load."""
    if CUDA_PROVIDER not in ort.get_available_providers():
        return False
    ort.set_default_logger_severity(4)  # the failing library is reported in our words, not on stderr
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
        ort.preload_dlls()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(probe_model(), options, providers=[CUDA_PROVIDER])
        session.run(None, {"x": np.zeros(1, dtype=np.float32)})
    except Exception as error:  # the runtime has no common class for what may go wrong here
        log.info("no CUDA: %s", str(error).splitlines()[0] if str(error) else type(error).__name__)
        return False
    return True


def cuda_is_installed() -> bool:
    """Whether this ONNX Runtime was built with CUDA, working or not."""
    return CUDA_PROVIDER in ort.get_available_providers()


def probe_model() -> bytes:
    """The smallest model that computes: y = Relu(x), float32 [1]; ModelProto in protobuf's wire format."""
    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"Relu")
    tensor_type = _number(1, 1) + _field(2, _field(1, _number(1, 1)))  # float32, shape {dim {1}}
    value = _field(2, _field(1, tensor_type))
    graph = (
        _field(1, node)
        + _field(2, b"probe")
        + _field(11, _field(1, b"x") + value)
        + _field(12, _field(1, b"y") + value)
    )
    opset = _field(1, b"") + _number(2, 17)
    return _number(1, 8) + _field(7, graph) + _field(8, opset)  # ir_version 8


def _number(tag: int, value: int) -> bytes:
    return bytes([tag << 3, value])  # one-byte varints are enough here


def _field(tag: int, payload: bytes) -> bytes:
    assert len(payload) < 128  # one-byte length
    return bytes([tag << 3 | 2, len(payload)]) + payload
