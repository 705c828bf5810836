"""What the instructions of SASS do to memory: global, shared and local; for `warp.Warp`."""

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .core import ALL, ZERO, handles, lanes_of, mask_of

LINE, SECTOR, BANKS = 128, 32, 32


class Memory:
    """The global memory that is known: address ranges and their bytes."""

    def __init__(self, ranges: Sequence[tuple[int, np.ndarray]]) -> None:
        self._ranges = [(base, data) for base, data in ranges if len(data)]

    def read(self, addresses: np.ndarray, size: int, mask: int) -> tuple[np.ndarray, int]:
        """Bytes [32, size], and the lanes of the mask for which they are known."""
        data, known = np.zeros((32, size), np.uint8), 0
        for base, source in self._ranges:
            if known == mask:
                break
            offsets = addresses - base
            inside = lanes_of(mask & ~known) & (offsets >= 0) & (offsets + size <= len(source))
            if inside.any():
                data[inside] = source[offsets[inside, None] + np.arange(size)]
                known |= mask_of(inside)
        return data, known

    def write(self, addresses: np.ndarray, data: np.ndarray, mask: int) -> None:
        """Into the ranges: a kernel may read what it wrote."""
        size = data.shape[1]
        for base, target in self._ranges:
            offsets = addresses - base
            inside = lanes_of(mask) & (offsets >= 0) & (offsets + size <= len(target))
            target[offsets[inside, None] + np.arange(size)] = data[inside]


@dataclass
class Access:
    """What the executions of one instruction touched."""

    executed: int = 0
    cycles: int = 0  # in which a multiprocessor's load unit serves them
    guessed: int = 0  # executions with unknown addresses, taken as neighbouring ones
    sectors: set[int] = field(default_factory=set)  # of 32 bytes, global memory


def size_of(i) -> int:
    """Bytes of a lane."""
    sizes = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}
    return next((sizes[m] for m in i.modifiers if m in sizes), 4)


def address_of(w, text: str) -> tuple[np.ndarray, int]:
    """Of [R2.64+UR4+0x10] or desc[UR4][R2.64]; a register without .64 beside 64 bits is an offset."""
    registers, offset = address_terms(text)
    total, known = np.full(32, offset, np.int64), ALL
    for name, wide, factor in registers:
        bits, also = w.register(name)
        value = bits.astype(np.int64)
        if wide:
            high, upper = w.register(name, 1)
            value, also = high.astype(np.int64) << 32 | value, also & upper
        total, known = total + value * factor, known & also
    return total, known


@functools.cache
def address_terms(text: str) -> tuple[list[tuple[str, bool, int]], int]:
    """(register, whether of 64 bits, its factor) of every one, and the offset."""
    registers, offset = [], 0
    for term in re.findall(r"-?[\w.]+", text[text.rindex("[") :]):
        if term.lstrip("-").startswith("0x"):
            offset += int(term, 16)
            continue
        name, *suffixes = term.split(".")
        wide = "64" in suffixes or (name.startswith("UR") and "U32" in text)
        registers.append((name, wide, math.prod(int(s[1:]) for s in suffixes if s[0] == "X")))
    return registers, offset


def record(w, i, addresses: np.ndarray, known: int, mask: int, size: int, shared: bool) -> None:
    """Counts an access: the lines that it touches, or the cycles of the banks."""
    access = w.accesses.setdefault(i.address, Access())
    access.executed += 1
    lanes = lanes_of(mask)
    if mask & ~known:
        access.guessed += 1
        access.cycles += max(1, size * int(lanes.sum()) // LINE)
        return
    if shared:
        access.cycles += bank_cycles(addresses, lanes, size)
        return
    used = addresses[lanes]
    sectors = {*(used // SECTOR).tolist(), *((used + size - 1) // SECTOR).tolist()}
    lines = {sector * SECTOR // LINE for sector in sectors}
    access.cycles += max(len(lines), size * len(used) // LINE, 1)
    access.sectors |= sectors


def bank_cycles(addresses: np.ndarray, lanes: np.ndarray, size: int) -> int:
    """Lanes of 8 bytes go in two halves, of 16 in four quarters; a bank serves a word a cycle."""
    from_line = addresses - addresses.min() // LINE * LINE  # which line changes nothing
    return _bank_cycles(from_line.tobytes(), lanes.tobytes(), size)


@functools.lru_cache(4096)
def _bank_cycles(address_bytes: bytes, lane_bytes: bytes, size: int) -> int:
    addresses, lanes = np.frombuffer(address_bytes, np.int64), np.frombuffer(lane_bytes, bool)
    group = min(32, LINE // size)
    cycles = 0
    for first in range(0, 32, group):
        used = addresses[first : first + group][lanes[first : first + group]]
        words = np.unique((used[:, None] + np.arange(0, max(size, 4), 4)) // 4)
        cycles += int(np.bincount(words % BANKS).max()) if len(words) else 0
    return max(cycles, 1)


def put(w, to: str, data: np.ndarray, i, known: int, mask: int) -> None:
    """Loaded bytes [32, size] into registers."""
    size = data.shape[1]
    if size < 4:
        kind = {"S8": np.int8, "S16": np.int16, "U8": np.uint8, "U16": np.uint16}
        sign = next(m for m in i.modifiers if m in kind)
        bits = np.ascontiguousarray(data).view(kind[sign]).ravel().astype(np.int32).view(np.uint32)
        w.write(to, bits, known, mask)
        return
    words = np.ascontiguousarray(data).view(np.uint32)
    for n in range(size // 4):
        w.write(to, words[:, n], known, mask, n)


def stored(w, source: str, size: int) -> tuple[np.ndarray, int]:
    """The bytes [32, size] that a store writes."""
    words = [
        w.register(source, n) if not source.endswith("Z") else (ZERO, ALL) for n in range(max(1, size // 4))
    ]
    known = ALL
    for _, also in words:
        known &= also
    return np.stack([bits for bits, _ in words], 1).view(np.uint8)[:, :size], known & ~w.doubtful


@handles("LDG", "LD")
def load(w, i, mask):
    to, place = [a for a, p in zip(i.arguments, i.predicates, strict=True) if not p][:2]
    addresses, known = address_of(w, place)
    size = size_of(i)
    record(w, i, addresses, known, mask, size, shared=False)
    data, known = w.memory.read(addresses, size, mask & known)
    put(w, to, data, i, known, mask)


@handles("STG", "ST")
def store(w, i, mask):
    place, source = i.arguments[:2]
    addresses, known = address_of(w, place)
    size = size_of(i)
    record(w, i, addresses, known, mask, size, shared=False)
    data, also = stored(w, source, size)
    w.memory.write(addresses, data, mask & known & also)
    w.stores.append((addresses, data, mask, mask & known & also))


@handles("RED", "REDG", "ATOM", "ATOMG")
def atomic(w, i, mask):
    place = next(a for a in i.arguments if "[" in a)
    addresses, known = address_of(w, place)
    record(w, i, addresses, known, mask, size_of(i), shared=False)
    if i.opcode.startswith("ATOM"):
        w.forget(i, mask)


def shared_bytes(w, addresses: np.ndarray, size: int) -> np.ndarray:
    return (addresses[:, None] + np.arange(size)) % len(w.shared)  # of lanes that are off, anything


@handles("LDS")
def load_shared(w, i, mask):
    to, place = i.arguments[:2]
    addresses, known = address_of(w, place)
    size = size_of(i)
    record(w, i, addresses, known, mask, size, shared=True)
    data = w.shared[shared_bytes(w, np.where(lanes_of(known), addresses, 0), size)]
    put(w, to, data.astype(np.uint8), i, known & mask_of((data >= 0).all(1)), mask)


@handles("STS")
def store_shared(w, i, mask):
    place, source = i.arguments[:2]
    addresses, known = address_of(w, place)
    size = size_of(i)
    record(w, i, addresses, known, mask, size, shared=True)
    data, also = stored(w, source, size)
    keep_shared(w, addresses, data, known, also, mask)


def keep_shared(w, addresses, data, known: int, also: int, mask: int) -> None:
    if mask & ~known:
        w.shared[:] = -1  # anything may have changed
    lanes = lanes_of(mask & known)
    value = np.where(lanes_of(also)[:, None], data.astype(np.int16), np.int16(-1))
    w.shared[shared_bytes(w, addresses, data.shape[1])[lanes]] = value[lanes]


@handles("ATOMS", "REDS")
def atomic_shared(w, i, mask):
    place = next(a for a in i.arguments if "[" in a)
    addresses, known = address_of(w, place)
    size = size_of(i)
    record(w, i, addresses, known, mask, size, shared=True)
    keep_shared(w, addresses, np.zeros((32, size), np.uint8), known, 0, mask)
    w.forget(i, mask)


@handles("LDSM")
def load_matrix(w, i, mask):
    """8 x 8 matrices of 16-bit numbers: lane 8 m + r holds the address of row r of matrix m."""
    to, place = i.arguments[:2]
    addresses, known = address_of(w, place)
    count = int(i.modifiers[-1])
    lane = np.arange(32)
    access = w.accesses.setdefault(i.address, Access())
    access.executed += 1
    for n in range(count):
        rows = addresses[8 * n : 8 * n + 8]
        row_known = (known >> 8 * n & 255) == 255
        access.guessed += not row_known
        access.cycles += bank_cycles(np.repeat(rows, 4), lane < 8, 16) if row_known else 1
        if not row_known or any(m.startswith("MT") for m in i.modifiers):
            w.write(to, ZERO, 0, mask, n)
            continue
        data = w.shared[shared_bytes(w, rows[lane // 4] + 4 * (lane % 4), 4)]
        bits = np.ascontiguousarray(data.astype(np.uint8)).view(np.uint32).ravel()
        w.write(to, bits, mask_of((data >= 0).all(1)), mask, n)


@handles("LDGSTS")
def copy_to_shared(w, i, mask):
    to, source = i.arguments[:2]
    (inside, inside_known), (addresses, known) = address_of(w, to), address_of(w, source)
    size = size_of(i)
    record(w, i, addresses, known, mask, size, shared=False)
    data, filled = w.memory.read(addresses, size, mask & known)
    keep_shared(w, inside, data, inside_known, filled, mask)


@handles("LDL", "STL")
def local(w, i, mask):
    store = i.opcode == "STL"
    place, register = i.arguments if store else i.arguments[::-1]
    addresses, known = address_of(w, place)
    size = size_of(i)
    access = w.accesses.setdefault(i.address, Access())
    access.executed += 1
    access.cycles += max(1, size // 4)
    places = (addresses % w.local.shape[1])[:, None] + np.arange(size)
    rows = np.arange(32)[:, None]
    if store:
        data, also = stored(w, register, size)
        lanes = lanes_of(mask & known)
        w.local[np.broadcast_to(rows, places.shape)[lanes], places[lanes]] = np.where(
            lanes_of(also)[:, None], data.astype(np.int16), np.int16(-1)
        )[lanes]
    else:
        data = w.local[rows, places]
        put(w, register, data.astype(np.uint8), i, known & mask_of((data >= 0).all(1)), mask)
