// cuemu: runs CUDA kernels on the CPU, for tests. A kernel is compiled as plain C++17 by the host compiler,
// with or without AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer, and started with
// cuemu::launch().
//
//   types.h       dim3, float4 ...               block.h       launch, scheduler, __syncthreads
//   sanitizer.h   what the sanitizers are told   shared.h      static and dynamic shared memory
//   fiber.h       stacks and switches            warp.h        shuffles, votes, __syncwarp
//   machine.h     the state of a block, errors   intrinsics.h  atomics, casts, conversions
//   tensor.h      mma.sync, ldmatrix, cp.async
//
// Blocks run one by one; ThreadSanitizer nevertheless takes them for unordered and reports races between one
// block and the next. Not emulated: memory fences (flags that one block waits for), TMA, wgmma, textures,
// __activemask.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#error "cuemu.h is for host compilers; device code includes portable.cuh"
#endif

// A plain `__shared__` or `__constant__` stays undefined: VFI_SHARED and VFI_DYN_SMEM are the checked way.
// Nor is there
// `__noinline__`, which libstdc++ spells as an attribute.
#define __global__ inline
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) alignas(bytes)

#include "block.h"
#include "intrinsics.h"
#include "machine.h"
#include "shared.h"
#include "tensor.h"
#include "types.h"
#include "warp.h"
