"""What the instructions for integers, predicates and moves do to a warp's registers."""

import operator

import numpy as np

from .core import ALL, BITS, ZERO, combine, flags, handles, lanes_of, mask_of

U64 = np.uint64
WORD = U64(ALL)
COMPARE = {
    "EQ": operator.eq, "NE": operator.ne, "LT": operator.lt, "LE": operator.le, "GT": operator.gt,
    "GE": operator.ge, "F": lambda a, b: a != a, "T": lambda a, b: a == a,
}  # fmt: skip


@handles(
    *["NOP", "BSSY", "BSYNC", "BMOV", "BREAK", "WARPSYNC", "YIELD", "BAR", "DEPBAR", "LDGDEPBAR", "MEMBAR"],
    *["ERRBAR", "CCTL", "CCTLL", "NANOSLEEP"],
)
def nothing(w, i, mask):
    pass


def both(i) -> tuple[str, list[str], list[str]]:
    """(register written, values, predicates read)."""
    _, values, read = i.parts
    return values[0], values[1:], read


def terms(w, texts: list[str]) -> tuple[np.ndarray, int]:
    """A sum of 32-bit operands in 64 bits, where -x is 2^32 - x, so that its carry is the processor's."""
    total, known = np.zeros(32, U64), ALL
    for text in texts:
        value, also = w.read(text.lstrip("-"))
        value = value.astype(U64)
        total = total + ((value ^ WORD) + U64(1) if text[0] == "-" else value)
        known &= also
    return total, known


def carries(w, i, read: list[str]) -> tuple[np.ndarray, int]:
    total, known = np.zeros(32, U64), ALL
    if "X" in i:
        for text in read:
            carry, also = flags(w, text)
            total, known = total + carry, known & also
    return total, known


@handles("IADD3", "IADD", "VIADD")
def add(w, i, mask):
    out, (to, *values), read = i.parts
    if "64" in i:
        a, b = w.read64(values[0]), w.read64(values[1])
        w.write64(to, a[0] + b[0], a[1] & b[1], mask)
        return
    total, known = terms(w, values)
    carry, also = carries(w, i, read)
    total, known = total + carry, known & also
    w.write(to, total.astype(np.uint32), known, mask)
    for n, name in enumerate(out):
        w.set_predicate(name, (total >> U64(32)) > n, known, mask)


@handles("IMAD")
def multiply(w, i, mask):
    out, (to, a, b, c), read = i.parts
    (x, x_known), (y, y_known) = w.read(a), w.read(b)
    wide = "WIDE" in i or "HI" in i
    z, z_known = w.read64(c) if wide else w.read(c)
    if not (wide or out or "X" in i):
        w.write(to, x * y + z, x_known & y_known & z_known, mask)
        return
    if wide and "U32" not in i:
        product = (x.view(np.int32).astype(np.int64) * y.view(np.int32)).view(U64)
    else:
        product = x.astype(U64) * y.astype(U64)
    carry, known = carries(w, i, read)
    total, known = product + z + carry, known & x_known & y_known & z_known
    if "WIDE" in i:
        w.write64(to, total, known, mask)
    else:
        w.write(to, (total >> U64(32 if "HI" in i else 0)).astype(np.uint32), known, mask)
    for name in out:
        w.set_predicate(name, total < product, known, mask)


@handles("LOP3")
def logic(w, i, mask):
    out, (to, a, b, c, table), _ = i.parts
    x, y, z = w.read(a), w.read(b), w.read(c)
    bits = choose(int(table, 16), x[0], y[0], z[0])
    known = x[1] & y[1] & z[1]
    w.write(to, bits, known, mask)
    for name in out[:1]:
        w.set_predicate(name, bits != 0, known, mask)


COMMON = {
    0xC0: lambda x, y, z: x & y,
    0xFC: lambda x, y, z: x | y,
    0x3C: lambda x, y, z: x ^ y,
    0x33: lambda x, y, z: ~y,
    0x0F: lambda x, y, z: ~x,
    0xF8: lambda x, y, z: x | y & z,
}


def choose(table: int, x, y, z):
    """The bits that a truth table of eight rows gives."""
    if table in COMMON:
        return COMMON[table](x, y, z)
    found = x & 0
    for row in range(8):
        if table >> row & 1:
            found = found | (x if row & 4 else ~x) & (y if row & 2 else ~y) & (z if row & 1 else ~z)
    return found


@handles("PLOP3")
def predicate_logic(w, i, mask):
    *names, table, other = i.arguments
    out, read = names[:-3], [w.predicate(name) for name in names[-3:]]
    known = read[0][1] & read[1][1] & read[2][1]
    for name, rows in zip(out, (table, other), strict=False):
        bits = choose(int(rows, 16), *(value for value, _ in read)) & ALL
        w.set_predicate(name, (np.uint32(bits) & BITS) != 0, known, mask)


@handles("SHF")
def shift(w, i, mask):
    to, low, by, high = i.arguments
    a, s, b = w.read(low), w.read(by), w.read(high)
    value = b[0].astype(U64) << U64(32) | a[0].astype(U64)
    count = s[0].astype(U64) & U64(31 if "W" in i else 63)
    if i.modifiers[0] == "L":
        value = value << count
    elif {"S32", "S64"} & {*i.modifiers}:
        value = (value.view(np.int64) >> count.view(np.int64)).view(U64)
    else:
        value = value >> count
    w.write(to, (value >> U64(32 if "HI" in i else 0)).astype(np.uint32), a[1] & s[1] & b[1], mask)


@handles("LEA")
def address(w, i, mask):
    """a << s, plus b; .HI: the upper word of it, and of c:a << s, plus b."""
    out, (to, a, b, *rest), read = i.parts
    x, known = w.read(a)
    s = U64(int(rest[-1], 16))
    if "SX32" in i:
        wide = x.view(np.int32).astype(np.int64).view(U64)
    elif "HI" in i:
        high, also = w.read(rest[0])
        wide, known = high.astype(U64) << U64(32) | x, known & also
    else:
        wide = x.astype(U64)
    shifted = (wide << s) >> U64(32) if "HI" in i else wide << s & WORD
    other, also = terms(w, [b])
    carry, carried = carries(w, i, read)
    total, known = shifted + other + carry, known & also & carried
    w.write(to, total.astype(np.uint32), known, mask)
    for name in out[:1]:
        w.set_predicate(name, total >> U64(32) != 0, known, mask)


@handles("ISETP")
def compare(w, i, mask):
    first, second, a, b, by, *extended = i.arguments
    wide = {"S64", "U64"} & {*i.modifiers}
    x, y = (w.read64(t) if wide else w.read(t) for t in (a, b))
    known = x[1] & y[1]
    signed = not {"U32", "U64"} & {*i.modifiers}
    kind = (np.int64 if wide else np.int32) if signed else x[0].dtype
    left, right = x[0].view(kind), y[0].view(kind)
    way = i.modifiers[0]
    holds = COMPARE[way](left, right)
    if "EX" in i:  # the upper words; the lower ones have been compared
        low, also = flags(w, extended[0])
        known &= also
        if way == "NE":
            holds = holds | low
        else:
            strict = COMPARE[{"GE": "GT", "LE": "LT"}.get(way, way)]
            holds = (left == right) & low if way == "EQ" else strict(left, right) | (left == right) & low
    combine(w, i, holds, known, [first, second], by, mask)


@handles("SEL", "FSEL")
def select(w, i, mask):
    to, (a, b), (by,) = both(i)
    flag, known = flags(w, by)
    read = w.read64 if "64" in i else w.read_float if i.opcode.endswith("FSEL") else w.read
    (x, x_known), (y, y_known) = read(a), read(b)
    known &= mask_of(flag) & x_known | mask_of(~flag) & y_known
    (w.write64 if "64" in i else w.write)(to, np.where(flag, x, y), known, mask)


@handles("IMNMX", "VIMNMX", "VIADDMNMX")
def extreme(w, i, mask):
    _, (to, *values), read = i.parts
    wide = {"S64", "U64"} & {*i.modifiers}
    x, *others = [w.read64(t) if wide else w.read(t) for t in values]
    if i.opcode.endswith("VIADDMNMX"):
        x = (x[0] + others[0][0], x[1] & others[0][1])
    y = others[-1]
    kind = x[0].dtype if {"U32", "U64"} & {*i.modifiers} else (np.int64 if wide else np.int32)
    least, flag = flags(w, read[0])
    a, b = x[0].view(kind), y[0].view(kind)
    value = np.where(least, np.minimum(a, b), np.maximum(a, b)).view(x[0].dtype)
    (w.write64 if wide else w.write)(to, value, x[1] & y[1] & flag, mask)


@handles("MOV", "R2UR")
def move(w, i, mask):
    _, (to, source, *_), _ = i.parts
    if "64" in i:
        w.write64(to, *w.read64(source), mask)
    else:
        w.write(to, *w.read(source), mask)


@handles("CS2R")
def special_pair(w, i, mask):
    to, name = i.arguments
    w.write64(to, ZERO.astype(U64), ALL if name == "SRZ" else 0, mask)


@handles("S2R", "S2UR")
def special(w, i, mask):
    to, name = i.arguments
    w.write(to, w.special.get(name, ZERO), ALL if name in w.special else 0, mask)


@handles("LDC", "LDCU")
def constant(w, i, mask):
    to, source = i.arguments[:2]
    words = [w.bits(source, word) for word in range(4 if "128" in i else 2 if "64" in i else 1)]
    for word, (bits, known) in enumerate(words):  # the first may be the offset of the others
        w.write(to, bits, known, mask, word)


@handles("PRMT")
def permute(w, i, mask):
    to, (a, selector, b), _ = both(i)
    x, s, y = w.read(a), w.read(selector), w.read(b)
    value = y[0].astype(U64) << U64(32) | x[0]
    bits = np.zeros(32, np.uint32)
    for n in range(4):
        pick = s[0] >> np.uint32(4 * n) & np.uint32(15)
        byte = (value >> (U64(8) * (pick & np.uint32(7)))).astype(np.uint32) & np.uint32(255)
        sign = np.where(byte & 128, np.uint32(255), np.uint32(0))
        bits |= np.where(pick & 8, sign, byte) << np.uint32(8 * n)
    known = x[1] & s[1] & y[1]
    if b.removesuffix(".reuse") == to:  # a 16-bit number is moved into one half; nobody reads the other
        known = x[1] & s[1]
    w.write(to, bits, known, mask)


@handles("P2R")
def pack_predicates(w, i, mask):
    to, _, source, which = i.arguments
    bits, known = w.read(source)
    chosen = int(which, 16)
    bits = bits & ~np.uint32(chosen)
    for n in range(7):
        if chosen >> n & 1:
            flag, also = flags(w, f"P{n}")
            bits, known = bits | flag.astype(np.uint32) << np.uint32(n), known & also
    w.write(to, bits, known, mask)


@handles("R2P")
def unpack_predicates(w, i, mask):
    _, source, which = i.arguments
    bits, known = w.read(source)
    for n in range(7):
        if int(which, 16) >> n & 1:
            w.set_predicate(f"P{n}", bits >> np.uint32(n) & np.uint32(1) != 0, known, mask)


@handles("POPC", "FLO", "BREV", "IABS")
def count(w, i, mask):
    to, source = i.arguments[0], i.arguments[-1]
    bits, known = w.read(source)
    if i.opcode.endswith("IABS"):
        result = np.abs(bits.view(np.int32)).view(np.uint32)
    else:
        digits = np.unpackbits(bits.astype(">u4").view(np.uint8)).reshape(32, 32)
        if i.opcode.endswith("POPC"):
            result = digits.sum(1).astype(np.uint32)
        elif i.opcode.endswith("BREV"):
            result = np.packbits(digits[:, ::-1], axis=1).view(">u4").ravel().astype(np.uint32)
        else:
            first = digits.argmax(1).astype(np.uint32)
            found = first if "SH" in i else np.uint32(31) - first
            result = np.where(bits == 0, np.uint32(ALL), found)
    w.write(to, result, known, mask)


# between lanes


@handles("VOTE", "VOTEU")
def vote(w, i, mask):
    out, read = i.arguments[:-1], i.arguments[-1]
    true, known = w.predicate(read)
    votes, known = true & mask, ALL if known & mask == mask else 0
    for text, is_predicate in zip(out, i.predicates, strict=False):
        if is_predicate:
            holds = votes == mask if "ALL" in i else votes != 0
            w.set_predicate(text, np.full(32, holds), known, mask)
        else:
            w.write(text, ZERO + np.uint32(votes), known, mask)


@handles("SHFL")
def shuffle(w, i, mask):
    flag, to, source, by, _ = i.arguments
    bits, known = w.read(source)
    count, also = w.read(by)
    lane = np.arange(32)
    step = count.astype(np.int64)
    other = {"BFLY": lane ^ step, "UP": lane - step, "DOWN": lane + step, "IDX": step}[i.modifiers[0]]
    inside = (other >= 0) & (other < 32)
    other = np.where(inside, other, lane) & 31
    known_lanes = (np.uint32(known) & BITS) != 0
    w.write(to, bits[other], mask_of(known_lanes[other]) & also, mask)
    w.set_predicate(flag, inside, also, mask)


@handles("MATCH")
def match(w, i, mask):
    """MATCH.ANY: which lanes have the same number."""
    to, source = i.arguments
    bits, known = w.read(source)
    same = (bits[:, None] == bits) & lanes_of(mask)
    votes = (same * BITS.astype(U64)).sum(1).astype(np.uint32)
    w.write(to, votes, ALL if known & mask == mask else 0, mask)


REDUCTIONS = {"SUM": np.add, "MIN": np.minimum, "MAX": np.maximum, "OR": np.bitwise_or, "XOR": np.bitwise_xor}


@handles("REDUX", "CREDUX")
def reduce_lanes(w, i, mask):
    to, source = i.arguments
    bits, known = w.read(source)
    way = next((REDUCTIONS[m] for m in i.modifiers if m in REDUCTIONS), np.bitwise_and)
    values = bits[lanes_of(mask)]
    result = way.reduce(values.view(np.int32) if "S32" in i else values).astype(np.int64)
    w.write(to, ZERO + np.uint32(result & ALL), ALL if known & mask == mask else 0, ALL)
