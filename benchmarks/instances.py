"""What the cost sheet has: calls of the operations on a frame of 1080p, in groups that become its tables."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from cases import BACKWARD, FORWARD, OPERATIONS, TAPS, Maker, Operation
from torch import Tensor

WIDE = 32  # channels of a feature map


@dataclass(frozen=True)
class Instance:
    operation: Operation
    direction: str
    dtype: str
    note: str = ""  # apart from the benchmarks' call; "" for theirs
    layout: str = "contiguous"
    taps: int = TAPS
    precision: str = "highest"  # torch.set_float32_matmul_precision
    ordered: bool = False  # torch.use_deterministic_algorithms
    naive: bool = False  # the simple kernels that would serve the call as well

    @property
    def name(self) -> str:
        return self.operation.name

    @property
    def label(self) -> str:
        return f"{self.name}, {self.note}" if self.note else self.name


def _wide_backwarp(make: Maker) -> dict[str, Tensor]:
    return {"image": make.image(WIDE), "flow": make.flow()}


def _wide_blend(make: Maker) -> dict[str, Tensor]:
    frames = {f"frame{i}": make.image(WIDE) for i in range(2)}
    return {**frames, "flow0": make.flow(), "flow1": make.flow(), "mask": make.fraction()}


def some(names: Iterable[str], direction: str, dtypes: Iterable[str], **options) -> list[Instance]:
    """Of the plain operations."""
    plain = {operation.name: operation for operation in OPERATIONS if not operation.variant}
    return [Instance(plain[name], direction, dtype, **options) for name in names for dtype in dtypes]


def of_channels(name: str, build, direction: str, dtypes: Iterable[str], **options) -> list[Instance]:
    note = f"{WIDE} channels"
    found = some([name], direction, dtypes, note=note, **options)
    return [replace(instance, operation=replace(instance.operation, build=build)) for instance in found]


ONE, PAIRS = ("backwarp", "backwarp_multi"), ("warp_blend", "voxel_flow")
FLOATS, LAST = ("float32", "float16"), {"layout": "channels_last"}
PAIR, FEW = ("sepconv_pair",), {"note": "15 taps", "taps": 15}
COARSE = {"note": 'precision "high"', "precision": "high"}
GROUPS = {
    "Warps": [
        *some(ONE, FORWARD, FLOATS, naive=True),
        *some(PAIRS, FORWARD, (*FLOATS, "uint8"), naive=True),
        *some((*ONE, *PAIRS), BACKWARD, FLOATS, naive=True),
    ],
    "Warps, channels_last": [
        *some(ONE, FORWARD, FLOATS, **LAST),
        *of_channels("backwarp", _wide_backwarp, FORWARD, ["float16"], **LAST),
        *some(PAIRS, FORWARD, (*FLOATS, "uint8"), **LAST),
        *of_channels("warp_blend", _wide_blend, FORWARD, ["float16"], **LAST),
        *some(ONE, BACKWARD, FLOATS, **LAST),
        *of_channels("backwarp", _wide_backwarp, BACKWARD, ["float16"], **LAST),
        *some(PAIRS, BACKWARD, FLOATS, **LAST),
        *of_channels("warp_blend", _wide_blend, BACKWARD, ["float16"], **LAST),
    ],
    "Gradients of frames with sums in a fixed order": some(
        ("backwarp", *PAIRS), BACKWARD, ["float32"], note="deterministic", ordered=True
    ),
    "Separable convolution": [
        *some(PAIR, FORWARD, FLOATS, naive=True),
        *some(PAIR, FORWARD, ["uint8"]),
        *some(PAIR, FORWARD, ["float32"], **COARSE),
        *some(PAIR, FORWARD, FLOATS, naive=True, **FEW),
        *some(PAIR, BACKWARD, ["float32"], naive=True),
        *some(PAIR, BACKWARD, ["float16"]),
        *some(PAIR, BACKWARD, ["float32"], **COARSE),
        *some(PAIR, BACKWARD, ["float32"], naive=True, **FEW),
    ],
}
LEFT_OUT = """
Left out: bfloat16, which costs what float16 does; float64; zeros padding and masks as logits, some
instructions more; `sepconv`, half of a pair, and its channels_last taps, which only the kernels without
tensor cores take; gradients of some inputs only, for which less is computed. Simple kernels are left out
beside channels_last, sums in a fixed order, uint8 and precision "high" of sepconv and its float16 gradients.
"""
