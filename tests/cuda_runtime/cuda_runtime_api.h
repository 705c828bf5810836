// The little of the CUDA runtime that launch.cuh uses, of one device with 99 KB of shared memory a block.
#pragma once
#include <cstdio>

#include "cuemu.h"

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
constexpr int cudaSharedmemCarveoutMaxShared = 100;
using cudaStream_t = void*;

struct cudaFuncAttributes {
  unsigned long sharedSizeBytes;
  int ptxVersion, maxDynamicSharedSizeBytes;
};

struct FakeKernel {
  int ptx = 80, allowed = 48 << 10, carveout = -1;
  int settings = 0, fails = 0;  // calls that set something; the attribute that can't be set
  cudaError_t error = cudaSuccess;
};
inline FakeKernel fake;

inline cudaError_t cudaGetLastError() {
  const cudaError_t error = fake.error;
  fake.error = cudaSuccess;
  return error;
}
inline const char* cudaGetErrorString(cudaError_t) { return "failed"; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  return *value = 99 << 10, cudaSuccess;
}
inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  return *attributes = {0, fake.ptx, fake.allowed}, cudaSuccess;
}
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute attribute, int value) {
  ++fake.settings;
  if (attribute == fake.fails) return fake.error = cudaErrorInvalidValue;
  (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize ? fake.allowed : fake.carveout) = value;
  return cudaSuccess;
}
// Of whoever launches.
cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** arguments, std::size_t bytes,
                             cudaStream_t stream);
