// Intrinsics that concern one thread only: cached loads, atomics, bit casts, conversions, fast arithmetic.
// Add here what a kernel needs, with CUDA's semantics for NaN and overflow rather than those of C++.
#pragma once

#include <math.h>  // fmaf, floorf, isnan ... in the global namespace, as in device code

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

// Loads and stores with a cache hint.
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T v) {
  *p = v;
}
template <class T>
void __stcg(T* p, T v) {
  *p = v;
}

// Blocks run one after the other and ThreadSanitizer knows no fences: a kernel that orders its memory
// accesses by fences and flags is outside of what the emulator can check.
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace cuemu {

// Replaces *p by next(*p) atomically and returns the old value. Relaxed: CUDA's atomics order nothing else.
template <class T, class Next>
T atomic_update(T* p, Next next) {
  T old, desired;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do {
    desired = next(old);
  } while (!__atomic_compare_exchange(p, &old, &desired, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

}  // namespace cuemu

template <class T>
T atomicAdd(T* p, std::common_type_t<T> v) {
  return cuemu::atomic_update(p, [v](T old) {
    if constexpr (std::is_integral_v<T>) {  // wraps around on the GPU, which signed arithmetic in C++ must
                                            // not
      using Unsigned = std::make_unsigned_t<T>;
      return T(Unsigned(old) + Unsigned(v));
    } else {
      return T(old + v);
    }
  });
}
template <class T>
T atomicMax(T* p, std::common_type_t<T> v) {
  static_assert(std::is_integral_v<T>, "CUDA has no atomicMax for floating point");
  return cuemu::atomic_update(p, [v](T old) { return old < v ? v : old; });
}
template <class T>
T atomicMin(T* p, std::common_type_t<T> v) {
  static_assert(std::is_integral_v<T>, "CUDA has no atomicMin for floating point");
  return cuemu::atomic_update(p, [v](T old) { return v < old ? v : old; });
}
template <class T>
T atomicExch(T* p, std::common_type_t<T> v) {
  return cuemu::atomic_update(p, [v](T) { return v; });
}
template <class T>
T atomicCAS(T* p, std::common_type_t<T> expected, std::common_type_t<T> v) {
  static_assert(std::is_integral_v<T>, "CUDA has no atomicCAS for floating point");
  return cuemu::atomic_update(p, [=](T old) { return old == expected ? v : old; });
}

namespace cuemu {

template <class To, class From>
To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// CUDA's float to int conversions saturate, and make 0 of NaN.
template <class Int>
Int saturate(double rounded) {
  using Limits = std::numeric_limits<Int>;
  if (rounded != rounded) return 0;
  if (rounded <= double(Limits::min())) return Limits::min();
  if (rounded >= double(Limits::max())) return Limits::max();
  return Int(rounded);
}

}  // namespace cuemu

inline int __float_as_int(float v) { return cuemu::bit_cast<int>(v); }
inline unsigned __float_as_uint(float v) { return cuemu::bit_cast<unsigned>(v); }
inline float __int_as_float(int v) { return cuemu::bit_cast<float>(v); }
inline float __uint_as_float(unsigned v) { return cuemu::bit_cast<float>(v); }

inline int __float2int_rd(float v) { return cuemu::saturate<int>(floorf(v)); }
inline int __float2int_ru(float v) { return cuemu::saturate<int>(ceilf(v)); }
inline int __float2int_rz(float v) { return cuemu::saturate<int>(truncf(v)); }
inline int __float2int_rn(float v) { return cuemu::saturate<int>(rintf(v)); }
inline unsigned __float2uint_rn(float v) { return cuemu::saturate<unsigned>(rintf(v)); }
inline unsigned __float2uint_rz(float v) { return cuemu::saturate<unsigned>(truncf(v)); }
inline float __int2float_rn(int v) { return float(v); }

// Never contracted to an FMA, neither there nor here (the build passes -ffp-contract=off).
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }

// Approximate on the GPU, exact here: a tolerance found here is too tight there.
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float v) { return 1.0f / v; }
inline float __expf(float v) { return expf(v); }
inline float rsqrtf(float v) { return 1.0f / sqrtf(v); }
inline float __saturatef(float v) { return v > 0.0f ? (v < 1.0f ? v : 1.0f) : 0.0f; }  // NaN becomes 0

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __clz(int v) { return v ? __builtin_clz(unsigned(v)) : 32; }

// The floating point ones ignore a NaN operand, unlike std::min and std::max. Operands of two types are
// ambiguous here, which keeps kernels clear of CUDA's surprising min(int, unsigned).
inline int min(int a, int b) { return b < a ? b : a; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline unsigned long min(unsigned long a, unsigned long b) { return b < a ? b : a; }
inline unsigned long max(unsigned long a, unsigned long b) { return a < b ? b : a; }
inline long min(long a, long b) { return b < a ? b : a; }
inline long max(long a, long b) { return a < b ? b : a; }
inline long long min(long long a, long long b) { return b < a ? b : a; }
inline long long max(long long a, long long b) { return a < b ? b : a; }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
