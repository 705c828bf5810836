// Vectors of one instruction set (versions.h): what differs between these is here and nowhere else.
#pragma once
#include "versions.h"

namespace vfi {

namespace VFI_VERSION {

template <class A, int N>
struct VectorOf {
  typedef A type __attribute__((vector_size(N * sizeof(A))));
  typedef A anywhere __attribute__((vector_size(N * sizeof(A)), aligned(sizeof(A)), may_alias));  // in memory
};
template <class A>
constexpr int kLanes = VFI_VECTOR_BYTES / sizeof(A);
template <class A, int N = kLanes<A>>
using Vector = typename VectorOf<A, N>::type;
template <class V>
constexpr int kLanesOf = sizeof(V) / sizeof(std::declval<V>()[0]);

template <class A, int N = kLanes<A>>
VFI_FN Vector<A, N> load(const A* p) {
  return *reinterpret_cast<const typename VectorOf<A, N>::anywhere*>(p);
}
template <class A, class V>
VFI_FN void save(A* p, V v) {
  *reinterpret_cast<typename VectorOf<A, sizeof(V) / sizeof(A)>::anywhere*>(p) = v;
}

// The vector of f(0), f(1), ... Written as a list, which the compiler builds in registers.
template <class V, class Fn, size_t... i>
VFI_FN V build(const Fn& f, std::index_sequence<i...>) {
  return V{f(i)...};
}
template <class V, class Fn>
VFI_FN V build(const Fn& f) {
  return build<V>(f, std::make_index_sequence<kLanesOf<V>>{});
}

// The lanes of a, and after them those of b, in the order of i.
template <class V, class I>
VFI_FN V shuffled(V a, V b, I i) {
#if defined(__clang__)
  constexpr int n = kLanesOf<V>;
  return build<V>([&](int lane) { return i[lane] < n ? a[i[lane]] : b[i[lane] - n]; });
#else
  return __builtin_shuffle(a, b, i);
#endif
}

// A vector of which all lanes are v. (V{} + v would have to turn -0 into 0.)
template <class V, class A>
VFI_FN V all(A v) {
  return build<V>([v](int) { return v; });
}

// Transposes the squares of 4 by 4 floats that four vectors are made of: within 16 bytes one shuffle can.
template <class V>
VFI_FN void transpose_squares(V* rows) {
  constexpr int L = kLanesOf<V>;
  using Index = Vector<int, L>;
  const Index lower = build<Index>([](int i) { return i / 4 * 4 + i % 4 / 2 + i % 2 * L; });
  const Index upper = lower + 2;
  const V a = shuffled(rows[0], rows[2], lower), b = shuffled(rows[0], rows[2], upper);
  const V c = shuffled(rows[1], rows[3], lower), d = shuffled(rows[1], rows[3], upper);
  rows[0] = shuffled(a, c, lower);
  rows[1] = shuffled(a, c, upper);
  rows[2] = shuffled(b, d, lower);
  rows[3] = shuffled(b, d, upper);
}

// Transposes as many vectors as one has lanes: blocks of D lanes change places, then halves of them.
template <class V, int D = kLanesOf<V> / 2>
VFI_FN void transpose(V* rows) {
  constexpr int L = kLanesOf<V>;
  constexpr bool kFloats = sizeof(rows[0][0]) == 4;
  using Index = Vector<std::conditional_t<kFloats, int, i64>, L>;
  if constexpr (kFloats && D == 2) {
#pragma GCC unroll 4
    for (int r = 0; r < L; r += 4) transpose_squares(rows + r);
  } else {
    const Index low = build<Index>([](int i) { return i & D ? L + i - D : i; });
    const Index high = build<Index>([](int i) { return i & D ? L + i : i + D; });
#pragma GCC unroll 16
    for (int r = 0; r < L; ++r)
      if (!(r & D)) {
        const V a = rows[r], b = rows[r + D];
        rows[r] = shuffled(a, b, low);
        rows[r + D] = shuffled(a, b, high);
      }
    if constexpr (D > 1) transpose<V, D / 2>(rows);
  }
}

// a * b + c, in one rounding where the instruction set can.
template <class V>
VFI_FN V fma(V a, V b, V c) {
#if VFI_VECTOR_BYTES == 64
  if constexpr (sizeof(V) == 64 && sizeof(a[0]) == 4)
    return V(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
  if constexpr (sizeof(V) == 64 && sizeof(a[0]) == 8)
    return V(_mm512_fmadd_pd(__m512d(a), __m512d(b), __m512d(c)));
#endif
#if VFI_VECTOR_BYTES >= 32
  if constexpr (sizeof(V) == 32 && sizeof(a[0]) == 4)
    return V(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
  if constexpr (sizeof(V) == 32 && sizeof(a[0]) == 8)
    return V(_mm256_fmadd_pd(__m256d(a), __m256d(b), __m256d(c)));
  if constexpr (sizeof(V) == 16 && sizeof(a[0]) == 4) return V(_mm_fmadd_ps(__m128(a), __m128(b), __m128(c)));
#endif
#if defined(__aarch64__)
  if constexpr (sizeof(V) == 16 && sizeof(a[0]) == 4)
    return V(vfmaq_f32(float32x4_t(c), float32x4_t(a), float32x4_t(b)));
  if constexpr (sizeof(V) == 16 && sizeof(a[0]) == 8)
    return V(vfmaq_f64(float64x2_t(c), float64x2_t(a), float64x2_t(b)));
#endif
  return a * b + c;
}

// The sign bits of the lanes, lane 0 in bit 0.
template <class V>
VFI_FN u32 sign_bits(V v) {
#if VFI_VECTOR_BYTES == 64
  if constexpr (sizeof(V) == 64) return _mm512_movepi32_mask(__m512i(v));
#endif
#if VFI_VECTOR_BYTES >= 32
  if constexpr (sizeof(V) == 32) return u32(_mm256_movemask_ps(__m256(v)));
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(V) == 16) return u32(_mm_movemask_ps(__m128(v)));
#endif
  u32 bits = 0;
  for (int i = 0; i < kLanesOf<V>; ++i) bits |= u32(v[i] < 0) << i;
  return bits;
}

#if VFI_VECTOR_BYTES == 32
// The lower halves of lanes whose upper ones are 0.
VFI_FN __m128i packed_halves(Vector<u32> v) {
  return _mm_packus_epi32(_mm256_castsi256_si128(__m256i(v)), _mm256_extracti128_si256(__m256i(v), 1));
}
#endif

// The numbers of type T whose bits are in the lanes of v, and back.
template <class T, class V, class U>
VFI_FN V value_of(U v) {
  if constexpr (std::is_same_v<T, f32>) return same_bits<V>(v);
  if constexpr (std::is_same_v<T, f16>) {
#if VFI_VECTOR_BYTES == 64
    if constexpr (sizeof(v) == 64) return V(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(__m512i(v))));
#endif
#if VFI_VECTOR_BYTES == 32
    if constexpr (sizeof(v) == 32) return V(_mm256_cvtph_ps(packed_halves(v)));
#endif
    return half_value<V>(v);
  }
  if constexpr (std::is_same_v<T, bf16>) return same_bits<V>(v << 16);
  if constexpr (std::is_same_v<T, u8>) return __builtin_convertvector(Vector<int, kLanesOf<V>>(v), V);
}
template <class T, class U, class V>
VFI_FN U bits_of_value(V v) {
  if constexpr (std::is_same_v<T, f16>) return half_bits<U>(v);
  if constexpr (std::is_same_v<T, bf16>) return brain_bits(same_bits<U>(v));
  if constexpr (std::is_same_v<T, u8>) {
    v = v > V{} ? smaller(v, V{} + 255) : V{};  // NaN becomes 0
    return same_bits<U>(v + 0x1p23f) & 255u;    // rounds to nearest even in the last place
  }
}

// The bits of N numbers stored in 8 or 16 bits, one in each lane, and back. By intrinsics where GCC 12 takes
// the lanes one by one.
template <int N>
VFI_FN Vector<u32, N> load_bits(const void* p, u8) {
#if VFI_VECTOR_BYTES == 64
  if constexpr (N == 16)
    return Vector<u32, N>(_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
#endif
#if VFI_VECTOR_BYTES >= 32
  if constexpr (N == 8)
    return Vector<u32, N>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
#endif
#if defined(__SSE2__)
  if constexpr (N == 4) {
    const __m128i none = _mm_setzero_si128();
    return Vector<u32, N>(_mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_loadu_si32(p), none), none));
  }
#endif
  return __builtin_convertvector((load<u8, N>(static_cast<const u8*>(p))), Vector<u32, N>);
}
template <int N, class T>
VFI_FN Vector<u32, N> load_bits(const void* p, T) {
  using Half = unsigned short;
#if VFI_VECTOR_BYTES >= 32
  if constexpr (N == 4)
    return Vector<u32, N>(_mm_cvtepu16_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
#endif
  return __builtin_convertvector((load<Half, N>(static_cast<const Half*>(p))), Vector<u32, N>);
}
template <class T, class U>
VFI_FN void save_bits(T* p, U v) {
#if VFI_VECTOR_BYTES == 32
  if constexpr (sizeof(U) == 32) {
    const __m128i halves = packed_halves(v);
    if constexpr (sizeof(T) == 2) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), halves);
    return _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(halves, halves));
  }
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(U) == 16 && sizeof(T) == 1) {
    const __m128i halves = _mm_packs_epi32(__m128i(v), __m128i(v));  // bytes are small enough
    return _mm_storeu_si32(p, _mm_packus_epi16(halves, halves));
  }
#endif
  using Bits = std::conditional_t<sizeof(T) == 1, u8, unsigned short>;
  const auto bits = __builtin_convertvector(v, Vector<Bits, kLanesOf<U>>);
  memcpy(p, &bits, sizeof(bits));
}

// A vector of numbers that lie side by side in any stored type.
template <class A, int N = kLanes<A>, class T>
VFI_FN Vector<A, N> load_as(const T* p) {
  if constexpr (std::is_same_v<T, A>) {
    return load<A, N>(p);
  } else if constexpr (sizeof(A) == sizeof(double)) {
    return build<Vector<A, N>>([p](int i) { return number<A>(p[i]); });
  } else {
#if VFI_VECTOR_BYTES >= 32
    const void* bytes = p;
    if constexpr (std::is_same_v<T, f16> && N == 4)
      return _mm_cvtph_ps(_mm_loadl_epi64(static_cast<const __m128i*>(bytes)));
    if constexpr (std::is_same_v<T, f16> && N == 8)
      return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(bytes)));
#endif
#if VFI_VECTOR_BYTES == 64
    if constexpr (std::is_same_v<T, f16> && N == 16)
      return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(bytes)));
#endif
    return value_of<T, Vector<A, N>>(load_bits<N>(p, T{}));
  }
}

// Four numbers from each of at(0), at(1), ...
template <class At>
VFI_FN Vector<float> load_quads(const At& at) {
  const auto quad = [&](int i) __attribute__((always_inline)) { return load_as<float, 4>(at(i)); };
#if VFI_VECTOR_BYTES == 64
  const __m512 low = _mm512_insertf32x4(_mm512_castps128_ps512(quad(0)), quad(1), 1);
  return _mm512_insertf32x4(_mm512_insertf32x4(low, quad(2), 2), quad(3), 3);
#elif VFI_VECTOR_BYTES == 32
  return _mm256_insertf128_ps(_mm256_castps128_ps256(quad(0)), quad(1), 1);
#else
  return quad(0);
#endif
}

// Four numbers, over and over; and the first four of a vector.
template <class V>
VFI_FN V load_repeated(const float* p) {
#if VFI_VECTOR_BYTES >= 32
  if constexpr (sizeof(V) == 32) return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
#endif
  return build<V>([p](int i) { return p[i % 4]; });
}
template <class V>
VFI_FN Vector<float, 4> first_four(V v) {
#if VFI_VECTOR_BYTES >= 32
  if constexpr (sizeof(V) == 32) return _mm256_castps256_ps128(v);
#endif
  return build<Vector<float, 4>>([&](int i) { return v[i]; });
}

// Numbers S apart, from S vectors that reach from the first to the last. Those of the first J are in v.
template <int S, int J = 1, class V, class T>
VFI_FN V load_strided(const T* p, V v) {
  if constexpr (J == S) {
    return v;
  } else {
    constexpr int L = kLanesOf<V>, kStart = J < S - 1 ? J * L : J * (L - 1);
    const auto from = [](int i) {
      const int at = S * i - kStart;
      return at < 0 ? (J == 1 ? S * i : i) : at < L ? L + at : 0;  // 0: comes with a later vector
    };
    const auto lanes = build<Vector<int, L>>(from);
    return load_strided<S, J + 1>(p, shuffled(v, load_as<float, L>(p + kStart), lanes));
  }
}
template <int S, class V, class T>
VFI_FN V load_strided(const T* p) {
  return load_strided<S>(p, V(load_as<float, kLanesOf<V>>(p)));
}

// A vector of sums stored side by side: rounded to the stored type as store() does, but for which NaN a NaN
// becomes.
template <class T, class V>
VFI_FN void save_as(T* p, V v) {
  if constexpr (std::is_same_v<T, f32>) return save(p, v);
  if constexpr (std::is_same_v<T, f16>) {
#if VFI_VECTOR_BYTES >= 32
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT;
    void* bytes = p;
    if constexpr (sizeof(v) == 16)
      return _mm_storel_epi64(static_cast<__m128i*>(bytes), _mm_cvtps_ph(__m128(v), kNearest));
    if constexpr (sizeof(v) == 32)
      return _mm_storeu_si128(static_cast<__m128i*>(bytes), _mm256_cvtps_ph(__m256(v), kNearest));
#endif
#if VFI_VECTOR_BYTES == 64
    if constexpr (sizeof(v) == 64)
      return _mm256_storeu_si256(static_cast<__m256i*>(bytes), _mm512_cvtps_ph(__m512(v), kNearest));
#endif
  }
  if constexpr (!std::is_same_v<T, f32>) save_bits(p, bits_of_value<T, Vector<u32, kLanesOf<V>>>(v));
}

// A vector of a whole cache line's half or quarter, past the caches: for results too large to stay in them,
// which would be fetched first only to be overwritten. finish_streams() comes before another thread reads.
template <class A, class V>
VFI_FN void stream(A* p, V v) {
#if VFI_VECTOR_BYTES >= 32
  if constexpr (sizeof(V) == 32) return _mm256_stream_si256(reinterpret_cast<__m256i*>(p), __m256i(v));
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(V) == 16) return _mm_stream_si128(reinterpret_cast<__m128i*>(p), __m128i(v));
#endif
  save(p, v);
}
VFI_FN void finish_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// An uninitialised array that starts at a cache line: a vector that crosses two is loaded at half the speed.
// Not std::vector: what of it is not inlined would be a symbol that all versions share.
template <class A>
class Buffer {
 public:
  explicit Buffer(i64 size = 0) { resize(size); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { ::operator delete(data_, kLine); }
  // May forget the contents.
  void resize(i64 size) {
    if (size <= size_) return;
    ::operator delete(std::exchange(data_, nullptr), kLine);
    size_ = 0;
    data_ = static_cast<A*>(::operator new(size * sizeof(A), kLine));
    size_ = size;
  }
  A* data() { return data_; }
  const A* data() const { return data_; }

 private:
  static constexpr std::align_val_t kLine{64};
  A* data_ = nullptr;
  i64 size_ = 0;
};

}  // namespace VFI_VERSION

// What math/ asks of a vector of neighbouring pixels.
template <>
struct Lanes<VFI_VERSION::Vector<float>> {
  static constexpr bool kMany = true;
  using V = VFI_VERSION::Vector<float>;
  using Int = VFI_VERSION::Vector<int>;
  static VFI_FN Int count() {
    return VFI_VERSION::build<Int>([](int i) { return i; });
  }
  static VFI_FN V position(i64 x) { return real(int(x) + count()); }
  template <class T>
  static VFI_FN V read(const T* p, i64 stride) {
    if (__builtin_expect(stride == 1, 1)) return VFI_VERSION::load_as<float>(p);
    if (stride == 0) return VFI_VERSION::all<V>(number<float>(*p));
    if (stride == 2) return VFI_VERSION::load_strided<2, V>(p);
    if (stride == 3) return VFI_VERSION::load_strided<3, V>(p);
    if constexpr (sizeof(T) == 2)  // converted together
      return VFI_VERSION::value_of<T, V>(
          VFI_VERSION::build<VFI_VERSION::Vector<u32>>([=](int i) { return u32(p[i * stride].bits); }));
    else
      return VFI_VERSION::build<V>([=](int i) { return number<float>(p[i * stride]); });
  }
  template <class T>
  static VFI_FN void write(T* p, i64 stride, V v) {
    if (stride == 1) return VFI_VERSION::save_as(p, v);
    T numbers[VFI_VERSION::kLanesOf<V>];
    VFI_VERSION::save_as(numbers, v);
    for (int i = 0; i < VFI_VERSION::kLanesOf<V>; ++i) p[i * stride] = numbers[i];
  }
  static VFI_FN Int truncated(V v) { return __builtin_convertvector(v, Int); }
  static VFI_FN V real(Int i) { return __builtin_convertvector(i, V); }
};
// exp as 2^n e^r with the polynomial of Cephes for |r| <= ln 2 / 2: some 1e-7 off, and a NaN stays one. Eight
// calls of expf took as long as the taps of two frames.
template <>
VFI_FN VFI_VERSION::Vector<float> sigmoid(VFI_VERSION::Vector<float> v) {
  using VFI_VERSION::fma;
  using V = VFI_VERSION::Vector<float>;
  using Int = Lanes<V>::Int;
  const V zero = {};
  V x = -v;
  x = x > 88 ? zero + 88 : x;
  x = x < -88 ? zero - 88 : x;
  const V shifted = x * 0x1.715476p+0f + 0x1.8p23f;  // the nearest integer in the low bits
  const V n = shifted - 0x1.8p23f;
  const V r = fma(n, zero + 2.12194440e-4f, fma(n, zero - 0.693359375f, x));
  V e = zero + 1.9875691500e-4f;
  for (const float k :
       {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f, 1.f, 1.f})
    e = fma(e, r, zero + k);
  const Int power = (same_bits<Int>(shifted) - 0x4b400000 + 127) << 23;
  return 1 / (1 + e * same_bits<V>(power));
}

}  // namespace vfi
