// What the launches share.
#pragma once
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "launch.h"
#include "portable.cuh"

namespace vfi::cuda {

constexpr int kMaxGridYZ = 65535;  // of CUDA

// The grid for for_each_pixel.
inline dim3 grid_of(int n, i64 h, int w) {
  const int side = (w + kThreads - 1) / kThreads;
  return dim3(side, static_cast<unsigned>(std::min<i64>(h, kMaxGridYZ)), std::min(n, kMaxGridYZ));
}

// VFI_CUDA_KERNELS=simple: for benchmarks, and for tests of one kernel against the other.
inline bool wants_simple() {
  const char* wish = std::getenv("VFI_CUDA_KERNELS");
  return wish && !std::strcmp(wish, "simple");
}

inline const char* error_of(cudaError_t error) {
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

inline cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace vfi::cuda
