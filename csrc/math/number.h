// Numbers as they are stored and as they are summed. Compiled by g++, nvcc and NVRTC, so it includes nothing of CUDA:
// half types are bit patterns with their own conversions.
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

struct f16 { unsigned short bits; };
struct bf16 { unsigned short bits; };
using f32 = float;
using f64 = double;
using u8 = unsigned char;

// The type of coordinates, weights and sums for images of type T.
template <class T> struct sum_type { using type = float; };
template <> struct sum_type<double> { using type = double; };
template <class T> using sum_t = typename sum_type<T>::type;

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

VFI_FN float to_float(f16 h) {
#if defined(__CUDA_ARCH__)
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h.bits));
  return f;
#else
  const u32 magnitude = u32(h.bits & 0x7fff) << 13;
  // 2^112 moves the exponent from float16's bias to float32's; subnormals come out right because the product is exact.
  const u32 finite = bits_of(float_of(magnitude) * 0x1p112f);
  const u32 special = magnitude | 0x7f800000u;  // Inf and NaN keep their payload
  return float_of(u32(h.bits & 0x8000) << 16 | (magnitude >= 0x0f800000u ? special : finite));
#endif
}

VFI_FN f16 to_f16(float f) {
#if defined(__CUDA_ARCH__)
  f16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(f));
  return h;
#else
  const u32 sign = bits_of(f) >> 16 & 0x8000, magnitude = bits_of(f) & 0x7fffffff;
  // Below 2^-14 the result is subnormal: adding 0.5, whose last place is 2^-24, rounds to nearest even for us.
  const u32 subnormal = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
  const u32 normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - 0x38000000u) >> 13;  // may carry into Inf: right
  u32 h = magnitude < 0x38800000u ? subnormal : normal;
  if (magnitude >= 0x47800000u) h = 0x7c00;  // 65536 and above
  if (magnitude > 0x7f800000u) h = 0x7e00;
  return {static_cast<unsigned short>(sign | h)};
#endif
}

VFI_FN float to_float(bf16 b) { return float_of(u32(b.bits) << 16); }

VFI_FN bf16 to_bf16(float f) {
  const u32 u = bits_of(f);
  const u32 rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
  return {static_cast<unsigned short>((u & 0x7fffffff) > 0x7f800000u ? 0x7fc0 : rounded)};  // NaN must not round to Inf
}

// number<A>(stored): the stored value as a sum type.
template <class A> VFI_FN A number(f32 v) { return A(v); }
template <class A> VFI_FN A number(f64 v) { return A(v); }
template <class A> VFI_FN A number(u8 v) { return A(v); }
template <class A> VFI_FN A number(f16 v) { return A(to_float(v)); }
template <class A> VFI_FN A number(bf16 v) { return A(to_float(v)); }

VFI_FN float nearest_even(float v) { return rintf(v); }

// store(&pixel, sum): rounded to the stored type; uint8 saturates, and NaN becomes 0.
VFI_FN void store(f32* p, float v) { *p = v; }
VFI_FN void store(f32* p, double v) { *p = float(v); }
VFI_FN void store(f64* p, double v) { *p = v; }
VFI_FN void store(f16* p, float v) { *p = to_f16(v); }
VFI_FN void store(bf16* p, float v) { *p = to_bf16(v); }
VFI_FN void store(u8* p, float v) { *p = !(v > 0) ? u8(0) : v < 255 ? u8(nearest_even(v)) : u8(255); }

VFI_FN bool is_finite(float v) { return v - v == 0; }
VFI_FN bool is_finite(double v) { return v - v == 0; }

template <class A> VFI_FN A sigmoid(A v);
template <> VFI_FN float sigmoid(float v) { return 1 / (1 + expf(-v)); }
template <> VFI_FN double sigmoid(double v) { return 1 / (1 + exp(-v)); }

// A strided [N, C, H, W] tensor: data and element strides. Every layout is read in place through it.
template <class T> struct View {
  T* data;          // null where the tensor is absent
  i64 n, c, y, x;   // strides in elements; 64 bits, so that tensors past 2^31 elements work

  VFI_FN T* at(i64 in, i64 ic, i64 iy, i64 ix) const { return data + in * n + ic * c + iy * y + ix * x; }
};

// The dtype of a tensor whose type is known only at run time. Values are part of the launch interface.
enum Dtype : int { kF16 = 0, kBF16 = 1, kF32 = 2, kF64 = 3, kU8 = 4 };

// Every allowed pair (image type, type of flow, mask or taps); X(T, F).
#define VFI_FOR_EACH_FLOAT_PAIR(X) \
  X(f32, f32) X(f16, f32) X(f16, f16) X(bf16, f32) X(bf16, bf16) X(f64, f64) X(f64, f32)
#define VFI_FOR_EACH_PAIR(X) VFI_FOR_EACH_FLOAT_PAIR(X) X(u8, f32)

}  // namespace vfi
