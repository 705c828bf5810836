// A row of an output that is a weighted sum of K images, each read at positions of its own.
#pragma once
#include "warp_taps.h"

namespace vfi::VFI_VERSION {

// Lanes where the sum of products may differ from what the contract says: a tap of weight 0 adds nothing,
// even one that is Inf or NaN, and a sum of -0 is -0. Only a result that is not finite, or 0 of taps with a
// sign, can.
template <class V, class I>
VFI_FN I doubtful(V result, I signs) {
  return (result - result != V{}) | ((result == V{}) & signs);
}

// How far ahead the pixels are fetched, in rows: flows wander between rows, and then the processor itself
// doesn't.
constexpr int kRowsAhead = 3;

template <int K, class T, class Lane>
VFI_FN void locate(const Source<T> (&in)[K], const Lane& lane, Spots (&spots)[K], int (&base)[K][kPixels]) {
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) {
    spots[k] = spots_at(lane.x[k], lane.y[k], lane.gain[k], in[k]);
    save(base[k], spots[k].base);
    asm(""
        : "+m"(base[k]));  // or GCC takes the vector apart for every path, not only for the one that needs
                           // the numbers
    find_runs(spots[k], in[k]);
  }
}

// C channels of kPixels pixels. Returns the doubtful lanes.
template <int C, int K, class T>
VFI_FN Ints planar_pixels(const Source<T> (&in)[K], const Spots (&spots)[K], const int (&base)[K][kPixels],
                          i64 c, bool ahead, T* out, i64 out_channel) {
  Reals sums[C] = {};
  Ints signs[C] = {}, doubt = {};
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) {
    const T* plane = in[k].data + c * in[k].channel;
    if (ahead)
      for (int i = 0; i < C; ++i)
        __builtin_prefetch(plane + i * in[k].channel + base[k][0] + i64(kRowsAhead) * in[k].row);
    add_samples<C>(plane, in[k], spots[k], base[k], sums, signs);
  }
  for (int i = 0; i < C; ++i) {
    doubt |= doubtful(sums[i], signs[i]);
    save_as(out + (c + i) * out_channel, sums[i]);
  }
  return doubt;
}

// Planes with pixels side by side. lane_at(x) says where kPixels pixels from x on read; exact(x) computes
// them by the rules.
template <int K, class T, class At, class Exact>
VFI_FN void planar_row(const Source<T> (&in)[K], int channels, int w, T* out, i64 out_channel,
                       const At& lane_at, const Exact& exact) {
  constexpr int kLine = 64 / sizeof(T);
  for (int begin = 0; begin < w; begin += kPixels) {
    const int x = std::min(begin, w - kPixels);  // the last vector overlaps the one before
    const auto lane = lane_at(x);
    Spots spots[K];
    int base[K][kPixels];
    locate(in, lane, spots, base);
    const bool ahead = x % kLine < kPixels;
    Ints doubt = {};
    int c = 0;
    for (; c + 3 <= channels; c += 3)
      doubt |= planar_pixels<3>(in, spots, base, c, ahead, out + x, out_channel);
    for (; c < channels; ++c) doubt |= planar_pixels<1>(in, spots, base, c, ahead, out + x, out_channel);
    if (__builtin_expect(sign_bits(doubt) != 0, 0)) exact(x);
  }
}

}  // namespace vfi::VFI_VERSION
