// The table of the backwarp kernels of csrc/cuda.
#include "backwarp.cuh"
#include "entry.h"
#include "few_types.h"

using namespace vfi;
using cuemu::entry;

#define VFI_ENTRIES(F, A)                                            \
  entry("backwarp_forward<" #F ", " #A ">", backwarp_forward<F, A>), \
      entry("backwarp_backward<" #F ", " #A ">", backwarp_backward<F, A>),

static const bool added = cuemu::add_kernels({VFI_FOR_EACH_BACKWARP(VFI_ENTRIES)});
