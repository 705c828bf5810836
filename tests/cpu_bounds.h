// What the programs of test_cpu_versions.py share that call CPU kernels of one instruction set (VFI_LEVEL) on
// buffers of exactly the right size, for AddressSanitizer to watch.
#pragma once
#include <cstdio>
#include <random>
#include <vector>

#include "../csrc/cpu/kernels.h"

// One pair of types for each way of loading: sanitized builds are slow.
#undef VFI_FOR_EACH_PAIR
#undef VFI_FOR_EACH_FLOAT_PAIR
#define VFI_FOR_EACH_FLOAT_PAIR(X) X(f32, f32) X(f16, f16)
#define VFI_FOR_EACH_PAIR(X) VFI_FOR_EACH_FLOAT_PAIR(X) X(u8, f32)

namespace {

using namespace vfi;

std::mt19937 random_bits(1);

float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(random_bits); }

template <class T>
std::vector<T> numbers(i64 count, float low, float high) {
  std::vector<T> v(count);
  for (T& x : v) store(&x, uniform(low, high));
  v.shrink_to_fit();
  return v;
}

template <class T>
View<T> view(T* data, bool interleaved, int c, int h, int w) {
  if (interleaved) return {data, i64(c) * h * w, 1, i64(w) * c, c};
  return {data, i64(c) * h * w, i64(h) * w, w, 1};
}

}  // namespace
