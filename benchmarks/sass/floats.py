"""What the instructions for float32 and conversions do to a warp's registers."""

import numpy as np

from .core import ALL, ZERO, combine, flags, handles
from .integers import COMPARE, U64, both


@handles("FADD", "FMUL", "FFMA")
def float_arithmetic(w, i, mask):
    to, *texts = i.arguments
    values = [w.read_float(text) for text in texts]
    known = values[0][1] & values[1][1] & values[-1][1]
    x, y, z = (values[n][0].astype(np.float64) if n < len(values) else 0 for n in range(3))
    result = x + y if i.opcode.endswith("FADD") else x * y + z  # double: rounded once, almost always
    result = result.astype(np.float32)
    if "SAT" in i:
        result = np.fmin(np.fmax(result, np.float32(0)), np.float32(1))
    w.write(to, result, known, mask)


@handles("FMNMX")
def float_extreme(w, i, mask):
    to, (a, b), (by,) = both(i)
    x, y = w.read_float(a), w.read_float(b)
    least, known = flags(w, by)
    w.write(to, np.where(least, np.fmin(x[0], y[0]), np.fmax(x[0], y[0])), known & x[1] & y[1], mask)


def float_compare(way: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    unordered = np.isnan(x) | np.isnan(y)
    if way in ("NUM", "NAN"):
        return unordered == (way == "NAN")
    holds = COMPARE[way.removesuffix("U") if way != "NEU" else "NE"](x, y)
    return holds | unordered if way.endswith("U") else holds & ~unordered


@handles("FSETP")
def float_set_predicate(w, i, mask):
    first, second, a, b, by = i.arguments
    x, y = w.read_float(a), w.read_float(b)
    combine(w, i, float_compare(i.modifiers[0], x[0], y[0]), x[1] & y[1], [first, second], by, mask)


@handles("FSET")
def float_set(w, i, mask):
    to, (a, b), (by,) = both(i)
    x, y = w.read_float(a), w.read_float(b)
    other, known = flags(w, by)
    holds = float_compare(next(m for m in i.modifiers if m != "BF"), x[0], y[0]) & other
    w.write(to, holds.astype(np.float32), known & x[1] & y[1], mask)


@handles("FCHK")
def division_check(w, i, mask):
    w.set_predicate(i.arguments[0], ZERO != 0, ALL, mask)  # no denormals, so no slow path


MUFU = {
    "RCP": lambda x: 1 / x,
    "RSQ": lambda x: 1 / np.sqrt(x),
    "SQRT": np.sqrt,
    "EX2": np.exp2,
    "LG2": np.log2,
    "SIN": np.sin,
    "COS": np.cos,
    "TANH": np.tanh,
}


@handles("MUFU")
def special_function(w, i, mask):
    value, known = w.read_float(i.arguments[1])
    way = MUFU.get(i.modifiers[0])
    w.write(i.arguments[0], way(value) if way else value, known if way else 0, mask)


# conversions


@handles("I2F", "I2FP")
def to_float(w, i, mask):
    to, source = i.arguments
    kind = next((m for m in i.modifiers if m[0] in "US" and m[1:].isdigit()), "S32")
    bits, known = w.read64(source) if kind.endswith("64") else w.read(source)
    if kind[1:] in ("8", "16"):
        bits = bits & np.uint32((1 << int(kind[1:])) - 1)
    if kind in ("S64", "S32"):
        bits = bits.view(np.int64 if kind == "S64" else np.int32)
    if "F64" in i or kind in ("S8", "S16"):
        w.forget(i, mask)
    else:
        w.write(to, bits.astype(np.float32), known, mask)


ROUNDINGS = {"TRUNC": np.trunc, "FLOOR": np.floor, "CEIL": np.ceil}


@handles("F2I")
def to_integer(w, i, mask):
    to, source = i.arguments
    value, known = w.read_float(source)
    rounded = next((ROUNDINGS[m] for m in i.modifiers if m in ROUNDINGS), np.rint)(value).astype(np.float64)
    rounded = np.where(np.isnan(value), 0, rounded)
    if "F64" in i:
        w.forget(i, mask)
    elif "U64" in i:
        w.write64(to, np.clip(rounded, 0, 2.0**64 - 4096).astype(U64), known, mask)
    elif "S64" in i:
        w.write64(to, np.clip(rounded, -(2.0**63), 2.0**63 - 4096).astype(np.int64).view(U64), known, mask)
    else:
        low, high = (0, 2**32 - 1) if "U32" in i else (-(2**31), 2**31 - 1)
        w.write(to, np.clip(rounded, low, high).astype(np.int64).astype(np.uint32), known, mask)


@handles("F2IP")
def to_bytes(w, i, mask):
    """F2IP.U8.F32 R, a, b, c: two numbers rounded to bytes, b the lower one, below 16 bits of c."""
    to, *sources, above = i.arguments
    bits, known = w.read(above)
    bits = bits << np.uint32(16)
    for place, source in zip((8, 0), sources, strict=True):
        value, also = w.read_float(source)
        byte = np.clip(np.rint(np.nan_to_num(value)), 0, 255).astype(np.uint32)
        bits, known = bits | byte << np.uint32(place), known & also
    w.write(to, bits, known, mask)


@handles("HADD2")
def half_to_float(w, i, mask):
    """HADD2.F32 R, -RZ, R.H0_H0 is a conversion; the rest is not modelled."""
    to, zero, source = i.arguments
    if "F32" not in i or zero != "-RZ":
        w.forget(i, mask)
        return
    bits, known = w.bits(source)
    half = (bits >> np.uint32(16 if "H1_H1" in source else 0)).astype(np.uint16).view(np.float16)
    value = np.abs(half) if "|" in source else half
    w.write(to, (-value if source[0] == "-" else value).astype(np.float32), known, mask)


@handles("HFMA2")
def half_constant(w, i, mask):
    """HFMA2 R, -RZ, RZ, 1.875, 0 is a constant in disguise; the rest is not modelled."""
    to, a, b, *halves = i.arguments
    if (a, b) != ("-RZ", "RZ") or len(halves) != 2:
        w.forget(i, mask)
        return
    high, low = (int(np.float16(float(text)).view(np.uint16)) for text in halves)
    w.write(to, ZERO + np.uint32(high << 16 | low), ALL, mask)


@handles("F2FP")
def pack_halves(w, i, mask):
    to, (high, low), _ = both(i)
    (x, x_known), (y, y_known) = w.read_float(high), w.read_float(low)
    convert = to_brain if "BF16" in i else to_half
    w.write(to, convert(x) << np.uint32(16) | convert(y), x_known & y_known, mask)


def to_half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).view(np.uint16).astype(np.uint32)


def to_brain(values: np.ndarray) -> np.ndarray:
    bits = values.view(np.uint32)
    return (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
