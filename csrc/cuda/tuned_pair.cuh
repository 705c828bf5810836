// Tuned kernels of the two-frame operations; which calls they serve, choice.cuh says.
#pragma once
#include "../math/voxel_flow.h"
#include "../math/warp_blend.h"
#include "tuned_taps.cuh"

namespace vfi {

template <int kStep, int kChannels, class T>
struct FramePlanes {
  Planes<kStep, kChannels, T> frame[2];

  __device__ __forceinline__ FramePlanes(const FramePair<T>& q, int n, int c)
      : frame{{q.frame0, n, c}, {q.frame1, n, c}} {}
};

// out: the first of the channels at the first of the pixels.
template <bool kExact, int kPixels, int kStep, int kChannels, class T>
__device__ __forceinline__ void blend_channels(const FramePlanes<kStep, kChannels, T>& in,
                                               const PairLane<float> (&lane)[kPixels],
                                               const Spot (&spot)[kPixels][2], T* out, i64 channel) {
#pragma unroll
  for (int i = 0; i < kPixels; ++i)
#pragma unroll
    for (int k = 0; k < kChannels; ++k)
      store(out + k * channel + 32 * kStep * i,
            kGainScale<T> * lane[i].gain[0] * sample<kExact>(in.frame[0], k, spot[i][0]) +
                kGainScale<T> * lane[i].gain[1] * sample<kExact>(in.frame[1], k, spot[i][1]));
}

// kPixels pixels of a row, 32 apart. first: the first three channels of the frames that entry n reads.
template <int kPixels, int kStep, int kPadding, class Op, class First>
__device__ __forceinline__ void forward_pixels(const typename Op::Params& p, const First& first, int frame,
                                               int n, int y, int x) {
  using T = typename Op::Image;
  const auto& q = p.pair;
  PairLane<float> lane[kPixels];
#pragma unroll
  for (int i = 0; i < kPixels; ++i) {
    typename Op::Params here = p;
    Op::for_each_field(here, [&](auto& field) { field = pixel_of<kStep == 1>(field, n, y, x + 32 * i); });
    lane[i] = Op::lane(here, n, y, x + 32 * i);
  }
  Spot spot[kPixels][2];
  bool exact = false;
#pragma unroll
  for (int i = 0; i < kPixels; ++i) {
    constexpr float kScale = kWeightScale<T>;
    spot[i][0] = spot_at<kPadding>(lane[i].x[0], lane[i].y[0], q.h, q.w, kScale, q.frame0.y, kStep);
    spot[i][1] = spot_at<kPadding>(lane[i].x[1], lane[i].y[1], q.h, q.w, kScale, q.frame1.y, kStep);
    exact |= sizeof(T) > 1 && (needs_exact(spot[i][0]) | needs_exact(spot[i][1]));
  }
  const auto blend = [&](const auto& in, int c) {
    T* out = pixel_of<kStep == 1>(q.out, n, y, x).at(0, c, 0, 0);
    if (exact)
      blend_channels<true>(in, lane, spot, out, q.out.c);
    else
      blend_channels<false>(in, lane, spot, out, q.out.c);
  };
  if (q.c == 3) {
    blend(first, 0);
  } else {
    for (int c = 0; c < q.c; ++c) blend(FramePlanes<kStep, 1, T>(q, frame, c), c);
  }
}

// kStep, kPadding: of these frames.
template <class Op, int kStep, int kPadding>
__global__ void __launch_bounds__(kThreads, kTunedBlocks) pair_forward_tuned(const typename Op::Params p) {
  const int n = blockIdx.z, x = tile_x(), frame = p.pair.repeat == 1 ? n : n / p.pair.repeat;
  const FramePlanes<kStep, 3, typename Op::Image> first(p.pair, frame, 0);
  for (int row = 0; row < kRows; ++row) {
    const int y = tile_y(row);
    if (y >= p.pair.h) return;
    if (is_whole(p.pair.w))
      forward_pixels<kColumns, kStep, kPadding, Op>(p, first, frame, n, y, x);
    else
      for (int i = 0; i < kColumns && x + 32 * i < p.pair.w; ++i)
        forward_pixels<1, kStep, kPadding, Op>(p, first, frame, n, y, x + 32 * i);
  }
}

}  // namespace vfi
