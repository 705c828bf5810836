// The tuned gradients of the two-frame operations, for frames of three channels; which calls they serve,
// choice.cuh says. A warp marches down kRows rows of 32 pixels.
#pragma once
#include "../math/voxel_flow.h"
#include "../math/warp_blend.h"
#include "tuned_gradients.cuh"

namespace vfi {

constexpr int kColours = 3;

// grad_frame0 and grad_frame1 must be zero before.
template <class Op, int kStep, int kPadding>
__global__ void __launch_bounds__(kThreads, kBackwardBlocks)
    pair_backward_tuned(const typename Op::Params p) {
  using T = typename Op::Image;
  const auto& q = p.pair;
  const int n = blockIdx.z, lane = threadIdx.x % 32, frame = q.repeat == 1 ? n : n / q.repeat;
  const bool wants_inputs = Op::wants_inputs(p);
  const Planes<kStep, kColours, T> planes[2] = {{q.frame0, frame, 0}, {q.frame1, frame, 0}};
  Scatter<kStep, kColours> scatter[2] = {{q.grad_frame0, frame, 0}, {q.grad_frame1, frame, 0}};
  for (int i = 0; i < kColumns; ++i) {
    const int inside = q.w - int(blockIdx.x * kTileWidth + 32 * i);  // of the pixels, for this warp
    if (inside <= 0) break;
    const int x = q.w - inside + min(lane, inside - 1);  // all lanes stay, for the shuffles
    for (int row = 0; row < kRows; ++row) {
      const int y = int(blockIdx.y * kTileHeight + threadIdx.x / 32 * kRows + row);
      if (y >= q.h) break;
      typename Op::Params here = p;
      Op::for_each_field(here, [&](auto& field) { field = pixel_of<false>(field, n, y, x); });
      const auto at = Op::lane(here, n, y, x);
      const View<const T> grad_out = pixel_of<kStep == 1>(q.grad_out, n, y, x);
      float grad[kColours];
      for (int c = 0; c < kColours; ++c) grad[c] = number<float>(fetched(grad_out.at(0, c, 0, 0)));
      Slope<float> sums[2] = {};
#pragma unroll
      for (int f = 0; f < 2; ++f) {
        const Axis<float> ax = tuned_axis_at<kPadding>(at.x[f], q.w),
                          ay = tuned_axis_at<kPadding>(at.y[f], q.h);
        Spot spot = spot_of(ax, ay);
        const auto offset_in = [&](const auto& v) { return u32(ay.lo) * u32(v.y) + u32(ax.lo) * kStep; };
        if (Op::wants_slopes(p, f)) {
          spot.offset = offset_in(f ? q.frame1 : q.frame0);
          float tap[4] = {};
          if (needs_exact(spot))
            add_products<true>(planes[f], spot, grad, tap);
          else
            add_products<false>(planes[f], spot, grad, tap);
          sums[f] = slopes_of(ax, ay, tap);
        }
        const View<float>& target = f ? q.grad_frame1 : q.grad_frame0;
        if (target.data) {
          spot.offset = offset_in(target);
          float gained[kColours];
          for (int c = 0; c < kColours; ++c) gained[c] = lane < inside ? grad[c] * at.gain[f] : 0;
          scatter[f].pixel(spot, gained);
        }
      }
      if (wants_inputs && lane < inside) Op::finish(p, n, y, x, at, sums);
    }
    if (q.grad_frame0.data) scatter[0].finish();
    if (q.grad_frame1.data) scatter[1].finish();
  }
}

}  // namespace vfi
