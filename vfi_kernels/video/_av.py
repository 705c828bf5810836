"""PyAV, or one sentence that says how to get it; and the error that everything here raises about a file."""

import os

# Else this encoder reports on stderr.
os.environ.setdefault("SVT_LOG", "1")

try:
    import av
except ImportError as error:
    raise ImportError("reading and writing video needs PyAV: pip install 'vfi-kernels[video]'") from error

__all__ = ["VideoError", "av"]


class VideoError(Exception):
    """A file that cannot be read or written as asked; the message is one line and names the file."""
