// The same for two to four channels that lie side by side (channels_last), pixel by pixel.
#pragma once
#include "warp_rows.h"

namespace vfi::VFI_VERSION {

using Quad = Vector<float, 4>;

// Lanes of a load of C channels: two neighbouring pixels of an image in one, if a vector has room for them.
template <int C>
constexpr int kLoaded = C == 2 ? 4 : std::min(kPixels, 8);
template <int C>
constexpr bool kBoth = kLoaded<C> >= 2 * C;
// What a pixel's loads read from its start on.
template <int C>
constexpr int kReads = kBoth<C> ? kLoaded<C> : C + kLoaded<C>;

// What is doubtful about the results of many pixels, all together: see doubtful().
struct Doubts {
  Quad wrong = {}, least = Quad{} + 1;
  VFI_FN void add(Quad result) {
    wrong = fma(result, Quad{}, wrong);
    least = smaller(least, result * result);
  }
  VFI_FN bool any(bool signs) const {
    return sign_bits(doubtful(wrong, Vector<int, 4>{})) != 0 || (signs && sign_bits(least == Quad{}) != 0);
  }
};

// The pixel at `base` of K images, as the first C lanes. weights(k): of its four taps.
template <int C, int K, class T, class Weights>
VFI_FN Quad tight_pixel(const Source<T> (&in)[K], const int (&base)[K], const Weights& weights,
                        Vector<int, kLoaded<C>>& signs) {
  constexpr int N = kLoaded<C>;
  using V = Vector<float, N>;
  using I = Vector<int, N>;
  V sum = {};
  if constexpr (kBoth<C>) {
    const I top_weights = build<I>([](int i) { return i / 4 * 4 + (i < C ? 0 : 1); });
    const I right_pixel = build<I>([](int i) { return std::min(i + C, N - 1); });
#pragma GCC unroll 2
    for (int k = 0; k < K; ++k) {
      const T* p = in[k].data + base[k];
      const V top = load_as<float, N>(p), bottom = load_as<float, N>(p + in[k].row);
      const V w = load_repeated<V>(weights(k));
      sum = fma(shuffled(w, w, top_weights), top, sum);
      sum = fma(shuffled(w, w, top_weights + 2), bottom, sum);
      if constexpr (!std::is_same_v<T, u8>) signs |= same_bits<I>(top) | same_bits<I>(bottom);
    }
    return first_four(sum + shuffled(sum, sum, right_pixel));
  } else {
#pragma GCC unroll 2
    for (int k = 0; k < K; ++k)
#pragma GCC unroll 4
      for (int tap = 0; tap < 4; ++tap) {
        const V value = load_as<float, N>(in[k].data + base[k] + tap / 2 * in[k].row + tap % 2 * C);
        sum = fma(all<V>(weights(k)[tap]), value, sum);
        if constexpr (!std::is_same_v<T, u8>) signs |= same_bits<I>(value);
      }
    return first_four(sum);
  }
}

// Four pixels with nothing between them, as C vectors.
template <int C>
VFI_FN void pack(Quad (&p)[4]) {
  using I = Vector<int, 4>;
  if constexpr (C == 2) {
    p[0] = shuffled(p[0], p[1], I{0, 1, 4, 5});
    p[1] = shuffled(p[2], p[3], I{0, 1, 4, 5});
  } else if constexpr (C == 3) {
    p[0] = shuffled(p[0], p[1], I{0, 1, 2, 4});
    p[1] = shuffled(p[1], p[2], I{1, 2, 4, 5});
    p[2] = shuffled(p[2], p[3], I{2, 4, 5, 6});
  }
}

// Any kPixels pixels. Returns whether one is doubtful.
template <int C, int K, class T>
VFI_FN bool tight_pixels(const Source<T> (&in)[K], const Samples (&spots)[K], Offsets (&offsets)[K], T* out) {
  alignas(Reals) float weights[K][4][kPixels];  // of pixel 4 i + j: from [j][4 i] on
  for (int k = 0; k < K; ++k) {
    Reals turned[4];
    for (int tap = 0; tap < 4; ++tap) turned[tap] = spots[k].weight[tap];
    transpose_squares(turned);
    for (int j = 0; j < 4; ++j) save(weights[k][j], turned[j]);
  }
  constexpr bool kConverted = !std::is_same_v<T, f32>;  // whole vectors at a time
  float sums[kConverted ? C * kPixels : 1];
  Vector<int, kLoaded<C>> signs = {};
  Doubts doubts;
  for (int i = 0; i < kPixels; i += 4) {
    Quad pixel[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      int base[K];
#pragma GCC unroll 2
      for (int k = 0; k < K; ++k) base[k] = offsets[k].lane[i + j];
      pixel[j] = tight_pixel<C>(
          in, base, [&](int k) __attribute__((always_inline)) { return weights[k][j] + i; }, signs);
    }
    pack<C>(pixel);
#pragma GCC unroll 4
    for (int j = 0; j < C; ++j) {
      const int at = C * i + 4 * j;
      doubts.add(pixel[j]);
      if constexpr (kConverted)
        save(sums + at, pixel[j]);
      else
        save(out + at, pixel[j]);
    }
  }
  if constexpr (kConverted)
    for (int at = 0; at < C * kPixels; at += kPixels) save_as(out + at, load(sums + at));
  return doubts.any((sign_bits(signs) & ((1u << (kBoth<C> ? 2 * C : C)) - 1)) != 0);
}

// Columns begin .. end - 1 of a row of w pixels of C channels; see planar_row.
template <int C, int K, class T, class At, class Exact>
VFI_FN int tight_row(const Source<T> (&in)[K], int begin, int end, int w, T* out, const At& lane_at,
                     const Exact& exact) {
  int tall = 0;
  for (; begin < end; begin += kPixels) {
    const int x = std::min(begin, w - kPixels);  // the last vector overlaps the one before
    const auto lane = lane_at(x);
    Samples spots[K];
    Offsets offsets[K];
    locate(in, lane, spots, offsets);
    tall += is_tall(spots[0], in[0]);
    bool inside = true;
    for (int k = 0; k < K; ++k) {
      fetch_ahead<C>(in[k], spots[k]);
      // At the end of an image a load would read past it.
      inside &= sign_bits(in[k].extent - in[k].row - kReads<C> - spots[k].base) == 0;
    }
    if (__builtin_expect(!inside || tight_pixels<C>(in, spots, offsets, out + x * C), 0)) exact(x);
  }
  return tall;
}

}  // namespace vfi::VFI_VERSION
