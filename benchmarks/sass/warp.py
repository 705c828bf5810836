"""Runs one warp of a kernel's SASS on this machine, to count what it executes.

Registers are 32 lanes of 32 bits; each lane of each is known or unknown. Parameters, thread indices and the
memory that was handed in are known, and so is what integer and float32 instructions make of them. The result
of an instruction that is not modelled (tensor cores, float64, ...) is unknown. A branch on something unknown
is undecided: it is counted, and goes where `Warp._guess` says. Lanes that branch apart run one after the
other, the lowest address first, until they meet again.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from . import floats, integers, tensor  # noqa: F401  they fill HANDLERS
from .core import ALL, HANDLERS, LANES, ZERO, lanes_of, mask_of
from .listing import Function, Instruction, Operand, operand
from .memory import Access, Memory

LIMIT = 10_000_000  # instructions; more is a loop without an end
CONTROL = {"BRA", "EXIT", "CALL", "RET"}


def run_block(warps: Sequence["Warp"]) -> None:
    """All warps to their end, in turn from barrier to barrier."""
    running = [warp.run() for warp in warps]
    with np.errstate(all="ignore"):
        while running:
            running = [warp for warp in running if next(warp, ALL) is None]


class Warp:
    def __init__(
        self, function: Function, constants: bytes, memory: Memory, block: tuple[int, int, int],
        threads: Sequence[int], warp: int = 0, shared: np.ndarray | None = None, rare: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """constants: bank 0. block: its index. threads: of a block, along x, y, z. shared: the block's bytes,
        -1 where unknown. rare: source lines whose undecided branches are taken.
        """
        self.function, self.constants, self.memory = function, constants, memory
        self.shared = np.full(256 << 10, -1, np.int16) if shared is None else shared
        self.local = np.full((32, 64 << 10), -1, np.int16)
        self.rare = set(rare)
        x, y, _ = threads
        index = LANES + 32 * warp
        self.special = {"SR_TID.X": index % x, "SR_TID.Y": index // x % y, "SR_TID.Z": index // (x * y)}
        self.special |= {f"SR_CTAID.{axis}": ZERO + i for axis, i in zip("XYZ", block, strict=True)}
        self.special |= {"SR_LANEID": LANES, "SR_CgaCtaId": ZERO}  # the latter: of the block in its cluster
        self.registers: dict[str, np.ndarray] = {}
        # Lanes. What was never written counts as 0: correct code does not depend on it, though it keeps bits
        # in registers whose other bits it never set.
        self.known: dict[str, int] = {}
        self.predicates: dict[str, tuple[int, int]] = {}  # (true, known) lanes
        self.executed: Counter[int] = Counter()  # address -> times
        self.accesses: dict[int, Access] = {}
        self.undecided: Counter[int] = Counter()
        self.unmodelled: Counter[str] = Counter()
        self.doubtful = 0  # lanes of the present instruction
        self._steps = 0
        self._constants: dict[tuple[int, int], tuple[np.ndarray, int]] = {}  # (bank, offset), for all lanes
        # (addresses, bytes, lanes that store, those of them that are known)
        self.stores: list[tuple[np.ndarray, np.ndarray, int, int]] = []

    def run(self) -> Iterator[None]:
        """Runs to the end; yields at every barrier of the block."""
        waiting = {0: ALL}  # address -> lanes
        while waiting:
            address = min(waiting)
            mask = waiting.pop(address)
            while mask:
                instruction = self.function.at(address)
                self.executed[address] += 1
                self._steps += 1
                if self._steps > LIMIT:
                    raise RuntimeError(f"{self.function.name}: no end after {LIMIT} instructions")
                if instruction.opcode in CONTROL:
                    for target, lanes in self._branch(instruction, mask):
                        waiting[target] = waiting.get(target, 0) | lanes
                    break
                if instruction.opcode == "BAR" and "SYNC" in instruction:
                    yield
                self._execute(instruction, mask)
                address += 16
                if waiting and address >= min(waiting):
                    waiting[address] = waiting.get(address, 0) | mask
                    break

    # control flow

    def _branch(self, i: Instruction, mask: int) -> list[tuple[int, int]]:
        true, known = self.predicate(("!" if i.negated else "") + i.guard)
        arguments = [a for a, is_predicate in zip(i.arguments, i.predicates, strict=True) if is_predicate]
        for argument in arguments:  # BRA.U UP0, or BRA P0
            also = self.predicate(argument)
            true, known = true & also[0], known & also[1]
        if "DIV" in i.modifiers:
            true, known = 0, ALL
        if mask & ~known:
            self.undecided[i.address] += 1
            true = true & known | (~known & ALL if self._guess(i) else 0)
        taken, left = mask & true, mask & ~true
        flow = [(i.address + 16, left)] if left else []
        if taken and i.opcode != "EXIT":
            target = i.target
            if i.opcode == "RET":
                target = int(self.read(i.arguments[0])[0][lanes_of(taken)][0])
            if target is None:
                raise NotImplementedError(f"{self.function.name}: an indirect branch at {i.address:#x}")
            flow.append((target, taken))
        return flow

    def _guess(self, i: Instruction) -> bool:
        """Whether an undecided branch is taken. Into a loop again: no. Past a call, which is the slow path of
        a division or square root: yes; into one: no. From a source line marked as rare: yes. Else no, so that
        the guarded code is counted.
        """
        if i.opcode == "EXIT" or i.target is None or i.target <= i.address:
            return False
        if any(other.calls for other in self.function.block(i.target)):
            return False
        calls = any(other.calls for other in self.function.block(i.address + 16))
        return calls or i.line in self.rare

    # values: (bits [32], lanes that are known)

    def predicate(self, text: str) -> tuple[int, int]:
        name = text.lstrip("!")
        true, known = (ALL, ALL) if name in ("PT", "UPT") else self.predicates.get(name, (0, 0))
        return (~true & ALL, known) if text[0] == "!" else (true, known)

    def set_predicate(self, name: str, lanes: np.ndarray, known: int, mask: int) -> None:
        if name[-1] == "T":
            return
        true, before = self.predicates.get(name, (0, 0))
        self.predicates[name] = (true & ~mask | mask_of(lanes) & mask, before & ~mask | known & mask)

    def register(self, name: str, offset: int = 0) -> tuple[np.ndarray, int]:
        if name[-1] == "Z":
            return ZERO, ALL
        if offset:
            name = further(name, offset)
        return self.registers.get(name, ZERO), self.known.get(name, ALL)

    def bits(self, text: str, word: int = 0, floating: bool = False) -> tuple[np.ndarray, int]:
        """Of an operand without its sign; word 1 is the upper half of 64 bits."""
        return self._bits(parsed(text, floating), word)

    def _bits(self, o: Operand, word: int = 0) -> tuple[np.ndarray, int]:
        if o.bank is None:
            return self.register(o.register, word) if o.register else immediate(o.value, word)
        offset = o.value + 4 * word
        if o.register:
            base, known = self.register(o.register)
            return self.constant(o.bank, base + np.uint32(offset), known)
        if (o.bank, offset) not in self._constants:
            self._constants[o.bank, offset] = self.constant(o.bank, ZERO + np.uint32(offset), ALL)
        return self._constants[o.bank, offset]

    def constant(self, bank: int, offsets: np.ndarray, known: int) -> tuple[np.ndarray, int]:
        """Each lane has an offset of its own: those that are off may hold anything."""
        content = {0: self.constants, 2: self.function.constants}.get(bank, b"")
        inside = lanes_of(known) & (offsets.astype(np.int64) + 4 <= len(content))
        places = np.where(inside, offsets, 0)[:, None] + np.arange(4)
        bits = np.frombuffer(content.ljust(4, b"\0"), np.uint8)[places].view(np.uint32).ravel()
        return np.where(inside, bits, ZERO), mask_of(inside)

    def read(self, text: str) -> tuple[np.ndarray, int]:
        """An integer operand, 32 bits."""
        o = parsed(text, False)
        bits, known = self._bits(o)
        if o.absolute:
            bits = np.abs(bits.view(np.int32)).view(np.uint32)
        if o.inverse:
            bits = ~bits
        return (ZERO - bits if o.minus else bits), known

    def read64(self, text: str) -> tuple[np.ndarray, int]:
        """An integer operand, 64 bits."""
        (low, known), (high, also) = self.bits(text), self.bits(text, 1)
        value = high.astype(np.uint64) << np.uint64(32) | low
        o = parsed(text, False)
        if o.inverse:
            value = ~value
        return (np.uint64(0) - value if o.minus else value), known & also

    def read_float(self, text: str) -> tuple[np.ndarray, int]:
        o = parsed(text, True)
        bits, known = self._bits(o)
        if o.absolute:
            bits = bits & np.uint32(0x7FFFFFFF)
        if o.minus:
            bits = bits ^ np.uint32(0x80000000)
        return bits.view(np.float32), known

    def write(self, name: str, bits: np.ndarray, known: int, mask: int, word: int = 0) -> None:
        if name[-1] == "Z":
            return
        if word:
            name = further(name, word)
        bits = bits.view(np.uint32)
        if mask != ALL and name in self.registers:
            bits = np.where(lanes_of(mask), bits, self.registers[name])
        self.registers[name] = bits
        self.known[name] = self.known.get(name, ALL) & ~mask | known & mask

    def write64(self, name: str, value: np.ndarray, known: int, mask: int) -> None:
        self.write(name, value.astype(np.uint32), known, mask)
        self.write(name, (value >> np.uint64(32)).astype(np.uint32), known, mask, 1)

    # instructions

    def _execute(self, i: Instruction, mask: int) -> None:
        self.doubtful = 0
        if i.guard != "PT" or i.negated:
            true, known = self.predicate(("!" if i.negated else "") + i.guard)
            self.doubtful = mask & ~known  # these lanes may write or not
            mask &= true | ~known
            if not mask:
                return
        handler = HANDLERS.get(i.opcode) or HANDLERS.get(i.opcode.removeprefix("U"))
        if handler is None:
            self.unmodelled[i.opcode] += 1
            self.forget(i, mask)
        else:
            handler(self, i, mask)
        if self.doubtful:
            self.forget(i, self.doubtful)

    def forget(self, i: Instruction, mask: int) -> None:
        """Makes what an instruction may write unknown."""
        for text, is_predicate in zip(i.arguments[:3], i.predicates, strict=False):
            if is_predicate:
                self.set_predicate(text.lstrip("!"), ZERO != 0, 0, mask)
                continue
            if re.fullmatch(r"U?R\d+", text):
                words = (
                    4
                    if "128" in i or "MMA" in i.opcode
                    else 2
                    if {"64", "WIDE", "F64"} & {*i.modifiers}
                    else 1
                )
                for word in range(words):
                    self.write(text, ZERO, 0, mask, word)
            break


parsed = functools.cache(operand)


@functools.cache
def further(name: str, words: int) -> str:
    """The register so many after one: R5, 2 -> R7."""
    return re.sub(r"\d+", lambda number: str(int(number[0]) + words), name)


@functools.cache
def immediate(value: int, word: int) -> tuple[np.ndarray, int]:
    return ZERO + np.uint32(value >> 32 * word & ALL), ALL
