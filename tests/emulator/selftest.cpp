// The table of the kernels in selftest.cu.h.
#include "entry.h"
#include "selftest.cu.h"

using cuemu::entry;

static const bool added = cuemu::add_kernels({
    entry("stencil", stencil<StencilBug::kNone>),
    entry("stencil, missing barrier", stencil<StencilBug::kMissingBarrier>),
    entry("stencil, static shared", stencil<StencilBug::kStaticSharedOutOfBounds>),
    entry("block_sum", block_sum<SumBug::kNone>),
    entry("block_sum, dynamic shared", block_sum<SumBug::kDynamicSharedOutOfBounds>),
    entry("block_sum, race between blocks", block_sum<SumBug::kRaceBetweenBlocks>),
    entry("histogram", histogram<false>),
    entry("histogram, race between blocks", histogram<true>),
    entry("copy", copy<CopyBug::kNone>),
    entry("copy, global read", copy<CopyBug::kReadOutOfBounds>),
    entry("copy, global write", copy<CopyBug::kWriteOutOfBounds>),
    entry("copy, overflow", copy<CopyBug::kOverflow>),
    entry("copy, cast of NaN", copy<CopyBug::kCastOfNan>),
    entry("copy_vector", copy_vector<false>),
    entry("copy_vector, misaligned", copy_vector<true>),
    entry("swap_in_warp", swap_in_warp<false>),
    entry("swap_in_warp, missing syncwarp", swap_in_warp<true>),
    entry("add_neighbour", add_neighbour<ShuffleBug::kNone>),
    entry("add_neighbour, missing lane", add_neighbour<ShuffleBug::kMissingLane>),
    entry("add_neighbour, masks disagree", add_neighbour<ShuffleBug::kMask>),
    entry("add_neighbour, two places", add_neighbour<ShuffleBug::kTwoPlaces>),
    entry("reverse", reverse<BarrierBug::kNone>),
    entry("reverse, divergent barrier", reverse<BarrierBug::kDivergent>),
    entry("reverse, early return", reverse<BarrierBug::kEarlyReturn>),
    entry("reverse, uninitialised shared", reverse<BarrierBug::kUninitialised>),
    entry("warp_intrinsics", warp_intrinsics),
    entry("large_shared", large_shared),
});
