"""SASS, the machine code of NVIDIA GPUs, as nvdisasm prints it: functions, instructions, operands."""

import re
import struct
from dataclasses import dataclass, field
from functools import cached_property

_FUNCTION = re.compile(r"^\.text\.(\S+):$")
_LABEL = re.compile(r"^(\.L_x_\w+|\$\S+):$")
_LINE = re.compile(r'^//## File ".*", line (\d+)')
_INSTRUCTION = re.compile(r"^(?:/\*\w+\*/)?\s*(?:@(!?)(U?P\w+)\s+)?([A-Z][\w.]*)(?:\s+(.*?))?\s*;$")
_REGISTER = re.compile(r"(U?R\d+|U?RZ|SRZ)((?:\.\w+)*)")
_CONSTANT = re.compile(r"c\[(0x\w+)\]\[(?:(U?R\w+)\+?)?(-?0x\w+)?\]")
_FLOATS = {"+INF": 0x7F800000, "-INF": 0xFF800000, "+QNAN": 0x7FFFFFFF, "-QNAN": 0xFFFFFFFF}


@dataclass(frozen=True)
class Operand:
    """A register, a constant in a bank, or an immediate; `minus`, `inverse` and `absolute` apply to it."""

    register: str = ""  # of a constant: the one that is added to its offset
    suffix: str = ""
    bank: int | None = None
    value: int = 0  # the immediate's bits, or the offset in the bank
    minus: bool = False
    inverse: bool = False
    absolute: bool = False


def float_bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]


def operand(text: str, floating: bool) -> Operand:
    """`floating`: a number without a point is a float32 too, as in FADD R0, R0, 1."""
    text = text.strip().removesuffix(".reuse")
    if text in _FLOATS:
        return Operand(value=_FLOATS[text])
    sign = {"minus": text[0] == "-", "inverse": text[0] == "~"}
    bare = text.lstrip("-~")
    absolute = bare.startswith("|")
    bare = bare.strip("|")
    if match := _REGISTER.fullmatch(bare.replace(".reuse", "").replace("|", "")):
        return Operand(register=match[1], suffix=match[2], absolute="|" in text, **sign)
    if match := _CONSTANT.fullmatch(bare):
        offset = int(match[3] or "0", 16)
        return Operand(match[2] or "", bank=int(match[1], 16), value=offset, absolute=absolute, **sign)
    if bare.startswith("0x"):
        return Operand(value=int(text, 16) & 0xFFFFFFFFFFFFFFFF)
    if floating:
        return Operand(value=float_bits(float(text)))
    return Operand(value=int(text) & 0xFFFFFFFFFFFFFFFF)


@dataclass
class Instruction:
    address: int
    opcode: str  # without modifiers: "IMAD" of "IMAD.WIDE.U32"
    modifiers: tuple[str, ...]
    arguments: list[str]
    guard: str = "PT"  # the predicate under which it does something
    negated: bool = False
    line: int = 0  # of the source; 0 where the listing has none
    target: int | None = None  # of a branch or call
    calls: bool = False  # a function, as the slow paths of divisions are

    def __contains__(self, modifier: str) -> bool:
        return modifier in self.modifiers

    @cached_property
    def predicates(self) -> list[bool]:
        """Which of the arguments are predicates."""
        return [re.fullmatch(r"!?U?P(\d|T)", text) is not None for text in self.arguments]

    @cached_property
    def parts(self) -> tuple[list[str], list[str], list[str]]:
        """(predicates written, register written and values, predicates read).

        IADD3 R0, P0, PT, R1, R2, RZ, P1 writes P0 and PT and reads P1.
        """
        first = self.predicates.index(False)
        rest = list(zip(self.arguments[first:], self.predicates[first:], strict=True))
        after = next((n for n in range(1, len(rest)) if not rest[n][1]), len(rest))
        written = self.arguments[:first] + [text for text, _ in rest[1:after]]
        values = [rest[0][0]] + [text for text, flag in rest[after:] if not flag]
        return written, values, [text for text, flag in rest[after:] if flag]


@dataclass
class Function:
    name: str
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    constants: bytes = b""  # bank 2: numbers of the code

    def at(self, address: int) -> Instruction:
        return self.code[address // 16]

    def block(self, address: int) -> list[Instruction]:
        """The instructions from an address to the next branch or label, a branch included."""
        starts = set(self.labels.values())
        found = []
        for instruction in self.code[address // 16 :]:
            if found and instruction.address in starts:
                break
            found.append(instruction)
            if instruction.target is not None or instruction.opcode in ("EXIT", "RET"):
                break
        return found


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def parse(listing: str) -> dict[str, Function]:
    """Name -> function of what `nvdisasm -c` prints, with -g the source lines as well."""
    functions: dict[str, Function] = {}
    current, line = Function(""), 0
    for text in map(str.strip, listing.splitlines()):
        if match := _FUNCTION.match(text):
            current = functions.setdefault(match[1], Function(match[1]))
        elif match := _LABEL.match(text):
            current.labels[match[1]] = 16 * len(current.code)
        elif match := _LINE.match(text):
            line = int(match[1])
        elif match := _INSTRUCTION.match(text):
            opcode, *modifiers = match[3].split(".")
            current.code.append(
                Instruction(
                    16 * len(current.code), opcode, tuple(modifiers), _split(match[4] or ""),
                    match[2] or "PT", match[1] == "!", line,
                )
            )  # fmt: skip
    for function in functions.values():
        for instruction in function.code:
            named = re.search(r"`\((.*)\)", instruction.arguments[-1]) if instruction.arguments else None
            if named and instruction.opcode in ("BRA", "CALL"):
                instruction.target = function.labels[named[1]]
                instruction.calls = named[1].startswith("$")
    return functions
