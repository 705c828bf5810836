// Launches of the frame gradients with sums in a fixed order.
#pragma once
#include <climits>

#include "launch.cuh"
#include "ordered.cuh"

namespace vfi::cuda {

// channels: of the frame that has the most.
template <class Reads>
const char* gather_frames(const typename Reads::Params& p, int channels, void* stream) {
  const auto& q = Reads::shape(p);
  const i64 tiles = reach_size(1, 1, q.h, q.w) / 4;
  const auto blocks = [&](i64 warps) {
    return static_cast<unsigned>(std::min<i64>((warps + kWarps - 1) / kWarps, INT_MAX));
  };
  const dim3 everywhere(blocks(Reads::kReaches * i64(q.n) * tiles));
  launch(vfi::frame_reach<Reads>, everywhere, p, stream);
  const dim3 targets(blocks(Reads::count(p) * i64(q.n / q.repeat) * tiles),
                     std::min((channels + kOrderedChannels - 1) / kOrderedChannels, kMaxGridYZ));
  launch(vfi::frame_gather<Reads>, targets, p, stream);
  return error_of(cudaGetLastError());
}

}  // namespace vfi::cuda
