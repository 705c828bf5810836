"""Video files: exact timing, reading, writing, the interpolation pipeline, and measures of the result.

Needs PyAV and OpenCV: `pip install 'vfi-kernels[video]'`.
"""

from ._av import VideoError
from .metrics import Score, compare, mean_score, psnr, rgb_frames, ssim
from .pipeline import interpolate, to_image, to_tensor
from .reading import Reader
from .writing import Writer

__all__ = [
    "Reader",
    "Score",
    "VideoError",
    "Writer",
    "compare",
    "interpolate",
    "mean_score",
    "psnr",
    "rgb_frames",
    "ssim",
    "to_image",
    "to_tensor",
]
