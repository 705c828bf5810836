// The same for three channels that lie side by side (channels_last), pixel by pixel.
#pragma once
#include "warp_rows.h"

namespace vfi::VFI_VERSION {

using Quad = Vector<float, 4>;

// Two neighbouring pixels are six values: read by one load of eight, or by two of four.
constexpr int kRgbLanes = std::min(kPixels, 8);
constexpr int kRgbReads = kRgbLanes == 8 ? 8 : kColours + 4;

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

// The pixel at `base` of K images, as the first three lanes. weights(k): of its four taps.
template <int N, int K, class T, class Weights>
VFI_FN Quad rgb_pixel(const Source<T> (&in)[K], const int (&base)[K], const Weights& weights,
                      Vector<int, N>& signs) {
  using V = Vector<float, N>;
  using I = Vector<int, N>;
  V sum = {};
  if constexpr (N == 8) {
    const I of_six = {0, 0, 0, 1, 5, 5, 5, 5};
    const I fourth_on = {3, 4, 5, 6, 7, 7, 7, 7};
#pragma GCC unroll 2
    for (int k = 0; k < K; ++k) {
      const T* p = in[k].data + base[k];
      const V top = load_as<float, N>(p), bottom = load_as<float, N>(p + in[k].row);
      const V w = load_repeated<V>(weights(k));
      sum = fma(shuffled(w, w, of_six), top, sum);
      sum = fma(shuffled(w, w, of_six + 2), bottom, sum);
      if constexpr (!std::is_same_v<T, u8>) signs |= same_bits<I>(top) | same_bits<I>(bottom);
    }
    return first_four(sum + shuffled(sum, sum, fourth_on));
  } else {
#pragma GCC unroll 2
    for (int k = 0; k < K; ++k)
#pragma GCC unroll 4
      for (int tap = 0; tap < 4; ++tap) {
        const T* p = in[k].data + base[k] + tap / 2 * in[k].row + tap % 2 * kColours;
        const V value = load_as<float, N>(p);
        sum = fma(all<V>(weights(k)[tap]), value, sum);
        if constexpr (!std::is_same_v<T, u8>) signs |= same_bits<I>(value);
      }
    return sum;
  }
}

// Any kPixels pixels. Returns whether one is doubtful.
template <int K, class T>
VFI_FN bool rgb_pixels(const Source<T> (&in)[K], const Samples (&spots)[K], Offsets (&offsets)[K], T* out) {
  alignas(Reals) float weights[K][4][kPixels];  // of pixel 4 i + j: from [j][4 i] on
  for (int k = 0; k < K; ++k) {
    Reals turned[4];
    for (int tap = 0; tap < 4; ++tap) turned[tap] = spots[k].weight[tap];
    transpose_squares(turned);
    for (int j = 0; j < 4; ++j) save(weights[k][j], turned[j]);
  }
  Vector<int, kRgbLanes> signs = {};
  Doubts doubts;
  for (int i = 0; i < kPixels; i += 4, out += 4 * kColours) {
    Quad pixel[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      int base[K];
#pragma GCC unroll 2
      for (int k = 0; k < K; ++k) base[k] = offsets[k].lane[i + j];
      pixel[j] = rgb_pixel<kRgbLanes>(
          in, base, [&](int k) __attribute__((always_inline)) { return weights[k][j] + i; }, signs);
    }
    using I = Vector<int, 4>;
    const Quad packed[kColours] = {shuffled(pixel[0], pixel[1], I{0, 1, 2, 4}),
                                   shuffled(pixel[1], pixel[2], I{1, 2, 4, 5}),
                                   shuffled(pixel[2], pixel[3], I{2, 4, 5, 6})};
#pragma GCC unroll 3
    for (int j = 0; j < kColours; ++j) {
      doubts.add(packed[j]);
      save_as(out + 4 * j, packed[j]);
    }
  }
  return doubts.any((sign_bits(signs) & 63) != 0);
}

// Columns begin .. end - 1 of a row of w pixels of three channels; see planar_row.
template <int K, class T, class At, class Exact>
VFI_FN int rgb_row(const Source<T> (&in)[K], int begin, int end, int w, T* out, const At& lane_at,
                   const Exact& exact) {
  constexpr int kLine = 64 / sizeof(T);
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
      for (int i = 0; i < kColours * kPixels; i += kLine)
        __builtin_prefetch(in[k].data + spots[k].base[0] + i64(kRowsAhead) * in[k].row + i);
      // At the end of an image a load would read past it.
      inside &= sign_bits(in[k].extent - in[k].row - kRgbReads - spots[k].base) == 0;
    }
    if (__builtin_expect(!inside || rgb_pixels(in, spots, offsets, out + x * kColours), 0)) exact(x);
  }
  return tall;
}

}  // namespace vfi::VFI_VERSION
