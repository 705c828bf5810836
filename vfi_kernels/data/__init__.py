"""Training and test data: synthetic scenes, and what is on disk. Batches are dicts of tensors.

Reading files needs OpenCV, and videos PyAV: `pip install 'vfi-kernels[video]'`.
"""

from .augment import AUGMENTATIONS, Augment
from .synthetic import Limits, Synthetic
from .triplets import UCF101, Clips, LayoutError, Triplets, VimeoSeptuplets, VimeoTriplets, floats

__all__ = [
    "AUGMENTATIONS",
    "UCF101",
    "Augment",
    "Clips",
    "LayoutError",
    "Limits",
    "Synthetic",
    "Triplets",
    "VimeoSeptuplets",
    "VimeoTriplets",
    "floats",
]
