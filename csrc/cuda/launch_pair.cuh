// Launches of the two-frame kernels.
#pragma once
#include "choice.cuh"
#include "pair.cuh"
#include "tuned_pair.cuh"

namespace vfi::cuda {

template <class Op>
const char* pair_forward(const typename Op::Params& p, void* stream) {
  const auto& q = p.pair;
  const auto run = [&](auto kernel, dim3 grid) {
    kernel<<<grid, kThreads, 0, stream_of(stream)>>>(p);
    return error_of(cudaGetLastError());
  };
  if constexpr (sizeof(typename Op::A) == sizeof(float)) {
    const int step = step_of<Op>(p);
    const bool border = q.padding == kBorder;
    const dim3 tiles = tiles_of(q.n, q.h, q.w);
    if (step == 1 && border) return run(vfi::pair_forward_tuned<Op, 1, kBorder>, tiles);
    if (step == 1) return run(vfi::pair_forward_tuned<Op, 1, kZeros>, tiles);
    if (step == 3 && border) return run(vfi::pair_forward_tuned<Op, 3, kBorder>, tiles);
    if (step == 3) return run(vfi::pair_forward_tuned<Op, 3, kZeros>, tiles);
  }
  return run(vfi::pair_forward<Op>, grid_of(q.n, q.h, q.w));
}

template <class Op>
const char* pair_backward(const typename Op::Params& p, void* stream) {
  const dim3 grid = grid_of(p.pair.n, p.pair.h, p.pair.w);
  vfi::pair_backward<Op><<<grid, kThreads, 0, stream_of(stream)>>>(p);
  return error_of(cudaGetLastError());
}

}  // namespace vfi::cuda
