// warp_blend, one pixel: the contract is in vfi_kernels/ops/warp_blend.py.
#pragma once
#include "pair.h"

namespace vfi {

template <class T, class F>
struct WarpBlendParams {
  FramePair<T> pair;
  View<const F> flow0, flow1;      // [n, 2, h, w] dx, dy in pixels
  View<const F> mask;              // [n, 1, h, w]
  View<F> grad_flow0, grad_flow1;  // like the flows; null where not wanted
  View<F> grad_mask;               // like the mask; null where not wanted
  const sum_t<T>* timestep;        // [n], or null for the blend without a timestep
  sum_t<T>* grad_timestep;         // [n, h, w] contiguous, to be summed; null where not wanted
  int mask_is_logits;
};

template <class T, class F>
struct WarpBlend {
  using Image = T;
  using A = sum_t<T>;
  using Params = WarpBlendParams<T, F>;

  // The inputs of a pixel beside the frames.
  template <class Fn>
  static VFI_FN void for_each_field(Params& p, Fn&& f) {
    f(p.flow0);
    f(p.flow1);
    f(p.mask);
  }

  // The parts of out = (a s0 + b s1) / den.
  template <class V>
  struct Blend {
    V m, t, a, b, den;
  };

  template <class V>
  static VFI_FN Blend<V> blend_at(const Params& p, i64 n, i64 y, i64 x) {
    const V zero = {}, one = zero + 1;
    V m = read<V>(p.mask, n, 0, y, x);
    if (p.mask_is_logits) m = sigmoid(m);
    if (!p.timestep) return {m, zero, m, one - m, one};
    const V t = zero + p.timestep[n], a = (one - t) * m, b = t * (one - m), den = a + b;
    // Where neither frame is visible, blend by time alone; den 0 tells.
    return {m, t, den == zero ? one - t : a, den == zero ? t : b, den};
  }

  template <class V = A>
  static VFI_FN PairLane<V> lane(const Params& p, i64 n, i64 y, i64 x) {
    const Blend<V> k = blend_at<V>(p, n, y, x);
    const V left = Lanes<V>::position(x), top = V{} + A(y);
    PairLane<V> lane = {{left + read<V>(p.flow0, n, 0, y, x), left + read<V>(p.flow1, n, 0, y, x)},
                        {top + read<V>(p.flow0, n, 1, y, x), top + read<V>(p.flow1, n, 1, y, x)},
                        {k.a, k.b}};
    if (p.timestep) {
      // Divided by, not multiplied with its inverse, which may overflow.
      const V den = k.den == V{} ? V{} + 1 : k.den;
      lane.gain[0] = k.a / den;
      lane.gain[1] = k.b / den;
    }
    return lane;
  }

  static VFI_FN bool wants_weights(const Params& p) { return p.grad_mask.data || p.grad_timestep; }
  static VFI_FN bool wants_inputs(const Params& p) {
    return p.grad_flow0.data || p.grad_flow1.data || wants_weights(p);
  }
  static VFI_FN bool wants_slopes(const Params& p, int frame) {
    return (frame ? p.grad_flow1 : p.grad_flow0).data || wants_weights(p);
  }

  // sums: of both frames, over the channels.
  template <class V>
  static VFI_FN void finish(const Params& p, i64 n, i64 y, i64 x, const PairLane<V>& lane,
                            const Slope<V> (&sums)[2]) {
    if (p.grad_flow0.data) {
      write(p.grad_flow0, n, 0, y, x, lane.gain[0] * sums[0].dx);
      write(p.grad_flow0, n, 1, y, x, lane.gain[0] * sums[0].dy);
    }
    if (p.grad_flow1.data) {
      write(p.grad_flow1, n, 0, y, x, lane.gain[1] * sums[1].dx);
      write(p.grad_flow1, n, 1, y, x, lane.gain[1] * sums[1].dy);
    }
    if (!wants_weights(p)) return;
    const Blend<V> k = blend_at<V>(p, n, y, x);
    const V zero = {}, s0 = sums[0].value, s1 = sums[1].value;
    V by_mask = s0 - s1, by_time = zero;
    if (p.timestep) {
      // Quotient rule; blended = grad * out.
      const auto nothing = k.den == zero;
      const V den = nothing ? zero + 1 : k.den, blended = lane.gain[0] * s0 + lane.gain[1] * s1;
      by_mask = nothing ? zero : ((1 - k.t) * (s0 - blended) - k.t * (s1 - blended)) / den;
      by_time = nothing ? s1 - s0 : ((1 - k.m) * (s1 - blended) - k.m * (s0 - blended)) / den;
    }
    if (p.mask_is_logits) by_mask *= k.m * (1 - k.m);
    if (p.grad_mask.data) write(p.grad_mask, n, 0, y, x, by_mask);
    if (p.grad_timestep) Lanes<V>::write(p.grad_timestep + (n * p.pair.h + y) * p.pair.w + x, 1, by_time);
  }
};

}  // namespace vfi
