// The tuned gradients of the two-frame operations for frames of any number of channels: what
// tuned_pair_backward.cuh does not serve. A warp has kRows rows of 32 pixels. It computes their positions and
// the gradients of flow and mask row by row, over all channels; then it adds to the frames' gradients, a few
// channels at a time, marching down the rows.
#pragma once
#include "../math/voxel_flow.h"
#include "../math/warp_blend.h"
#include "tuned_channels.cuh"

namespace vfi {

// grad_frame0 and grad_frame1 must be zero before.
template <class Op>
__global__ void __launch_bounds__(kThreads, kChannelBlocks)
    pair_backward_channels(const typename Op::Params p) {
  VFI_SHARED(GainedPlace, all_places, [kWarps][2][kRows][32]);
  auto& places = all_places[threadIdx.x / 32];
  const auto& q = p.pair;
  const int wanted = int(Op::wants_slopes(p, 0)) + 2 * int(Op::wants_slopes(p, 1));  // by frame
  const int n = blockIdx.z, lane = threadIdx.x % 32;
  const int y = int(blockIdx.y * kTileHeight + threadIdx.x / 32 * kRows), rows = min(kRows, q.h - y);
#pragma unroll 1
  for (int i = 0; i < kColumns; ++i) {
    const int x = int(blockIdx.x * kTileWidth + 32 * i), inside = q.w - x;
    if (inside <= 0 || rows <= 0) return;
    const int xi = x + min(lane, inside - 1);  // all lanes stay, for the shuffles
    Piece piece = {n, q.repeat == 1 ? n : n / q.repeat, y, x, inside, lane};
#pragma unroll 1
    for (int row = 0; row < rows; ++row, ++piece.y) {
      typename Op::Params here = p;
      Op::for_each_field(here, [&](auto& field) { field = pixel_of<false>(field, n, piece.y, xi); });
      const auto at = Op::lane(here, n, piece.y, xi);
      Slope<float> sums[2] = {};
#pragma unroll
      for (int f = 0; f < 2; ++f) {
        const Axis<float> ax = axis_at(at.x[f], q.w, q.padding), ay = axis_at(at.y[f], q.h, q.padding);
        const Spot spot = spot_of(ax, ay);
        GainedPlace& place = places[f][row][lane];
        place.x = ax.lo;
        place.y = ay.lo;
        for (int k = 0; k < 4; ++k) place.weight[k] = spot.weight[k];
        place.gain = at.gain[f];
        __syncwarp();
        if (!(wanted & 1 << f)) continue;
        const auto& frame = f ? q.frame1 : q.frame0;
        float tap[4] = {};
        if (__any_sync(kAllLanes, needs_exact(spot)))
          image_products<true>(frame, q.grad_out, q.c, places[f][row], piece, tap);
        else
          image_products<false>(frame, q.grad_out, q.c, places[f][row], piece, tap);
        sums[f] = slopes_of(ax, ay, tap);
      }
      if (wanted && lane < inside) Op::finish(p, n, piece.y, xi, at, sums);
    }
    piece.y = y;
#pragma unroll 1
    for (int f = 0; f < 2; ++f) {
      const View<float>& target = f ? q.grad_frame1 : q.grad_frame0;
      if (target.data) scatter_image(q.frame0.x, target, q.grad_out, q.c, places[f], rows, piece);
    }
    __syncwarp();  // before the next pixels take these places
  }
}

}  // namespace vfi
