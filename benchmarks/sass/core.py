"""What the instructions share: lanes, masks of lanes, and the table of what each opcode does."""

import functools
from collections.abc import Callable

import numpy as np

ALL = 0xFFFFFFFF  # lanes
LANES = np.arange(32, dtype=np.uint32)
BITS = np.uint32(1) << LANES
ZERO = np.zeros(32, np.uint32)
# Opcode -> what it does: (warp, instruction, the lanes that execute it).
HANDLERS: dict[str, Callable] = {}


def handles(*names: str):
    def register(function: Callable) -> Callable:
        HANDLERS.update(dict.fromkeys(names, function))
        return function

    return register


def mask_of(lanes: np.ndarray) -> int:
    return int(np.packbits(lanes, bitorder="little").view("<u4")[0])


@functools.lru_cache(4096)
def lanes_of(mask: int) -> np.ndarray:
    lanes = (np.uint32(mask) & BITS) != 0
    lanes.flags.writeable = False  # all callers share it
    return lanes


def flags(w, text: str) -> tuple[np.ndarray, int]:
    """(lanes where a predicate holds, lanes where it is known)."""
    true, known = w.predicate(text)
    return lanes_of(true), known


def combine(w, i, holds: np.ndarray, known: int, names: list[str], by: str, mask: int) -> None:
    """SETP's second step: AND, OR or XOR with a predicate, and the same of the complement."""
    other, also = flags(w, by)
    way = next(m for m in i.modifiers if m in ("AND", "OR", "XOR"))
    join = {"AND": np.logical_and, "OR": np.logical_or, "XOR": np.logical_xor}[way]
    if way != "XOR":  # false AND unknown is false, true OR unknown is true
        decides = (lambda v: ~v) if way == "AND" else (lambda v: v)
        sure = mask_of(decides(holds)) & known | mask_of(decides(other)) & also
        known = known & also | sure
    else:
        known &= also
    w.set_predicate(names[0], join(holds, other), known, mask)
    w.set_predicate(names[1], join(~holds, other), known, mask)
