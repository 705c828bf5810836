// The table of the tuned two-frame kernels of csrc/cuda.
#include "entry.h"
#include "few_types.h"
#include "tuned_pair.cuh"

using namespace vfi;
using cuemu::entry;

#define VFI_ENTRY(Op, T, F, kStep, kPadding)                                      \
  entry("pair_forward_tuned<" #Op "<" #T ", " #F ">, " #kStep ", " #kPadding ">", \
        pair_forward_tuned<Op<T, F>, kStep, kPadding>),
#define VFI_LAYOUTS(Op, T, F) \
  VFI_ENTRY(Op, T, F, 1, 0) VFI_ENTRY(Op, T, F, 1, 1) VFI_ENTRY(Op, T, F, 3, 0) VFI_ENTRY(Op, T, F, 3, 1)
#define VFI_FORWARD(T, F) VFI_LAYOUTS(WarpBlend, T, F) VFI_LAYOUTS(VoxelFlow, T, F)

static const bool added = cuemu::add_kernels({VFI_FOR_EACH_SINGLE_PAIR(VFI_FORWARD) VFI_FORWARD(u8, f32)});
