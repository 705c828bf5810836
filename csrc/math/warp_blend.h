// warp_blend, one pixel: the contract is in vfi_kernels/ops/warp_blend.py.
#pragma once
#include "pair.h"

namespace vfi {

template <class T, class F> struct WarpBlendParams {
  FramePair<T> pair;
  View<const F> flow0, flow1;       // [n, 2, h, w] dx, dy in pixels
  View<const F> mask;               // [n, 1, h, w]
  View<F> grad_flow0, grad_flow1;   // like the flows; null where not wanted
  View<F> grad_mask;                // like the mask; null where not wanted
  const sum_t<T>* timestep;         // [n], or null for the blend without a timestep
  sum_t<T>* grad_timestep;          // [n, h, w] contiguous, to be summed; null where not wanted
  int mask_is_logits;
};

template <class T, class F> struct WarpBlend {
  using Image = T;
  using A = sum_t<T>;
  using Params = WarpBlendParams<T, F>;

  // The parts of out = (a s0 + b s1) / den.
  struct Blend { A m, t, a, b, den; };

  static VFI_FN Blend blend_at(const Params& p, i64 n, i64 y, i64 x) {
    A m = read<A>(p.mask, n, 0, y, x);
    if (p.mask_is_logits) m = sigmoid(m);
    if (!p.timestep) return {m, 0, m, 1 - m, 1};
    const A t = p.timestep[n], a = (1 - t) * m, b = t * (1 - m);
    if (a + b == 0) return {m, t, 1 - t, t, 0};  // neither frame is visible: blend by time alone; den 0 tells
    return {m, t, a, b, a + b};
  }

  static VFI_FN PairLane<A> lane(const Params& p, i64 n, i64 y, i64 x) {
    const Blend k = blend_at(p, n, y, x);
    const A den = k.den == 0 ? A(1) : k.den;  // divided by, not multiplied with its inverse, which may overflow
    return {{A(x) + read<A>(p.flow0, n, 0, y, x), A(x) + read<A>(p.flow1, n, 0, y, x)},
            {A(y) + read<A>(p.flow0, n, 1, y, x), A(y) + read<A>(p.flow1, n, 1, y, x)},
            {k.a / den, k.b / den}};
  }

  static VFI_FN bool wants_inputs(const Params& p) {
    return p.grad_flow0.data || p.grad_flow1.data || p.grad_mask.data || p.grad_timestep;
  }

  static VFI_FN void finish(const Params& p, i64 n, i64 y, i64 x, const PairLane<A>& lane, const PairSums<A>& s) {
    if (p.grad_flow0.data) {
      store(p.grad_flow0.at(n, 0, y, x), lane.gain[0] * s.dx[0]);
      store(p.grad_flow0.at(n, 1, y, x), lane.gain[0] * s.dy[0]);
    }
    if (p.grad_flow1.data) {
      store(p.grad_flow1.at(n, 0, y, x), lane.gain[1] * s.dx[1]);
      store(p.grad_flow1.at(n, 1, y, x), lane.gain[1] * s.dy[1]);
    }
    if (!p.grad_mask.data && !p.grad_timestep) return;
    const Blend k = blend_at(p, n, y, x);
    A by_mask, by_time = 0;
    if (!p.timestep) {
      by_mask = s.value[0] - s.value[1];
    } else if (k.den == 0) {
      by_mask = 0;
      by_time = s.value[1] - s.value[0];
    } else {  // quotient rule; blended = grad * out
      const A blended = lane.gain[0] * s.value[0] + lane.gain[1] * s.value[1];
      by_mask = ((1 - k.t) * (s.value[0] - blended) - k.t * (s.value[1] - blended)) / k.den;
      by_time = ((1 - k.m) * (s.value[1] - blended) - k.m * (s.value[0] - blended)) / k.den;
    }
    if (p.mask_is_logits) by_mask *= k.m * (1 - k.m);
    if (p.grad_mask.data) store(p.grad_mask.at(n, 0, y, x), by_mask);
    if (p.grad_timestep) p.grad_timestep[(n * p.pair.h + y) * p.pair.w + x] = by_time;
  }
};

}  // namespace vfi
