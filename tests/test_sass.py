"""SASS written by hand is read and run as a GPU would."""

import numpy as np
import pytest

pytestmark = pytest.mark.host_only

PARAMETERS = 0x160  # of sm_80


def run(bench, text: str, parameters=(), ranges=(), warps: int = 1, rare=()):
    """The warps of a block that ran a listing."""
    (function,) = bench.listing.parse(".text.f:\n" + text).values()
    bank = bytes(PARAMETERS) + b"".join(int(p).to_bytes(4, "little") for p in parameters)
    shared = np.full(4096, -1, np.int16)
    memory = bench.memory.Memory(ranges)
    block = (0, 0, 0), (32 * warps, 1, 1)
    found = [bench.warp.Warp(function, bank, memory, *block, n, shared, rare) for n in range(warps)]
    bench.warp.run_block(found)
    return found


def executed(warp, opcode: str) -> int:
    return sum(n for address, n in warp.executed.items() if warp.function.at(address).opcode == opcode)


# --- reading -----------------------------------------------------------------------------------------------


def test_listing(bench):
    listing = """
    //-- .text.f ----
    .text.f:
        //## File "k.cu", line 7
        /*0000*/                   IADD3.X R4, P0, PT, -R2.reuse, c[0x0][R6+0x168], ~R8, P1, !PT ;
    .L_x_0:
        /*0010*/              @!P0 BRA `(.L_x_0) ;
        /*0020*/                   CALL.REL.NOINC `($slow) ;
    $slow:
        /*0030*/                   EXIT ;
    .text.g:
        /*0000*/                   EXIT ;
    """
    f, g = bench.listing.parse(listing).values()
    assert [i.opcode for i in f.code] == ["IADD3", "BRA", "CALL", "EXIT"]
    add, branch, call, _ = f.code
    assert (add.modifiers, add.line, add.guard) == (("X",), 7, "PT")
    assert add.parts == (["P0", "PT"], ["R4", "-R2.reuse", "c[0x0][R6+0x168]", "~R8"], ["P1", "!PT"])
    assert (branch.guard, branch.negated, branch.target, branch.calls) == ("P0", True, 0x10, False)
    assert (call.target, call.calls) == (0x30, True)
    assert len(g.code) == 1


def test_operands(bench):
    operand, kind = bench.listing.operand, bench.listing.Operand
    assert operand("-R2.reuse", False) == kind("R2", minus=True)
    assert operand("|R2|.reuse", False) == kind("R2", absolute=True)
    assert operand("R3.H1_H1", False) == kind("R3", ".H1_H1")
    assert operand("c[0x0][UR4+0x168]", False) == kind("UR4", bank=0, value=0x168)
    assert operand("-0x1", False).value & 0xFFFFFFFF == 0xFFFFFFFF
    assert operand("1", True).value == 0x3F800000
    assert operand("+INF ", True).value == 0x7F800000


# --- control flow ------------------------------------------------------------------------------------------


def test_nested_loops(bench):
    (warp,) = run(
        bench,
        """
        MOV R0, RZ ;
    .L_outer:
    .L_x_0:
        MOV R1, RZ ;
    .L_x_1:
        FFMA R2, R2, R2, R2 ;
        IADD3 R1, R1, 0x1, RZ ;
        ISETP.LT.AND P0, PT, R1, c[0x0][0x164], PT ;
        @P0 BRA `(.L_x_1) ;
        IADD3 R0, R0, 0x1, RZ ;
        ISETP.GE.AND P0, PT, R0, c[0x0][0x160], PT ;
        @!P0 BRA `(.L_x_0) ;
        EXIT ;
        """,
        [5, 7],
    )
    assert executed(warp, "FFMA") == 35
    assert executed(warp, "BRA") == 35 + 5
    assert not warp.undecided


@pytest.mark.parametrize("count", [0, 1, 3, 4, 11, 51])
def test_unrolled_loop_with_a_remainder(bench, count):
    (warp,) = run(
        bench,
        """
        MOV R0, c[0x0][0x160] ;
        LOP3.LUT R1, R0, 0x3, RZ, 0xc0, !PT ;
        IADD3 R0, R0, -R1, RZ ;
        ISETP.NE.AND P0, PT, R0, RZ, PT ;
        @!P0 BRA `(.L_x_1) ;
    .L_x_0:
        LDG.E R4, [R8.64] ;
        LDG.E R5, [R8.64] ;
        LDG.E R6, [R8.64] ;
        LDG.E R7, [R8.64] ;
        IADD3 R0, R0, -0x4, RZ ;
        ISETP.GT.AND P0, PT, R0, RZ, PT ;
        @P0 BRA `(.L_x_0) ;
    .L_x_1:
        ISETP.EQ.AND P0, PT, R1, RZ, PT ;
        @P0 EXIT ;
    .L_x_2:
        LDG.E R4, [R8.64] ;
        VIADD R1, R1, 0xffffffff ;
        ISETP.NE.AND P0, PT, R1, RZ, PT ;
        @P0 BRA `(.L_x_2) ;
        EXIT ;
        """,
        [count],
    )
    assert executed(warp, "LDG") == count


def test_lanes_that_part_run_both_ways(bench):
    """Half of the lanes leave, a quarter each goes a way of its own, and they meet again."""
    (warp,) = run(
        bench,
        """
        S2R R0, SR_TID.X ;
        ISETP.GE.U32.AND P0, PT, R0, 0x10, PT ;
        @P0 EXIT ;
        ISETP.GE.U32.AND P1, PT, R0, 0x8, PT ;
        @P1 BRA `(.L_x_0) ;
        MOV R1, 0x5 ;
        BRA `(.L_x_1) ;
    .L_x_0:
        FMUL R1, R1, R1 ;
        MOV R1, 0x6 ;
    .L_x_1:
        FADD R2, R2, R2 ;
        EXIT ;
        """,
    )
    assert executed(warp, "MOV") == 2
    assert executed(warp, "FMUL") == 1
    assert executed(warp, "FADD") == 1
    assert warp.registers["R1"][:16].tolist() == [5] * 8 + [6] * 8


UNKNOWN = """
        LDG.E R0, [R2.64] ;
        ISETP.EQ.AND P0, PT, R0, RZ, PT ;
    //## File "k.cu", line 3
        @P0 BRA `(.L_x_0) ;
        FFMA R1, R1, R1, R1 ;
        {call}
    .L_x_0:
        FADD R1, R1, R1 ;
        EXIT ;
    $slow:
        RET.REL.NODEC R4 ;
"""


def test_an_undecided_branch_falls_through(bench):
    (warp,) = run(bench, UNKNOWN.format(call=""))
    assert executed(warp, "FFMA") == 1
    assert warp.undecided == {0x20: 1}


def test_an_undecided_branch_avoids_slow_and_rare_paths(bench):
    (slow,) = run(bench, UNKNOWN.format(call="CALL.REL.NOINC `($slow) ;"))
    (rare,) = run(bench, UNKNOWN.format(call=""), rare=[3])
    for warp in (slow, rare):
        assert executed(warp, "FFMA") == 0
        assert executed(warp, "FADD") == 1


def test_false_and_unknown_is_false(bench):
    (warp,) = run(
        bench,
        """
        ISETP.NE.AND P0, PT, RZ, RZ, PT ;
        LDG.E R0, [R2.64] ;
        ISETP.EQ.AND P1, PT, R0, RZ, P0 ;
        @P1 EXIT ;
        EXIT ;
        """,
    )
    assert not warp.undecided


def test_lanes_with_the_same_number_know_each_other(bench):
    (warp,) = run(
        bench,
        """
        S2R R0, SR_TID.X ;
        LOP3.LUT R1, R0, 0x3, RZ, 0xc0, !PT ;
        ISETP.GE.AND P0, PT, R0, 0x8, PT ;
    @P0 EXIT ;
        MATCH.ANY R2, R1 ;
        EXIT ;
        """,
    )
    assert warp.registers["R2"][:8].tolist() == [0x11, 0x22, 0x44, 0x88] * 2
    assert warp.known["R2"] == 0xFFFFFFFF


# --- memory ------------------------------------------------------------------------------------------------


def test_cycles_of_accesses(bench):
    stride = """
        S2R R0, SR_TID.X ;
        IMAD R2, R0, c[0x0][0x160], RZ ;
        MOV R3, RZ ;
        LDG.E R4, [R2.64] ;
        LDG.E.128 R4, [R2.64] ;
        LDS R8, [R2] ;
        EXIT ;
    """
    for step, lines, wide_lines, banks, sectors in [(4, 1, 4, 1, 4), (8, 2, 4, 2, 8), (128, 32, 32, 32, 32)]:
        (warp,) = run(bench, stride, [step])
        load, wide, shared = (warp.accesses[address] for address in (0x30, 0x40, 0x50))
        assert (load.cycles, len(load.sectors)) == (lines, sectors)
        assert wide.cycles == max(wide_lines, lines)
        assert shared.cycles == banks


def test_lanes_that_are_off_may_hold_any_address(bench):
    """Even one across the end of what a block has."""
    code = """
        S2R R0, SR_TID.X ;
        ISETP.NE.AND P0, PT, R0, c[0x0][0x160], PT ;
        MOV R1, 0xffc ;
        MOV R4, 0x7 ;
    @P0 MOV R1, 0x10 ;
    @P0 STS.128 [R1], RZ ;
    @P0 LDS.128 R4, [R1] ;
        EXIT ;
    """
    (warp,) = run(bench, code, [5])
    assert warp.known["R4"] == 0xFFFFFFFF
    assert warp.registers["R4"].tolist() == [0] * 5 + [7] + [0] * 26


def test_each_lane_reads_its_own_constant(bench):
    """At an offset in a register, which in lanes that are off may be any."""
    code = """
        S2R R0, SR_TID.X ;
        LDG.E R1, [R2.64] ;
        ISETP.GE.AND P0, PT, R0, 0x4, PT ;
    @P0 BRA `(.L_x_0) ;
        LOP3.LUT R1, R0, 0x1, RZ, 0xc0, !PT ;
        SHF.L.U32 R1, R1, 0x2, RZ ;
        LDC R4, c[0x0][R1+0x160] ;
    .L_x_0:
        EXIT ;
    """
    (warp,) = run(bench, code, [5, 7])
    assert warp.known["R4"] & 15 == 15
    assert warp.registers["R4"][:4].tolist() == [5, 7, 5, 7]


def test_warps_meet_at_barriers(bench):
    """Each thread reads what the thread of the other warp wrote."""
    warps = run(
        bench,
        """
        S2R R0, SR_TID.X ;
        SHF.L.U32 R1, R0, 0x2, RZ ;
        STS [R1], R0 ;
        BAR.SYNC.DEFER_BLOCKING 0x0 ;
        LOP3.LUT R1, R1, 0x80, RZ, 0x3c, !PT ;
        LDS R2, [R1] ;
        EXIT ;
        """,
        warps=2,
    )
    assert warps[0].registers["R2"].tolist() == list(range(32, 64))
    assert warps[1].registers["R2"].tolist() == list(range(32))
    assert all(warp.known["R2"] == 0xFFFFFFFF for warp in warps)
