// The same for three channels that lie side by side (channels_last), which a 4-lane load fetches together.
#pragma once
#include "warp_rows.h"

namespace vfi::VFI_VERSION {

// Adds the samples of kPixels pixels whose taps lie in one piece or two: 3 kPixels values side by side, each
// weight three times.
template <bool kTwo, class T>
VFI_FN void add_rgb_runs(const Source<T>& in, const Samples& s, Reals* sums, Ints* signs) {
#pragma GCC unroll 3
  for (int j = 0; j < kColours; ++j) {
    const Ints pixel = build<Ints>([j](int i) { return (j * kPixels + i) / kColours; });
    const Ints in_first = shuffled(s.in_first, s.in_first, pixel);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const int tap = k / 2 * in.row + k % 2 * kColours + j * kPixels;
      Reals values = load_as<float>(in.data + s.first + tap);
      if (kTwo) values = in_first ? values : load_as<float>(in.data + s.second + tap);
      sums[j] = fma(shuffled(s.weight[k], s.weight[k], pixel), values, sums[j]);
      if constexpr (!std::is_same_v<T, u8>) signs[j] |= same_bits<Ints>(values);
    }
  }
}

// Any kPixels pixels, one by one, into `pixels`. Returns whether one is doubtful.
template <int K, class T>
VFI_FN bool rgb_pixels(const Source<T> (&in)[K], const Samples (&spots)[K], Offsets (&offsets)[K],
                       float* pixels) {
  using Quad = Vector<float, 4>;  // a pixel and a value of the next one
  using QuadInts = Vector<int, 4>;
  float weight[K][4][kPixels];
  const int* base[K];
  for (int k = 0; k < K; ++k) base[k] = offsets[k].one_by_one();
  for (int k = 0; k < K; ++k)
    for (int tap = 0; tap < 4; ++tap) save(weight[k][tap], spots[k].weight[tap]);
  QuadInts doubt = {};
  for (int i = 0; i < kPixels; ++i) {
    Quad sum = {};
    QuadInts signs = {};
#pragma GCC unroll 2
    for (int k = 0; k < K; ++k)
#pragma GCC unroll 4
      for (int tap = 0; tap < 4; ++tap) {
        const Quad value =
            load_as<float, 4>(in[k].data + base[k][i] + tap / 2 * in[k].row + tap % 2 * kColours);
        sum = fma(all<Quad>(weight[k][tap][i]), value, sum);
        signs |= same_bits<QuadInts>(value);
      }
    doubt |= doubtful(sum, signs);
    save(pixels + i * kColours, sum);  // the next pixel replaces the fourth value
  }
  return (sign_bits(doubt) & 7) != 0;
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
    bool runs = true, inside = true;
    for (int k = 0; k < K; ++k) {
      for (int i = 0; i < kColours * kPixels; i += kLine)
        __builtin_prefetch(in[k].data + spots[k].base[0] + i64(kRowsAhead) * in[k].row + i);
      runs &= spots[k].runs > 0;
      // The last pixel of an image has no value after it that a 4-lane load could read.
      inside &= sign_bits(in[k].extent - in[k].row - 2 * kColours - 1 - spots[k].base) == 0;
    }
    bool doubt = !inside && !runs;
    if (runs) {
      Reals sums[kColours] = {};
      Ints signs[kColours] = {}, lanes = {};
#pragma GCC unroll 2
      for (int k = 0; k < K; ++k) {
        if (spots[k].runs == 1)
          add_rgb_runs<false>(in[k], spots[k], sums, signs);
        else
          add_rgb_runs<true>(in[k], spots[k], sums, signs);
      }
      for (int j = 0; j < kColours; ++j) {
        lanes |= doubtful(sums[j], signs[j]);
        save_as(out + x * kColours + j * kPixels, sums[j]);
      }
      doubt = sign_bits(lanes) != 0;
    } else if (inside) {
      float pixels[kColours * kPixels + 1];
      doubt = rgb_pixels(in, spots, offsets, pixels);
      for (int j = 0; j < kColours; ++j)
        save_as(out + x * kColours + j * kPixels, load(pixels + j * kPixels));
    }
    if (__builtin_expect(doubt, 0)) exact(x);
  }
  return tall;
}

}  // namespace vfi::VFI_VERSION
