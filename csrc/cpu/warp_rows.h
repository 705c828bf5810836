// A row of an output that is a weighted sum of K images, each read at positions of its own.
#pragma once
#include "warp_taps.h"

namespace vfi::VFI_VERSION {

// Where a vector of output pixels reads an image, with the weights of the taps times the gain of the sample.
struct Samples : Spots {
  Reals weight[4];
};

// Lanes where the sum of products may differ from what the contract says: a tap of weight 0 adds nothing,
// even one that is Inf or NaN, and a sum of -0 is -0. Only a result that is not finite, or 0 of taps with a
// sign, can.
template <class V, class I>
VFI_FN I doubtful(V result, I signs) {
  return (result - result != V{}) | ((result == V{}) & signs);
}

template <int K, class T, class Lane>
VFI_FN void locate(const Source<T> (&in)[K], const Lane& lane, Samples (&spots)[K], Offsets (&offsets)[K]) {
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) {
    const Axis<Reals> ax = axis_at(lane.x[k], in[k].w, in[k].padding);
    const Axis<Reals> ay = axis_at(lane.y[k], in[k].h, in[k].padding);
    const Reals top = lane.gain[k] * ay.weight_lo, bottom = lane.gain[k] * ay.weight_hi;
    static_cast<Spots&>(spots[k]) = spots_at(ax, ay, in[k], offsets[k]);
    spots[k].weight[0] = top * ax.weight_lo;
    spots[k].weight[1] = top * ax.weight_hi;
    spots[k].weight[2] = bottom * ax.weight_lo;
    spots[k].weight[3] = bottom * ax.weight_hi;
  }
}

// C channels of kPixels pixels. Returns the doubtful lanes.
template <int C, int K, class T>
VFI_FN Ints planar_pixels(const Source<T> (&in)[K], const Samples (&spots)[K], Offsets (&offsets)[K], i64 c,
                          bool ahead, T* out, i64 out_channel) {
  Reals sums[C] = {};
  Ints signs[C] = {}, doubt = {};
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) {
    const T* plane = in[k].data + c * in[k].channel;
    if (ahead)
      for (int i = 0; i < C; ++i)
        __builtin_prefetch(plane + i * in[k].channel + spots[k].base[0] + i64(kRowsAhead) * in[k].row);
    each_tap<C>(plane, in[k], spots[k], offsets[k],
                [&](int i, int j, Reals tap) __attribute__((always_inline)) {
                  sums[i] = fma(spots[k].weight[j], tap, sums[i]);
                  if constexpr (!std::is_same_v<T, u8>) signs[i] |= same_bits<Ints>(tap);
                });
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
    Samples spots[K];
    Offsets offsets[K];
    locate(in, lane, spots, offsets);
    const bool ahead = x % kLine < kPixels;
    Ints doubt = {};
    int c = 0;
    for (; c + 3 <= channels; c += 3)
      doubt |= planar_pixels<3>(in, spots, offsets, c, ahead, out + x, out_channel);
    for (; c < channels; ++c) doubt |= planar_pixels<1>(in, spots, offsets, c, ahead, out + x, out_channel);
    if (__builtin_expect(sign_bits(doubt) != 0, 0)) exact(x);
  }
}

}  // namespace vfi::VFI_VERSION
