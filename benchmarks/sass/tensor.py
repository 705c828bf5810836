"""What the tensor-core instructions do: a warp's product of matrices that are spread over its lanes."""

import numpy as np

from .core import ALL, LANES, handles

ROW, COLUMN = LANES // 4, LANES % 4  # of a lane's first element, in units of a register
M, N = 16, 8


@handles("HMMA")
def multiply_matrices(w, i, mask):
    """D = A B + C in float32, of float16, bfloat16 or TF32: HMMA.16816.F32 has A [16, 16] and B [16, 8]."""
    d, a, b, c = i.arguments
    shape = next(m for m in i.modifiers if m.isdigit())
    if "F32" not in i or not shape.startswith("168") or mask != ALL:
        w.forget(i, mask)
        return
    depth, packed = int(shape[3:]), 1 if "TF32" in i else 2  # elements of a register
    known = ALL
    left, right, total = np.zeros((M, depth)), np.zeros((depth, N)), np.zeros((M, N), np.float32)
    for chunk in range(depth // (4 * packed)):
        along = 4 * packed * chunk + packed * COLUMN
        for half in range(2):
            bits, also = w.register(a.removesuffix(".reuse"), 2 * chunk + half)
            known &= also
            for n, values in enumerate(elements(i, bits)):
                left[ROW + 8 * half, along + n] = values
        bits, also = w.register(b.removesuffix(".reuse"), chunk)
        known &= also
        for n, values in enumerate(elements(i, bits)):
            right[along + n, ROW] = values
    places = [(ROW + 8 * (n // 2), 2 * COLUMN + n % 2) for n in range(4)]
    for n, place in enumerate(places):
        bits, also = w.register(c.removesuffix(".reuse"), n)
        known &= also
        total[place] = bits.view(np.float32)
    total = (left @ right + total).astype(np.float32)
    for n, place in enumerate(places):
        w.write(d, total[place], ALL if known == ALL else 0, mask, n)


def elements(i, bits: np.ndarray) -> list[np.ndarray]:
    """The numbers of a register, in order."""
    if "TF32" in i:
        return [(bits & np.uint32(0xFFFFE000)).view(np.float32)]
    if "BF16" in i:
        return [(bits << np.uint32(16)).view(np.float32), (bits & np.uint32(0xFFFF0000)).view(np.float32)]
    return [(bits >> np.uint32(s) & np.uint32(0xFFFF)).astype(np.uint16).view(np.float16) for s in (0, 16)]
