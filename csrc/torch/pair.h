// What the torch side of the two-frame operations shares.
#pragma once
#include "../cpu/kernels.h"
#include "glue.h"
#ifdef VFI_WITH_CUDA
#include "../cuda/launch.h"
#endif

namespace vfi {

struct PairSizes {
  i64 n, c, h, w;
};

inline PairSizes check_pair(const Tensor& frame0, const Tensor& frame1, const Tensor& flow,
                            i64 flow_channels) {
  const Sizes s = sizes_of(frame0);
  check_like("frame1", frame1, s, frame0);
  STD_TORCH_CHECK(frame1.scalar_type() == frame0.scalar_type(), "vfi_kernels: frames must have one dtype");
  const i64 n = sizes_of(flow)[0];
  check_like("the flow", flow, {n, flow_channels, s[2], s[3]}, frame0);
  repeat_of(n, s[0]);
  return {n, s[1], s[2], s[3]};
}

template <class T>
FramePair<T> frame_pair(const Tensor& frame0, const Tensor& frame1, const PairSizes& s,
                        std::string_view padding) {
  FramePair<T> pair = {};
  pair.frame0 = view<const T>(frame0);
  pair.frame1 = view<const T>(frame1);
  pair.n = int_of(s.n);
  pair.c = int_of(s.c);
  pair.h = int_of(s.h);
  pair.w = int_of(s.w);
  pair.repeat = repeat_of(s.n, frame0.size(0));
  pair.padding = padding_of(padding);
  return pair;
}

template <class Op>
void run_forward(const typename Op::Params& p, [[maybe_unused]] const Tensor& frame0) {
#ifdef VFI_WITH_CUDA
  if (!frame0.is_cpu())
    return on_cuda(frame0, [&](void* stream) { return cuda::pair_forward<Op>(p, stream); });
#endif
  on_cpu(i64(p.pair.n) * p.pair.h, cost_of(p.pair.w, p.pair.c),
         [&](i64 begin, i64 end) { pair_forward<Op>(p, begin, end); });
}

template <class Op>
void run_backward(const typename Op::Params& p, [[maybe_unused]] const Tensor& frame0) {
#ifdef VFI_WITH_CUDA
  if (!frame0.is_cpu())
    return on_cuda(frame0, [&](void* stream) { return cuda::pair_backward<Op>(p, stream); });
#endif
  const auto& q = p.pair;
  if (Op::wants_inputs(p))
    on_cpu(i64(q.n) * q.h, cost_of(q.w, q.c),
           [&](i64 begin, i64 end) { pair_backward_inputs<Op>(p, begin, end); });
  if (!q.grad_frame0.data && !q.grad_frame1.data) return;
  std::vector<Reach> reaches(2 * i64(q.n) * q.h);
  on_cpu(i64(q.n) * q.h, q.w / kReachesAPixel,
         [&](i64 begin, i64 end) { pair_reaches<Op>(p, reaches.data(), begin, end); });
  on_cpu(q.n / q.repeat * i64(bands_of(q.h, q.w)) * 2, cost_of(i64(band_rows(q.w)) * q.w * q.repeat, q.c),
         [&](i64 begin, i64 end) { pair_backward_frames<Op>(p, reaches.data(), begin, end); });
}

}  // namespace vfi
