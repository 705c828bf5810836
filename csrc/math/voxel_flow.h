// voxel_flow, one pixel: the contract is in vfi_kernels/ops/voxel_flow.py.
#pragma once
#include "pair.h"

namespace vfi {

template <class T, class F>
struct VoxelFlowParams {
  FramePair<T> pair;
  View<const F> flow;  // [n, 3, h, w] dx, dy in pixels, dt in [0, 1]
  View<F> grad_flow;   // like flow; null where not wanted
  int extrapolate;     // read at -2 and -1 times the flow instead of -1 and +1
};

template <class T, class F>
struct VoxelFlow {
  using Image = T;
  using A = sum_t<T>;
  using Params = VoxelFlowParams<T, F>;

  // The inputs of a pixel beside the frames.
  template <class Fn>
  static VFI_FN void for_each_field(Params& p, Fn&& f) {
    f(p.flow);
  }

  static VFI_FN A step0(const Params& p) { return p.extrapolate ? A(-2) : A(-1); }
  static VFI_FN A step1(const Params& p) { return p.extrapolate ? A(-1) : A(1); }

  template <class V = A>
  static VFI_FN PairLane<V> lane(const Params& p, i64 n, i64 y, i64 x) {
    const V dx = read<V>(p.flow, n, 0, y, x), dy = read<V>(p.flow, n, 1, y, x);
    V dt = read<V>(p.flow, n, 2, y, x);
    dt = dt > V{} ? smaller(dt, V{} + 1) : V{};  // NaN counts as 0
    const V left = Lanes<V>::position(x), top = V{} + A(y);
    return {{left + step0(p) * dx, left + step1(p) * dx},
            {top + step0(p) * dy, top + step1(p) * dy},
            {1 - dt, dt}};
  }

  static VFI_FN bool wants_inputs(const Params& p) { return p.grad_flow.data != nullptr; }
  static VFI_FN bool wants_slopes(const Params& p, int) { return wants_inputs(p); }

  // sums: of both frames, over the channels.
  template <class V>
  static VFI_FN void finish(const Params& p, i64 n, i64 y, i64 x, const PairLane<V>& lane,
                            const Slope<V> (&sums)[2]) {
    if (!p.grad_flow.data) return;
    const V k0 = step0(p) * lane.gain[0], k1 = step1(p) * lane.gain[1];
    const V dt = read<V>(p.flow, n, 2, y, x), zero = {};
    write(p.grad_flow, n, 0, y, x, k0 * sums[0].dx + k1 * sums[1].dx);
    write(p.grad_flow, n, 1, y, x, k0 * sums[0].dy + k1 * sums[1].dy);
    write(p.grad_flow, n, 2, y, x, ((dt >= zero) & (dt <= zero + 1)) ? sums[1].value - sums[0].value : zero);
  }
};

}  // namespace vfi
