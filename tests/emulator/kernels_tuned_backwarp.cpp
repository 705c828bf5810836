// The table of the tuned backwarp kernels of csrc/cuda.
#include "entry.h"
#include "few_types.h"
#include "tuned_backwarp.cuh"

using namespace vfi;
using cuemu::entry;

#define VFI_ENTRIES(F)                                                      \
  entry("backwarp_forward_tuned<" #F ", 0>", backwarp_forward_tuned<F, 0>), \
      entry("backwarp_forward_tuned<" #F ", 1>", backwarp_forward_tuned<F, 1>),

static const bool added = cuemu::add_kernels({VFI_ENTRIES(f32) VFI_ENTRIES(f16) VFI_ENTRIES(bf16)});
