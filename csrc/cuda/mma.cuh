// The tensor core's instructions and what feeds it, each with a body for the emulator. Fragments are those of
// mma.m16n8k16; with lane = 4 g + t
//
//   a[r]: row g + 8 (r & 1), columns 2t + 8 (r >> 1) and the next, float16
//   b[r]: rows 2t + 8r and the next, column g, float16
//   d[r]: row g + 8 (r >> 1), column 2t + (r & 1), float32
#pragma once
#include "portable.cuh"

namespace vfi {

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
using SharedAddress = u32;
#define VFI_DYN_SMEM(type, name)                              \
  extern __shared__ __align__(16) unsigned char vfi_shared[]; \
  type* name = reinterpret_cast<type*>(vfi_shared)
#else
using SharedAddress = const char*;
#endif

// Older devices have neither this mma nor cp.async: kernels are empty there, and never launched.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kTensorCores = false;
#else
constexpr bool kTensorCores = true;
#endif

__device__ __forceinline__ SharedAddress shared_address(const void* p) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  return u32(__cvta_generic_to_shared(p));
#else
  return static_cast<const char*>(p);
#endif
}

// d += a b. Not volatile: it depends on nothing but its operands, so the compiler may move it.
__device__ __forceinline__ void mma(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#if !defined(__CUDACC__) && !defined(__CUDACC_RTC__)
  cuemu::mma_16x8x16(d, a, b);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Four matrices of 8 x 8 float16: lane l gives the address of row l % 8 of matrix l / 8. Volatile: it must
// not cross a barrier.
template <bool kTransposed = false>
__device__ __forceinline__ void load_matrices(u32 (&r)[4], SharedAddress row) {
#if !defined(__CUDACC__) && !defined(__CUDACC_RTC__)
  cuemu::load_matrices<kTransposed>(r, row);
#else
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row));
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row));
#endif
}

// Starts a copy of kBytes (4, 8 or 16, aligned to as much) to shared memory; only the first `bytes` of them
// are read, the others become zero.
template <int kBytes>
__device__ __forceinline__ void copy_async(void* shared, const void* global, int bytes) {
#if !defined(__CUDACC__) && !defined(__CUDACC_RTC__)
  cuemu::copy_async(shared, global, kBytes, bytes);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)), "l"(global),
               "n"(kBytes), "r"(bytes)
               : "memory");
#endif
}

// Until this thread's copies are there; other threads need a barrier on top.
__device__ __forceinline__ void wait_for_copies() {
#if !defined(__CUDACC__) && !defined(__CUDACC_RTC__)
  cuemu::wait_for_copies();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Two numbers rounded to float16, the first in the lower half, and back.
__device__ __forceinline__ u32 packed(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  u32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return to_f16(low).bits | u32(to_f16(high).bits) << 16;
#endif
}
__device__ __forceinline__ float low_of(u32 pair) {
  return to_float(f16{static_cast<unsigned short>(pair & 0xffffu)});
}
__device__ __forceinline__ float high_of(u32 pair) {
  return to_float(f16{static_cast<unsigned short>(pair >> 16)});
}

// The largest of the 32 lanes' numbers, none of them negative; NaN counts as large.
__device__ __forceinline__ float largest_in_warp(float v) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  return float_of(__reduce_max_sync(kAllLanes, bits_of(v)));
#else
  for (int step = 16; step; step /= 2) v = max(v, __shfl_xor_sync(kAllLanes, v, step));
  return v;
#endif
}

// The same number, but the compiler no longer knows it: what depends on it is computed where it is needed and
// not kept in registers across a loop.
__device__ __forceinline__ int opaque(int v) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  asm volatile("" : "+r"(v));
#endif
  return v;
}

}  // namespace vfi
