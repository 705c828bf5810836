// Launches of the two-frame kernels.
#pragma once
#include "choice.cuh"
#include "launch_ordered.cuh"
#include "pair.cuh"
#include "tuned_pair.cuh"
#include "tuned_pair_backward.cuh"
#include "tuned_pair_channels.cuh"
#include "tuned_pair_wide.cuh"

namespace vfi::cuda {

template <class Op>
const char* pair_forward(const typename Op::Params& p, void* stream) {
  const auto& q = p.pair;
  if constexpr (sizeof(typename Op::A) == sizeof(float)) {
    const bool border = q.padding == kBorder;
    const Step step = step_of<Op>(p);
    const auto planar =
        border ? vfi::pair_forward_tuned<Op, 1, kBorder> : vfi::pair_forward_tuned<Op, 1, kZeros>;
    const auto rgb =
        border ? vfi::pair_forward_tuned<Op, 3, kBorder> : vfi::pair_forward_tuned<Op, 3, kZeros>;
    if (step == kWide)
      return run(vfi::pair_forward_wide<Op>, tiles_of(q.n, q.h, q.w, 1, kWideRows), p, stream);
    if (step) return run(step == kPlanar ? planar : rgb, tiles_of(q.n, q.h, q.w), p, stream);
  }
  return run(vfi::pair_forward<Op>, grid_of(q.n, q.h, q.w), p, stream);
}

template <class Op>
const char* pair_backward(const typename Op::Params& p, void* stream) {
  const auto& q = p.pair;
  if (q.reach) {
    if (q.grad_frame0.data || q.grad_frame1.data)
      if (const char* error = gather_frames<PairReads<Op>>(p, q.c, stream)) return error;
    typename Op::Params rest = p;
    rest.pair.grad_frame0 = rest.pair.grad_frame1 = {};
    rest.pair.reach = nullptr;
    return Op::wants_inputs(p) ? pair_backward<Op>(rest, stream) : nullptr;
  }
  if constexpr (sizeof(typename Op::A) == sizeof(float)) {
    const bool border = q.padding == kBorder;
    const Step step = step_of<Op>(p);
    const auto planar =
        border ? vfi::pair_backward_tuned<Op, 1, kBorder> : vfi::pair_backward_tuned<Op, 1, kZeros>;
    const auto rgb =
        border ? vfi::pair_backward_tuned<Op, 3, kBorder> : vfi::pair_backward_tuned<Op, 3, kZeros>;
    const dim3 tiles = tiles_of(q.n, q.h, q.w);
    if (step && q.c != kColours) return run(vfi::pair_backward_channels<Op>, tiles, p, stream);
    if (step) return run(step == kPlanar ? planar : rgb, tiles, p, stream);
  }
  return run(vfi::pair_backward<Op>, grid_of(q.n, q.h, q.w), p, stream);
}

}  // namespace vfi::cuda
