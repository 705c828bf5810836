// Kernels that test the emulator itself. Each comes in two versions: right, and with one planted bug that one
// of the checkers has to find. test_emulator.py says which.
#pragma once

#include "cuemu.h"

struct SelfTestParams {
  const float* input;  // [height, width]
  float* output;       // meaning and size differ from kernel to kernel
  int width, height;
};

inline constexpr int kTile = 16, kHalo = 1, kTileEdge = kTile + 2 * kHalo;

enum class StencilBug { kNone, kMissingBarrier, kStaticSharedOutOfBounds };

// output[y, x] = sum over the 3 x 3 neighbourhood, borders repeated. Blocks of 16 x 16 threads, one tile
// each.
template <StencilBug kBug>
__global__ void stencil(const SelfTestParams p) {
  VFI_SHARED(float, tile, [kTileEdge][kTileEdge]);
  const int x0 = int(blockIdx.x) * kTile - kHalo, y0 = int(blockIdx.y) * kTile - kHalo;
  const int thread = int(threadIdx.y) * kTile + int(threadIdx.x);
  const int rows = kTileEdge + (kBug == StencilBug::kStaticSharedOutOfBounds ? 1 : 0);
  float* flat = &tile[0][0];
  for (int i = thread; i < rows * kTileEdge; i += kTile * kTile) {
    const int x = min(max(x0 + i % kTileEdge, 0), p.width - 1);
    const int y = min(max(y0 + i / kTileEdge, 0), p.height - 1);
    flat[i] = __ldg(p.input + y * p.width + x);
  }
  if (kBug != StencilBug::kMissingBarrier) __syncthreads();
  const int x = x0 + kHalo + int(threadIdx.x), y = y0 + kHalo + int(threadIdx.y);
  if (x >= p.width || y >= p.height) return;
  float sum = 0;
#pragma unroll
  for (int dy = 0; dy < 3; ++dy) {
#pragma unroll
    for (int dx = 0; dx < 3; ++dx) sum += tile[threadIdx.y + dy][threadIdx.x + dx];
  }
  p.output[y * p.width + x] = sum;
}

enum class SumBug { kNone, kDynamicSharedOutOfBounds, kRaceBetweenBlocks };

// output[0] += sum of the input. Dynamic shared memory: a float for every warp.
template <SumBug kBug>
__global__ void block_sum(const SelfTestParams p) {
  VFI_DYN_SMEM(float, partial);
  const int lane = int(threadIdx.x) % warpSize, warp = int(threadIdx.x) / warpSize;
  const int warps = int(blockDim.x) / warpSize;
  float sum = 0;
  for (int i = int(blockIdx.x * blockDim.x + threadIdx.x); i < p.width; i += int(gridDim.x * blockDim.x)) {
    sum += p.input[i];
  }
  for (int offset = warpSize / 2; offset; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
  if (lane == 0) partial[warp + (kBug == SumBug::kDynamicSharedOutOfBounds ? 1 : 0)] = sum;
  __syncthreads();
  if (warp != 0) return;
  sum = lane < warps ? partial[lane] : 0.0f;
  for (int offset = warpSize / 2; offset; offset /= 2) sum += __shfl_down_sync(~0u, sum, unsigned(offset));
  if (lane != 0) return;
  if (kBug == SumBug::kRaceBetweenBlocks) {
    *p.output += sum;
  } else {
    atomicAdd(p.output, sum);
  }
}

// output: a histogram of the input's integers, then their maximum, as 32-bit integers.
template <bool kBug>  // counts without an atomic, which blocks get wrong where they run side by side
__global__ void histogram(const SelfTestParams p) {
  int* counts = reinterpret_cast<int*>(p.output);
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= p.width) return;
  const int bin = __float2int_rd(p.input[i]);
  if (kBug) {
    ++counts[bin];
  } else {
    atomicAdd(&counts[bin], 1);
  }
  atomicMax(&counts[p.height], bin);
}

enum class CopyBug { kNone, kReadOutOfBounds, kWriteOutOfBounds, kOverflow, kCastOfNan };

// output[i] = input[i]
template <CopyBug kBug>
__global__ void copy(const SelfTestParams p) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < p.width) {
    int from = i, to = i;
    if (kBug == CopyBug::kReadOutOfBounds && i == p.width - 1) from = p.width;
    if (kBug == CopyBug::kWriteOutOfBounds && i == 0) to = -1;
    if (kBug == CopyBug::kOverflow) from = i * p.height / p.height;
    if (kBug == CopyBug::kCastOfNan) from = int(p.input[i] + NAN) == 0 ? 0 : i;
    p.output[to] = p.input[from];
  }
}

// output[0..3] = input[0..3], in one 16-byte load
template <bool kBug>  // 4 bytes off
__global__ void copy_vector(const SelfTestParams p) {
  const float4 v = __ldg(reinterpret_cast<const float4*>(p.input + (kBug ? 1 : 0)));
  p.output[0] = v.x;
  p.output[1] = v.y;
  p.output[2] = v.z;
  p.output[3] = v.w;
}

// output[i] = input of the lane beside, by way of shared memory. One warp or several of 32.
template <bool kBug>  // without the __syncwarp
__global__ void swap_in_warp(const SelfTestParams p) {
  VFI_SHARED(float, slots, [64]);
  const int i = int(threadIdx.x);
  slots[i] = p.input[i];
  if (!kBug) __syncwarp();
  p.output[i] = slots[i ^ 1];
}

enum class ShuffleBug { kNone, kMissingLane, kMask, kTwoPlaces };

// output[i] = input[i] + input[i ^ 1], by shuffle
template <ShuffleBug kBug>
__global__ void add_neighbour(const SelfTestParams p) {
  const int i = int(threadIdx.x);
  float v = p.input[i];
  if (kBug == ShuffleBug::kTwoPlaces && i == 3) {
    v += __shfl_xor_sync(~0u, v, 1);
  } else if (kBug != ShuffleBug::kMissingLane || i != 3) {
    v += __shfl_xor_sync(kBug == ShuffleBug::kMask && i == 3 ? 0xffffu : ~0u, v, 1);
  }
  p.output[i] = v;
}

// output[i] = input of the thread opposite, by way of shared memory
enum class BarrierBug { kNone, kDivergent, kEarlyReturn, kUninitialised };
template <BarrierBug kBug>
__global__ void reverse(const SelfTestParams p) {
  VFI_SHARED(float, slots, [64]);
  const int i = int(threadIdx.x), last = int(blockDim.x) - 1;
  if (kBug == BarrierBug::kEarlyReturn && i == 7) return;
  if (kBug != BarrierBug::kUninitialised || i != 5) slots[i] = p.input[i];
  if (kBug == BarrierBug::kDivergent && i >= 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  p.output[i] = slots[last - i];
}

// output: what each intrinsic gives thread i, 13 values a thread. Compared with a model in NumPy.
__global__ void warp_intrinsics(const SelfTestParams p) {
  const int i = int(threadIdx.x);
  const float v = p.input[i];
  float* out = p.output + i * 13;
  out[0] = __shfl_sync(~0u, v, 5);
  out[1] = __shfl_sync(~0u, v, i + 1, 8);
  out[2] = __shfl_up_sync(~0u, v, 3);
  out[3] = __shfl_up_sync(~0u, v, 3, 8);
  out[4] = __shfl_down_sync(~0u, v, 3);
  out[5] = __shfl_down_sync(~0u, v, 3, 8);
  out[6] = __shfl_xor_sync(~0u, v, 5);
  out[7] = float(__popc(__ballot_sync(~0u, v > 0)));
  out[8] = float(__any_sync(~0u, v > 2) * 2 + __all_sync(~0u, v > -9));
  out[9] = float(__syncthreads_count(v > 0));
  out[10] = float(__syncthreads_or(i == 3) * 2 + __syncthreads_and(i != 3));
  const unsigned half = i % 32 < 16 ? 0xffffu : 0xffff0000u;  // two groups of one warp, at different places
  if (i % 32 < 16) {
    out[11] = __shfl_xor_sync(half, v, 1);
  } else {
    out[11] = __shfl_xor_sync(half, v, 2);
  }
  out[12] = __shfl_xor_sync(~0u, v, 9, 8);
}

// Declares 4 bytes more of static shared memory than a kernel may have.
__global__ void large_shared(const SelfTestParams p) {
  VFI_SHARED(float, large, [12 * 1024 + 1]);
  large[threadIdx.x] = p.input[threadIdx.x];
}
