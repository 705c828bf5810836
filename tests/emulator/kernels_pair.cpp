// The table of the two-frame kernels of csrc/cuda.
#include "entry.h"
#include "few_types.h"
#include "pair.cuh"

using namespace vfi;
using cuemu::entry;

#define VFI_FORWARD(T, F)                                                          \
  entry("pair_forward<WarpBlend<" #T ", " #F ">>", pair_forward<WarpBlend<T, F>>), \
      entry("pair_forward<VoxelFlow<" #T ", " #F ">>", pair_forward<VoxelFlow<T, F>>),
#define VFI_BACKWARD(T, F)                                                           \
  entry("pair_backward<WarpBlend<" #T ", " #F ">>", pair_backward<WarpBlend<T, F>>), \
      entry("pair_backward<VoxelFlow<" #T ", " #F ">>", pair_backward<VoxelFlow<T, F>>),

static const bool added =
    cuemu::add_kernels({VFI_FOR_EACH_PAIR(VFI_FORWARD) VFI_FOR_EACH_FLOAT_PAIR(VFI_BACKWARD)});
