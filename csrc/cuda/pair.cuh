// Kernels of the two-frame operations, one thread an output pixel. Op is WarpBlend or VoxelFlow (csrc/math).
#pragma once
#include "../math/voxel_flow.h"
#include "../math/warp_blend.h"
#include "portable.cuh"

namespace vfi {

template <class Op>
__global__ void __launch_bounds__(kThreads, kBlocksOf<typename Op::A>)
    pair_forward(const typename Op::Params p) {
  const auto& q = p.pair;
  for_each_pixel(q.n, q.h, q.w, [&](i64 n, i64 y, int x) {
    const auto lane = Op::lane(p, n, y, x);
    const auto taps0 = taps_at(lane.x[0], lane.y[0], q.h, q.w, q.padding, q.frame0.y, q.frame0.x);
    const auto taps1 = taps_at(lane.x[1], lane.y[1], q.h, q.w, q.padding, q.frame1.y, q.frame1.x);
    for (int c = 0; c < q.c; ++c)
      store(q.out.at(n, c, y, x), lane.gain[0] * sample(q.frame0.at(n / q.repeat, c, 0, 0), taps0) +
                                      lane.gain[1] * sample(q.frame1.at(n / q.repeat, c, 0, 0), taps1));
  });
}

// Adds grad to the pixels that a sample was made of. The order of the additions, and so the last bits, vary
// from run to run.
template <class A>
__device__ __forceinline__ void scatter(A* plane, const Taps<A>& taps, A grad) {
  for (int k = 0; k < 4; ++k)
    if (taps.weight[k] != 0) atomicAdd(plane + taps.offset[k], taps.weight[k] * grad);
}

// grad_frame0 and grad_frame1 must be zero before.
template <class Op>
__global__ void __launch_bounds__(kThreads, kMinBlocks) pair_backward(const typename Op::Params p) {
  using A = typename Op::A;
  const auto& q = p.pair;
  const bool wants_inputs = Op::wants_inputs(p);
  for_each_pixel(q.n, q.h, q.w, [&](i64 n, i64 y, int x) {
    const auto lane = Op::lane(p, n, y, x);
    Slope<A> sums[2] = {};
#pragma unroll  // else lane and sums, indexed at run time, would lie in memory
    for (int f = 0; f < 2; ++f) {
      const auto& frame = f ? q.frame1 : q.frame0;
      const auto& target = f ? q.grad_frame1 : q.grad_frame0;
      // Two loops over the channels: the taps of both tensors at once would not fit in the registers.
      if (Op::wants_slopes(p, f)) {
        const auto taps = taps_at(lane.x[f], lane.y[f], q.h, q.w, q.padding, frame.y, frame.x);
        for (int c = 0; c < q.c; ++c) {
          const A grad = number<A>(*q.grad_out.at(n, c, y, x));
          const Slope<A> s = sample_slope(frame.at(n / q.repeat, c, 0, 0), taps);
          sums[f].value += grad * s.value;
          sums[f].dx += grad * s.dx;
          sums[f].dy += grad * s.dy;
        }
      }
      if (target.data) {
        const auto taps = taps_at(lane.x[f], lane.y[f], q.h, q.w, q.padding, target.y, target.x);
        for (int c = 0; c < q.c; ++c)
          scatter(target.at(n / q.repeat, c, 0, 0), taps,
                  number<A>(*q.grad_out.at(n, c, y, x)) * lane.gain[f]);
      }
    }
    if (wants_inputs) Op::finish(p, n, y, x, lane, sums);
  });
}

}  // namespace vfi
