// Numbers as they are stored and as they are summed. Compiled by g++, nvcc and NVRTC, so it includes nothing
// of CUDA: half types are bit patterns with their own conversions.
#pragma once

#if defined(__CUDACC_RTC__)
#define VFI_FN __device__ __forceinline__
#elif defined(__CUDACC__)
#define VFI_FN __host__ __device__ __forceinline__
#else
#define VFI_FN inline __attribute__((always_inline))  // GCC leaves larger helpers out of line otherwise
#endif

#if !defined(__CUDACC_RTC__)  // NVRTC has the functions built in, and no headers
#include <cmath>
#include <cstring>
#endif

namespace vfi {

using i64 = long long;
using u32 = unsigned int;

struct f16 {
  unsigned short bits;
};
struct bf16 {
  unsigned short bits;
};
using f32 = float;
using f64 = double;
using u8 = unsigned char;

// The type of coordinates, weights and sums for images of type T.
template <class T>
struct sum_type {
  using type = float;
};
template <>
struct sum_type<double> {
  using type = double;
};
template <class T>
using sum_t = typename sum_type<T>::type;

VFI_FN u32 bits_of(float f) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(f);
#else
  u32 u;
  memcpy(&u, &f, 4);
  return u;
#endif
}

VFI_FN float float_of(u32 u) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(u);
#else
  float f;
  memcpy(&f, &u, 4);
  return f;
#endif
}

#if !defined(__CUDACC_RTC__)  // a GPU has instructions for float16, and NVRTC no memcpy

template <class To, class From>
VFI_FN To same_bits(From from) {
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

// The float16 with the bits h as a float32, and back. V is float and U u32, or both are vectors
// (cpu/vector.h).
template <class V, class U>
VFI_FN V half_value(U h) {
  const U bits = h & 0x7fffu, magnitude = bits << 13;
  // The last place of 0.5 is 2^-24, a subnormal's unit: so no float32 here is subnormal, which a processor
  // may have been told to take for 0.
  const U subnormal = same_bits<U>(same_bits<V>(bits + 0x3f000000u) - 0.5f);
  const U finite = magnitude < 0x00800000u ? subnormal : magnitude + 0x38000000u;
  const U special = magnitude | 0x7f800000u;  // Inf and NaN keep their payload
  return same_bits<V>((h & 0x8000u) << 16 | (magnitude >= 0x0f800000u ? special : finite));
}

template <class U, class V>
VFI_FN U half_bits(V f) {
  const U sign = same_bits<U>(f) >> 16 & 0x8000u, magnitude = same_bits<U>(f) & 0x7fffffffu;
  // Below 2^-14 the result is subnormal: adding 0.5, whose last place is 2^-24, rounds to nearest even for
  // us.
  const U subnormal = same_bits<U>(same_bits<V>(magnitude) + 0.5f) - 0x3f000000u;
  const U normal =
      (magnitude + 0xfffu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13;  // may carry into Inf: right
  U h = magnitude < 0x38800000u ? subnormal : normal;
  h = magnitude >= 0x47800000u ? U{} + 0x7c00u : h;  // 65536 and above
  h = magnitude > 0x7f800000u ? U{} + 0x7e00u : h;
  return sign | h;
}

#endif

VFI_FN float to_float(f16 h) {
#if defined(__CUDA_ARCH__)
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h.bits));
  return f;
#else
  return half_value<float>(u32(h.bits));
#endif
}

VFI_FN f16 to_f16(float f) {
#if defined(__CUDA_ARCH__)
  f16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(f));
  return h;
#else
  return {static_cast<unsigned short>(half_bits<u32>(f))};
#endif
}

VFI_FN float to_float(bf16 b) { return float_of(u32(b.bits) << 16); }

// The bfloat16 nearest to the float32 with the bits u.
template <class U>
VFI_FN U brain_bits(U u) {
  const U rounded = (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
  return (u & 0x7fffffffu) > 0x7f800000u ? U{} + 0x7fc0u : rounded;  // NaN must not round to Inf
}

VFI_FN bf16 to_bf16(float f) { return {static_cast<unsigned short>(brain_bits(bits_of(f)))}; }

// number<A>(stored): the stored value as a sum type.
template <class A>
VFI_FN A number(f32 v) {
  return A(v);
}
template <class A>
VFI_FN A number(f64 v) {
  return A(v);
}
template <class A>
VFI_FN A number(u8 v) {
  return A(v);
}
template <class A>
VFI_FN A number(f16 v) {
  return A(to_float(v));
}
template <class A>
VFI_FN A number(bf16 v) {
  return A(to_float(v));
}

// A number of an input, which nothing writes while a kernel runs: a GPU may then load it ahead of stores.
template <class T>
VFI_FN T fetched(const T* p) {
#if defined(__CUDA_ARCH__)
  return __ldg(p);
#else
  return *p;
#endif
}
VFI_FN f16 fetched(const f16* p) { return {fetched(&p->bits)}; }
VFI_FN bf16 fetched(const bf16* p) { return {fetched(&p->bits)}; }

VFI_FN float nearest_even(float v) { return rintf(v); }

// store(&pixel, sum): rounded to the stored type; uint8 saturates, and NaN becomes 0.
VFI_FN void store(f32* p, float v) { *p = v; }
VFI_FN void store(f32* p, double v) { *p = float(v); }
VFI_FN void store(f64* p, double v) { *p = v; }
VFI_FN void store(f16* p, float v) { *p = to_f16(v); }
VFI_FN void store(bf16* p, float v) { *p = to_bf16(v); }
VFI_FN void store(u8* p, float v) {
#if defined(__CUDA_ARCH__)
  u32 byte;
  asm("cvt.rni.sat.u8.f32 %0, %1;" : "=r"(byte) : "f"(v));
  *p = u8(byte);
#else
  *p = !(v > 0) ? u8(0) : v < 255 ? u8(nearest_even(v)) : u8(255);
#endif
}

// What arithmetic needs beyond operators, for one number. cpu/vector.h has the same for a vector of
// neighbouring pixels, so that arithmetic is written once for both: V is a number or a vector, and choices
// are ?: and & instead of branches.
template <class V>
struct Lanes {
  static constexpr bool kMany = false;
  using Int = int;
  static VFI_FN V position(i64 x) { return V(x); }
  template <class T>
  static VFI_FN V read(const T* p, i64) {
    return number<V>(*p);
  }  // the stride is that of a vector
  template <class T>
  static VFI_FN void write(T* p, i64, V v) {
    store(p, v);
  }
  static VFI_FN int truncated(V v) { return int(v); }
  static VFI_FN V real(int i) { return V(i); }
};

template <class V>
VFI_FN V smaller(V a, V b) {
  return a < b ? a : b;
}
template <class V>
VFI_FN V larger(V a, V b) {
  return a > b ? a : b;
}
#if defined(__CUDA_ARCH__)  // the same unless b is NaN, which it never is; one instruction instead of two
VFI_FN float smaller(float a, float b) { return fminf(a, b); }
VFI_FN float larger(float a, float b) { return fmaxf(a, b); }
#endif

VFI_FN bool is_finite(float v) { return v - v == 0; }
VFI_FN bool is_finite(double v) { return v - v == 0; }

template <class A>
VFI_FN A sigmoid(A v);
template <>
VFI_FN float sigmoid(float v) {
  return 1 / (1 + expf(-v));
}
template <>
VFI_FN double sigmoid(double v) {
  return 1 / (1 + exp(-v));
}

// A strided [N, C, H, W] tensor: data and element strides. Every layout is read in place through it.
template <class T>
struct View {
  T* data;         // null where the tensor is absent
  i64 n, c, y, x;  // strides in elements; 64 bits, so that tensors past 2^31 elements work

  VFI_FN T* at(i64 in, i64 ic, i64 iy, i64 ix) const { return data + in * n + ic * c + iy * y + ix * x; }
};

// The dtype of a tensor whose type is known only at run time. Values are part of the launch interface.
enum Dtype : int { kF16 = 0, kBF16 = 1, kF32 = 2, kF64 = 3, kU8 = 4 };

// Every allowed pair (image type, type of flow, mask or taps); X(T, F).
#define VFI_FOR_EACH_SINGLE_PAIR(X) \
  X(f32, f32) X(f16, f32) X(f16, f16) X(bf16, f32) X(bf16, bf16)  // those with sums in float32
#define VFI_FOR_EACH_FLOAT_PAIR(X) VFI_FOR_EACH_SINGLE_PAIR(X) X(f64, f64) X(f64, f32)
#define VFI_FOR_EACH_PAIR(X) VFI_FOR_EACH_FLOAT_PAIR(X) X(u8, f32)

}  // namespace vfi
