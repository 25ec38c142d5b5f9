"""Open ONNX Runtime's sessions."""

from __future__ import annotations

from typing import Any

FATAL = 4  # ONNX Runtime's level of messages


def open_session(content: bytes, options: Any = None) -> Any:
    """Return ONNX Runtime's session on the CPU, or raise one of its exceptions, of no common base."""
    import onnxruntime

    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = FATAL  # errors are raised
    providers = ['CPUExecutionProvider']
    # its fallback would print to standard output, which is for results
    return onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
