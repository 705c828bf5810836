"""What the tensor-core instructions do: a warp's product of matrices that are spread over its lanes."""

import numpy as np

from .core import ALL, handles

M, N = 16, 8


@handles("HMMA")
def multiply_matrices(w, i, mask):
    """D = A B + C in float32, of float16, bfloat16 or TF32: HMMA.16816.F32 has A [16, 16] and B [16, 8]."""
    d, a, b, c = i.arguments
    shape = next(m for m in i.modifiers if m.isdigit())
    if "F32" not in i or not shape.startswith("168") or mask != ALL:
        w.forget(i, mask)
        return
    chunks = int(shape[3:]) // (4 if "TF32" in i else 8)  # registers along the depth
    known = ALL

    def registers(text: str, count: int) -> list[np.ndarray]:
        nonlocal known
        found = [w.register(text.removesuffix(".reuse"), n) for n in range(count)]
        for _, also in found:
            known &= also
        return [bits for bits, _ in found]

    halves = [elements(i, bits) for bits in registers(a, 2 * chunks)]  # of A: upper, lower, upper, ...
    left = np.vstack([np.hstack(halves[0::2]), np.hstack(halves[1::2])])
    right = np.hstack([elements(i, bits) for bits in registers(b, chunks)])
    corners = np.stack(registers(c, 4)).view(np.float32).reshape(2, 2, 8, 4)  # half, column % 2, row, column
    total = corners.transpose(0, 2, 3, 1).reshape(M, N)
    total = (left.astype(np.float64) @ right.T.astype(np.float64) + total).astype(np.float32)
    words = np.ascontiguousarray(total.reshape(2, 8, 4, 2).transpose(0, 3, 1, 2)).reshape(4, 32)
    for n in range(4):
        w.write(d, words[n], ALL if known == ALL else 0, mask, n)


def elements(i, bits: np.ndarray) -> np.ndarray:
    """A register as 8 rows: lane 4 r + c holds the numbers of row r from its place c on."""
    if "TF32" in i:
        return (bits & np.uint32(0xFFFFE000)).view(np.float32).reshape(8, 4)
    if "BF16" in i:
        return (bits.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(8, 8)
    return bits.view(np.float16).reshape(8, 8)
