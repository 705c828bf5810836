// The tuned kernel of the two-frame operations for wide pixels, whose channels lie side by side in multiples
// of 16 bytes; which calls it serves, choice.cuh says. A warp computes where its pixels read, once for all
// channels. Then its lanes are channels.
#pragma once
#include "../math/voxel_flow.h"
#include "../math/warp_blend.h"
#include "tuned_taps.cuh"

namespace vfi {

// Of a warp, and 32 columns: feature maps are small, and these tiles leave blocks enough.
constexpr int kWideRows = 2;

// Where a pixel reads both frames: 48 bytes, so that three loads bring them.
struct alignas(16) PairPlace {
  Spot spot[2];
  float gain[2];
};

// A cache line of channels at a time for all pixels, whose taps the next pixels and rows then find in L1.
template <bool kExact, class T>
__device__ __forceinline__ void blend_wide(const FramePair<T>& q, const PairPlace (&places)[kWideRows][32],
                                           int rows, const Piece& piece) {
  constexpr int kNumbers = 16 / sizeof(T);
  const int chunks = q.c / kNumbers, group = lanes_of(chunks);
  const T* from[2] = {q.frame0.data + piece.frame * q.frame0.n, q.frame1.data + piece.frame * q.frame1.n};
  const u32 down[2] = {u32(q.frame0.y), u32(q.frame1.y)}, right[2] = {u32(q.frame0.x), u32(q.frame1.x)};
  T* out = q.out.data + piece.n * q.out.n;
  const int end = min(32, piece.inside);
#pragma unroll 1
  for (int chunk = piece.lane % group; chunk < chunks; chunk += group)
#pragma unroll 1
    for (int row = 0; row < rows; ++row)
#pragma unroll 1
      for (int pixel = piece.lane / group; pixel < end; pixel += 32 / group) {
        const PairPlace place = places[row][pixel];
        Chunk tap[2][4];
#pragma unroll
        for (int f = 0; f < 2; ++f)
          for (int k = 0; k < 4; ++k) {
            const u32 offset = place.spot[f].offset + (k / 2 ? down[f] : 0) + (k % 2 ? right[f] : 0);
            tap[f][k] = fetched(reinterpret_cast<const Chunk*>(from[f] + offset) + chunk);
          }
        Chunk result = {};
#pragma unroll
        for (int j = 0; j < kNumbers; ++j) {
          float sum[2];
#pragma unroll
          for (int f = 0; f < 2; ++f) {
            const auto at = [&](int k) { return number_in(tap[f][k], j, T{}); };
            sum[f] = sum_of<kExact>(place.spot[f], at(0), at(1), at(2), at(3));
          }
          put_in(result, j, kGainScale<T> * place.gain[0] * sum[0] + kGainScale<T> * place.gain[1] * sum[1],
                 T{});
        }
        const u32 to = u32(piece.y + row * kWarps) * u32(q.out.y) + u32(piece.x + pixel) * u32(q.out.x);
        reinterpret_cast<Chunk*>(out + to)[chunk] = result;
      }
}

template <class Op>
__global__ void __launch_bounds__(kThreads, kTunedBlocks) pair_forward_wide(const typename Op::Params p) {
  using T = typename Op::Image;
  VFI_SHARED(PairPlace, all_places, [kWarps][kWideRows][32]);
  auto& places = all_places[threadIdx.x / 32];
  const auto& q = p.pair;
  const int n = blockIdx.z, lane = threadIdx.x % 32, x = int(blockIdx.x * 32);
  const int y = int(blockIdx.y * kWideRows * kWarps + threadIdx.x / 32);
  const Piece piece = {n, q.repeat == 1 ? n : n / q.repeat, y, x, q.w - x, lane};
  const int rows = min(kWideRows, (q.h - y + kWarps - 1) / kWarps);
  const int xi = x + min(lane, piece.inside - 1);  // all lanes stay, for the vote
  bool exact = false;
#pragma unroll
  for (int row = 0; row < kWideRows; ++row) {
    const int yi = min(y + row * kWarps, q.h - 1);
    typename Op::Params here = p;
    Op::for_each_field(here, [&](auto& field) { field = pixel_of<false>(field, n, yi, xi); });
    const auto at = Op::lane(here, n, yi, xi);
    PairPlace place;
#pragma unroll
    for (int f = 0; f < 2; ++f) {
      const auto& frame = f ? q.frame1 : q.frame0;
      const Axis<float> ax = axis_at(at.x[f], q.w, q.padding), ay = axis_at(at.y[f], q.h, q.padding);
      Spot& spot = place.spot[f];
      spot = spot_of(ax, ay, kWeightScale<T>);
      spot.offset = u32(ay.lo) * u32(frame.y) + u32(ax.lo) * u32(frame.x);
      place.gain[f] = at.gain[f];
      exact |= sizeof(T) > 1 && needs_exact(spot);
    }
    places[row][lane] = place;
  }
  __syncwarp();
  if (__any_sync(kAllLanes, exact))
    blend_wide<true>(q, places, rows, piece);
  else
    blend_wide<false>(q, places, rows, piece);
}

}  // namespace vfi
