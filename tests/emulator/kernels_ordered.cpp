// The table of the kernels with sums in a fixed order.
#include "entry.h"
#include "few_types.h"
#include "ordered.cuh"

using namespace vfi;
using cuemu::entry;

#define VFI_ENTRY(Reads, ...)                                \
  entry("frame_reach<" Reads ">", frame_reach<__VA_ARGS__>), \
      entry("frame_gather<" Reads ">", frame_gather<__VA_ARGS__>),
#define VFI_PAIR(T, F)                                                          \
  VFI_ENTRY("PairReads<WarpBlend<" #T ", " #F ">>", PairReads<WarpBlend<T, F>>) \
  VFI_ENTRY("PairReads<VoxelFlow<" #T ", " #F ">>", PairReads<VoxelFlow<T, F>>)
#define VFI_BACKWARP(F, A) VFI_ENTRY("BackwarpReads<" #F ", " #A ">", BackwarpReads<F, A>)

static const bool added =
    cuemu::add_kernels({VFI_FOR_EACH_FLOAT_PAIR(VFI_PAIR) VFI_FOR_EACH_BACKWARP(VFI_BACKWARP)});
