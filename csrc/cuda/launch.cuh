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

// For calls that need not succeed: a failure leaves nothing behind for the cudaGetLastError() after a launch.
inline bool works(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();
  return error == cudaSuccess;
}

// Whether the present device can run a kernel of the tensor cores with so many bytes of shared memory a
// block, which are then allowed. Code for devices before 8.0 is empty, and later ones run it from PTX where
// there is nothing else: so the code is asked, not the device. The driver keeps what is set, the same for any
// number of bytes: threads do not disturb each other.
inline bool has_room(const void* kernel, int bytes) {
  int device, most;
  cudaFuncAttributes code;
  if (!works(cudaGetDevice(&device)) ||
      !works(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device)) ||
      !works(cudaFuncGetAttributes(&code, kernel)))
    return false;
  most -= int(code.sharedSizeBytes);
  if (code.ptxVersion < 80 || bytes > most) return false;
  if (code.maxDynamicSharedSizeBytes == most) return true;
  // So that two blocks fit where there is memory for them; a hint.
  works(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared));
  return works(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most));
}

// kernel<<<grid, kThreads, bytes, stream>>>(p) in words that a host compiler reads as well: a test compares
// what is launched with what run-time compilation launches. cudaGetLastError() has the result.
template <class Params>
void launch(void (*kernel)(Params), dim3 grid, const Params& p, void* stream, int bytes = 0) {
  void* arguments[] = {const_cast<Params*>(&p)};
  cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, dim3(kThreads), arguments, bytes,
                   static_cast<cudaStream_t>(stream));
}

// The only kernel of a call.
template <class Params>
const char* run(void (*kernel)(Params), dim3 grid, const Params& p, void* stream) {
  launch(kernel, grid, p, stream);
  return error_of(cudaGetLastError());
}

}  // namespace vfi::cuda
