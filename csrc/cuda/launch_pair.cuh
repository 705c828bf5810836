// Launches of the two-frame kernels.
#pragma once
#include "launch.cuh"
#include "pair.cuh"

namespace vfi::cuda {

template <class Op>
const char* pair_forward(const typename Op::Params& p, void* stream) {
  const dim3 grid = grid_of(p.pair.n, p.pair.h, p.pair.w);
  vfi::pair_forward<Op><<<grid, kThreads, 0, stream_of(stream)>>>(p);
  return error_of(cudaGetLastError());
}

template <class Op>
const char* pair_backward(const typename Op::Params& p, void* stream) {
  const dim3 grid = grid_of(p.pair.n, p.pair.h, p.pair.w);
  vfi::pair_backward<Op><<<grid, kThreads, 0, stream_of(stream)>>>(p);
  return error_of(cudaGetLastError());
}

}  // namespace vfi::cuda
