// The CUDA types that kernels name: dim3, uint3 and the short vectors, with CUDA's sizes and alignments, so
// that no CUDA header is needed. The alignments matter: they let UBSan report a misaligned vector load.
#pragma once

#include <cstddef>

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace cuemu {

// CUDA aligns a vector of 2 or 4 to its own size, but never to more than 16 bytes.
constexpr std::size_t vector_alignment(std::size_t bytes) { return bytes < 16 ? bytes : 16; }

template <class T>
struct alignas(vector_alignment(2 * sizeof(T))) Vector2 {
  T x, y;
};

template <class T>
struct Vector3 {
  T x, y, z;
};

template <class T>
struct alignas(vector_alignment(4 * sizeof(T))) Vector4 {
  T x, y, z, w;
};

}  // namespace cuemu

#define CUEMU_VECTORS(type, prefix)                                               \
  using prefix##2 = ::cuemu::Vector2<type>;                                       \
  using prefix##3 = ::cuemu::Vector3<type>;                                       \
  using prefix##4 = ::cuemu::Vector4<type>;                                       \
  inline prefix##2 make_##prefix##2(type x, type y) { return {x, y}; }            \
  inline prefix##3 make_##prefix##3(type x, type y, type z) { return {x, y, z}; } \
  inline prefix##4 make_##prefix##4(type x, type y, type z, type w) { return {x, y, z, w}; }

CUEMU_VECTORS(signed char, char)
CUEMU_VECTORS(unsigned char, uchar)
CUEMU_VECTORS(short, short)
CUEMU_VECTORS(unsigned short, ushort)
CUEMU_VECTORS(int, int)
CUEMU_VECTORS(float, float)
CUEMU_VECTORS(double, double)
CUEMU_VECTORS(long long, longlong)
CUEMU_VECTORS(unsigned long long, ulonglong)
#undef CUEMU_VECTORS

// uint3 is a plain struct above (threadIdx has that type), so the uint family is spelled out.
using uint2 = ::cuemu::Vector2<unsigned>;
using uint4 = ::cuemu::Vector4<unsigned>;
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
