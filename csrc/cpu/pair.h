// Loops of the two-frame operations over rows and planes, for every layout and dtype. Op is WarpBlend or
// VoxelFlow (csrc/math).
#pragma once
#include "kernels.h"

namespace vfi {

template <class A>
struct BlockTaps {
  Taps<A> taps[2][kBlock];
  A gain[2][kBlock];
};

template <class Op>
inline void locate(const typename Op::Params& p, i64 n, int y, int x0, int count,
                   BlockTaps<typename Op::A>& block) {
  const auto& q = p.pair;
  for (int i = 0; i < count; ++i) {
    const auto lane = Op::lane(p, n, y, x0 + i);
    block.taps[0][i] = taps_at(lane.x[0], lane.y[0], q.h, q.w, q.padding, q.frame0.y, q.frame0.x);
    block.taps[1][i] = taps_at(lane.x[1], lane.y[1], q.h, q.w, q.padding, q.frame1.y, q.frame1.x);
    block.gain[0][i] = lane.gain[0];
    block.gain[1][i] = lane.gain[1];
  }
}

template <class Op>
void pair_forward_block(const typename Op::Params& p, i64 n, int y, int x0, int count) {
  const auto& q = p.pair;
  BlockTaps<typename Op::A> block;
  locate<Op>(p, n, y, x0, count, block);
  for (int c = 0; c < q.c; ++c) {
    const auto* plane0 = q.frame0.at(n / q.repeat, c, 0, 0);
    const auto* plane1 = q.frame1.at(n / q.repeat, c, 0, 0);
    auto* out = q.out.at(n, c, y, x0);
    for (int i = 0; i < count; ++i, out += q.out.x)
      store(out, block.gain[0][i] * sample(plane0, block.taps[0][i]) +
                     block.gain[1][i] * sample(plane1, block.taps[1][i]));
  }
}

// Gradients of flows, mask and timestep: every pixel writes its own, nothing is scattered.
template <class Op>
void pair_backward_inputs_block(const typename Op::Params& p, i64 n, int y, int x0, int count) {
  using A = typename Op::A;
  const auto& q = p.pair;
  BlockTaps<A> block;
  Slope<A> sums[kBlock][2] = {};
  locate<Op>(p, n, y, x0, count, block);
  for (int c = 0; c < q.c; ++c) {
    const typename Op::Image* planes[2] = {q.frame0.at(n / q.repeat, c, 0, 0),
                                           q.frame1.at(n / q.repeat, c, 0, 0)};
    for (int i = 0; i < count; ++i) {
      const A grad = number<A>(*q.grad_out.at(n, c, y, x0 + i));
      for (int f = 0; f < 2; ++f) {
        const Slope<A> s = sample_slope(planes[f], block.taps[f][i]);
        sums[i][f].value += grad * s.value;
        sums[i][f].dx += grad * s.dx;
        sums[i][f].dy += grad * s.dy;
      }
    }
  }
  for (int i = 0; i < count; ++i) Op::finish(p, n, y, x0 + i, Op::lane(p, n, y, x0 + i), sums[i]);
}

}  // namespace vfi
