"""Figures that others have published, each with where it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PUBLISHED", "Published"]


@dataclass(frozen=True)
class Published:
    """A row of a report, with all the digits that were given; part and names of values as in `benchmarks`."""

    part: str
    model: str
    values: Mapping[str, str]
    source: str


RIFE = "github.com/hzwer/ECCV2022-RIFE, README"
SEPCONV = "github.com/sniklaus/sepconv-slomo, benchmark.py"
SLOMO = "github.com/avinashpaliwal/Super-SloMo, README"
XVFI = "github.com/JihyongOh/XVFI, README"
EMA = "Zhang et al.: EMA-VFI, CVPR 2023, tables 1 and 2"
IQ = "Hu et al.: IQ-VFI, CVPR 2024, table 1"


def _masked(model: str, psnr: str, ssim: str, ie: str) -> Published:
    values = {"PSNR (SloMo)": psnr, "SSIM (SloMo)": ssim, "IE (SloMo)": ie}
    return Published("UCF101", model, values, SLOMO)


def _two(part: str, model: str, psnr: str, ssim: str, source: str, kind: str = "SSIM 3-D") -> Published:
    return Published(part, model, {"PSNR": psnr, kind: ssim}, source)


PUBLISHED = (
    _two("Vimeo90K", "SepConv", "33.79", "0.9702", EMA),
    _two("Vimeo90K", "RIFE", "35.615", "0.9779", RIFE),
    _two("UCF101", "SepConv", "34.78", "0.9669", EMA),
    _two("UCF101", "RIFE", "35.282", "0.9688", RIFE),
    _masked("Deep Voxel Flow", "29.37", "0.861", "16.37"),
    _masked("SepConv, L1", "30.18", "0.875", "15.54"),
    _masked("SepConv, LF", "30.03", "0.869", "15.78"),
    _masked("Super SloMo (paper, all data)", "30.22", "0.880", "15.18"),
    _masked("Super SloMo (paper, Adobe240)", "29.80", "0.870", "15.68"),
    _masked("Super SloMo (avinashpaliwal)", "29.77", "0.874", "15.58"),
    _two("Middlebury", "SepConv, L1", "35.85", "0.959", SEPCONV, "SSIM"),
    _two("Middlebury", "SepConv, LF", "35.16", "0.954", SEPCONV, "SSIM"),
    _two("Middlebury", "SepConv, L1, 25 pixels padded", "35.73", "0.959", SEPCONV, "SSIM"),
    _two("Middlebury", "SepConv, LF, 25 pixels padded", "35.03", "0.954", SEPCONV, "SSIM"),
    Published("Middlebury, filled to 640x480", "SepConv", {"IE": "2.27"}, EMA),
    Published("Middlebury, filled to 640x480", "RIFE", {"IE": "1.956"}, RIFE),
    _two("SNU-FILM easy", "SepConv", "39.41", "0.9900", EMA),
    _two("SNU-FILM easy", "RIFE", "39.80", "0.9903", EMA),
    _two("SNU-FILM easy", "RIFE", "40.06", "0.991", IQ),
    _two("SNU-FILM medium", "SepConv", "34.97", "0.9762", EMA),
    _two("SNU-FILM medium", "RIFE", "35.76", "0.9787", EMA),
    _two("SNU-FILM medium", "RIFE", "35.75", "0.979", IQ),
    _two("SNU-FILM hard", "SepConv", "29.36", "0.9253", EMA),
    _two("SNU-FILM hard", "RIFE", "30.36", "0.9351", EMA),
    _two("SNU-FILM hard", "RIFE", "30.10", "0.933", IQ),
    _two("SNU-FILM extreme", "SepConv", "24.31", "0.8448", EMA),
    _two("SNU-FILM extreme", "RIFE", "25.27", "0.8601", EMA),
    _two("SNU-FILM extreme", "RIFE", "24.84", "0.853", IQ),
    _two("Xiph 2K", "SepConv", "34.77", "0.929", EMA, "SSIM"),
    _two("Xiph 2K", "RIFE", "36.19", "0.938", EMA, "SSIM"),
    _two('Xiph "4K"', "SepConv", "32.06", "0.880", EMA, "SSIM"),
    _two('Xiph "4K"', "RIFE", "33.76", "0.894", EMA, "SSIM"),
    Published("X-TEST 4K, 8x", "RIFE_m", {"PSNR": "30.58"}, EMA),
    _two("X-TEST 4K, 8x", "XVFI-Net, S_tst 5", "30.12", "0.870", XVFI, "SSIM luma"),
    _two("X-TEST 4K, 8x", "XVFI-Net, S_tst 3", "28.86", "0.858", XVFI, "SSIM luma"),
)
