// Launches of sepconv's tensor-core kernels. vfi_kernels/jit/band.py has the same rules.
#pragma once
#include "launch.cuh"
#include "sepconv_band.cuh"

namespace vfi::cuda {

// Fewer taps are not worth it, and the ring of image rows would be shorter than a tile.
constexpr int kMinTaps = 16;

// Whether the kernels can compute with a term at all.
template <class T, class F>
bool suits(const SepconvTerm<T, F>& term) {
  const int reach = kBefore + (-term.left & 3) + term.kh;
  return std::min(term.kv, term.kh) >= kMinTaps && std::max(kBefore + term.kv, reach) <= kReach &&
         term.vertical.x == 1 && term.horizontal.x == 1;
}

// Shared memory that a block may have on this device, 0 where it lacks the instructions.
inline int shared_limit() {
  int device, major, bytes;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
    return 0;
  return major >= 8 ? bytes : 0;
}

// Launches the kernel if it fits the device and the grid; otherwise nothing happens, and the simple kernels
// have to do it.
template <bool kCoarse, class T, class F>
bool launch_band(void (*kernel)(SepconvParams<T, F>), const SepconvParams<T, F>& p, void* stream) {
  const int bytes = BandMemory<T, F, kCoarse>::total(p);
  const i64 segments = (i64(p.h) + kMarch - 1) / kMarch;
  if (wants_simple() || segments > kMaxGridYZ || p.n > kMaxGridYZ || bytes > shared_limit() ||
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) != cudaSuccess)
    return false;
  const dim3 grid((p.w + kStrip - 1) / kStrip, static_cast<unsigned>(segments), p.n);
  kernel<<<grid, kThreads, bytes, stream_of(stream)>>>(p);
  return true;
}

// Calls f(kCoarse) as an integral constant for the precision that was asked for; false for float64.
template <class T, class F, class Fn>
bool with_precision(const SepconvParams<T, F>& p, const Fn& f) {
  if constexpr (sizeof(T) == 8 || sizeof(F) == 8)
    return false;
  else if constexpr (sizeof(T) == 4 && sizeof(F) == 4)
    return p.coarse ? f(std::true_type()) : f(std::false_type());
  else
    return f(std::false_type());
}

}  // namespace vfi::cuda
