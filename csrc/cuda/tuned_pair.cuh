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
  for (int i = 0; i < kPixels; ++i) {
    float sum[2][kChannels];
    sample<kExact>(in.frame[0], spot[i][0], sum[0]);
    sample<kExact>(in.frame[1], spot[i][1], sum[1]);
#pragma unroll
    for (int k = 0; k < kChannels; ++k)
      store(out + k * channel + 32 * kStep * i,
            kGainScale<T> * lane[i].gain[0] * sum[0][k] + kGainScale<T> * lane[i].gain[1] * sum[1][k]);
  }
}

// Every kWarps-th row from y to `end`, and kPixels pixels of each, 32 apart. entry: the parameters with views
// of entry n. first: the first three channels of the frames that it reads; kColour: these are all.
template <int kPixels, int kStep, int kPadding, bool kColour, class Op, class First>
__device__ __forceinline__ void forward_rows(const typename Op::Params& entry, const First& first, int frame,
                                             int n, int y, int end, int x) {
  using T = typename Op::Image;
  const auto& q = entry.pair;
#pragma unroll 1
  for (; y < end; y += kWarps) {
    PairLane<float> lane[kPixels];
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
      typename Op::Params here = entry;
      Op::for_each_field(here, [&](auto& field) { field = pixel_of<false>(field, 0, y, x, 32 * i); });
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
      T* out = pixel_of<kStep == 1>(q.out, 0, y, x).at(0, c, 0, 0);
      if (exact)
        blend_channels<true>(in, lane, spot, out, q.out.c);
      else
        blend_channels<false>(in, lane, spot, out, q.out.c);
    };
    if constexpr (kColour) {
      blend(first, 0);
    } else {
      for (int c = 0; c < q.c; ++c) blend(FramePlanes<kStep, 1, T>(q, frame, c), c);
    }
  }
}

// The block's tile.
template <int kStep, int kPadding, bool kColour, class Op, class First>
__device__ __forceinline__ void forward_tile(const typename Op::Params& entry, const First& first,
                                             int frame) {
  const int n = blockIdx.z, y = tile_y(), w = entry.pair.w;
  int x = tile_x(), end = min(y + kRows * kWarps, entry.pair.h);
  keep(x);
  keep(end);
  if (is_whole(w))
    forward_rows<kColumns, kStep, kPadding, kColour, Op>(entry, first, frame, n, y, end, x);
  else
    for (int i = 0; i < kColumns && x + 32 * i < w; ++i)
      forward_rows<1, kStep, kPadding, kColour, Op>(entry, first, frame, n, y, end, x + 32 * i);
}

// kStep, kPadding: of these frames.
template <class Op, int kStep, int kPadding>
__global__ void __launch_bounds__(kThreads, kTunedBlocks) pair_forward_tuned(const typename Op::Params p) {
  const int n = blockIdx.z, frame = p.pair.repeat == 1 ? n : n / p.pair.repeat;
  const FramePlanes<kStep, 3, typename Op::Image> first(p.pair, frame, 0);
  typename Op::Params entry = p;
  Op::for_each_field(entry, [&](auto& field) { field = entry_of(field, n); });
  entry.pair.out = entry_of(p.pair.out, n);
  if (p.pair.c == 3)
    forward_tile<kStep, kPadding, true, Op>(entry, first, frame);
  else
    forward_tile<kStep, kPadding, false, Op>(entry, first, frame);
}

}  // namespace vfi
