// The table of the tuned backwarp kernels of csrc/cuda.
#include "entry.h"
#include "few_types.h"
#include "tuned_backwarp.cuh"
#include "tuned_backwarp_backward.cuh"

using namespace vfi;
using cuemu::entry;

#define VFI_ENTRY(kernel, F, kPadding) entry(#kernel "<" #F ", " #kPadding ">", kernel<F, kPadding>),
#define VFI_ENTRIES(F)                     \
  VFI_ENTRY(backwarp_forward_tuned, F, 0)  \
  VFI_ENTRY(backwarp_forward_tuned, F, 1)  \
  VFI_ENTRY(backwarp_backward_tuned, F, 0) \
  VFI_ENTRY(backwarp_backward_tuned, F, 1)

static const bool added = cuemu::add_kernels({VFI_ENTRIES(f32) VFI_ENTRIES(f16) VFI_ENTRIES(bf16)});
