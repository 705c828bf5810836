// What the kernels need from their compiler: nvcc and NVRTC have it built in; a host compiler takes the CUDA
// emulator of the tests, which is found as cuemu.h on its include path.
#pragma once
#if !defined(__CUDACC__) && !defined(__CUDACC_RTC__)
#include "cuemu.h"
#else
// An array in shared memory:  VFI_SHARED(float, tile, [18][34]);
#define VFI_SHARED(type, name, dims) __shared__ type name dims
#endif
#include "../math/number.h"

namespace vfi {

constexpr int kThreads = 128, kWarps = kThreads / 32;  // of a block, side by side in a row of the output
constexpr u32 kAllLanes = ~0u;
// On a multiprocessor: leaves a thread 128 registers, and none of the kernels then spills.
constexpr int kMinBlocks = 4;
// Of kernels that need more than that for sums in float64; A: the type of their sums.
template <class A>
constexpr int kBlocksOf = sizeof(A) == 8 ? 3 : kMinBlocks;
// Of kernels that do best on the fewer registers that ptxas takes without a wish (0), where these don't
// spill.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
constexpr int kLightBlocks = kMinBlocks;
#else
constexpr int kLightBlocks = 0;
#endif

// Keeps the compiler from putting an address in global memory together anew wherever it is used.
template <class T>
__device__ __forceinline__ void keep([[maybe_unused]] T*& p) {
#if defined(__CUDA_ARCH__)
  asm("" : "+l"(p));
  __builtin_assume(__isGlobal(p));  // else it would test every address for shared memory
#endif
}
// And a number: what comes from the indices of a thread it would otherwise compute once for each use.
__device__ __forceinline__ void keep([[maybe_unused]] int& i) {
#if defined(__CUDA_ARCH__)
  asm volatile("mov.u32 %0, %0;" : "+r"(i));
#endif
}

// The loops of a thread over its pixels (n, y, x): blocks stride over rows and batch, because a grid's second
// and third axis have a limit.
template <class Body>
__device__ __forceinline__ void for_each_pixel(i64 batch, i64 h, int w, const Body& body) {
  const int x = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (x >= w) return;
  for (i64 n = blockIdx.z; n < batch; n += gridDim.z)
    for (i64 y = blockIdx.y; y < h; y += gridDim.y) body(n, y, x);
}

}  // namespace vfi
