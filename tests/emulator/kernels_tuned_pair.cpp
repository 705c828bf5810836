// The table of the tuned two-frame kernels of csrc/cuda.
#include "entry.h"
#include "few_types.h"
#include "tuned_pair.cuh"
#include "tuned_pair_backward.cuh"
#include "tuned_pair_channels.cuh"
#include "tuned_pair_wide.cuh"

using namespace vfi;
using cuemu::entry;

#define VFI_ENTRY(kernel, Op, T, F, kStep, kPadding) \
  entry(#kernel "<" #Op "<" #T ", " #F ">, " #kStep ", " #kPadding ">", kernel<Op<T, F>, kStep, kPadding>),
#define VFI_LAYOUTS(kernel, Op, T, F) \
  VFI_ENTRY(kernel, Op, T, F, 1, 0)   \
  VFI_ENTRY(kernel, Op, T, F, 1, 1) VFI_ENTRY(kernel, Op, T, F, 3, 0) VFI_ENTRY(kernel, Op, T, F, 3, 1)
#define VFI_CHANNELS(kernel, T, F)                                       \
  entry(#kernel "<WarpBlend<" #T ", " #F ">>", kernel<WarpBlend<T, F>>), \
      entry(#kernel "<VoxelFlow<" #T ", " #F ">>", kernel<VoxelFlow<T, F>>),
#define VFI_FORWARD(T, F)                          \
  VFI_LAYOUTS(pair_forward_tuned, WarpBlend, T, F) \
  VFI_LAYOUTS(pair_forward_tuned, VoxelFlow, T, F) \
  VFI_CHANNELS(pair_forward_wide, T, F)
#define VFI_BACKWARD(T, F)                          \
  VFI_LAYOUTS(pair_backward_tuned, WarpBlend, T, F) \
  VFI_LAYOUTS(pair_backward_tuned, VoxelFlow, T, F) \
  VFI_CHANNELS(pair_backward_channels, T, F)

static const bool added = cuemu::add_kernels(
    {VFI_FOR_EACH_SINGLE_PAIR(VFI_FORWARD) VFI_FORWARD(u8, f32) VFI_FOR_EACH_SINGLE_PAIR(VFI_BACKWARD)});
