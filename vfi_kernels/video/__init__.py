"""Video files: exact timing, reading, writing, the interpolation pipeline, and measures of the result.

Needs PyAV and OpenCV: `pip install 'vfi-kernels[video]'`.
"""

from ._av import VideoError
from .colour import to_image, to_tensor
from .encoding import Encoding, Writer
from .jobs import interpolate
from .locks import Busy
from .metrics import Score, compare, mean_score, psnr, rgb_frames, ssim
from .options import Options, digest
from .reading import Reader
from .signature import UnknownOrigin

__all__ = [
    "Busy",
    "Encoding",
    "Options",
    "Reader",
    "Score",
    "UnknownOrigin",
    "VideoError",
    "Writer",
    "compare",
    "digest",
    "interpolate",
    "mean_score",
    "psnr",
    "rgb_frames",
    "ssim",
    "to_image",
    "to_tensor",
]
