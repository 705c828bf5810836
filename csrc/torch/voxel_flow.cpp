#include "pair.h"

namespace vfi {

namespace {

bool extrapolates(std::string_view mode) {
  STD_TORCH_CHECK(mode == "interpolate" || mode == "extrapolate",
                  "vfi_kernels: mode must be interpolate or extrapolate");
  return mode == "extrapolate";
}

template <class T, class F>
VoxelFlowParams<T, F> params_of(const Tensor& frame0, const Tensor& frame1, const Tensor& flow,
                                const PairSizes& s, std::string_view mode, std::string_view padding) {
  VoxelFlowParams<T, F> p = {};
  p.pair = frame_pair<T>(frame0, frame1, s, padding);
  p.flow = view<const F>(flow);
  p.extrapolate = extrapolates(mode);
  return p;
}

Tensor forward(const Tensor& frame0,  // [N, C, H, W]
               const Tensor& frame1,  // [N, C, H, W]
               const Tensor& flow,    // [N * T, 3, H, W] dx, dy in pixels, dt in [0, 1]
               std::string_view mode, std::string_view padding) {
  const PairSizes s = check_pair(frame0, frame1, flow, 3);
  Tensor out = empty(frame0, {s.n, s.c, s.h, s.w}, frame0.scalar_type());
  if (is_empty(out)) return out;
  with_types(frame0.scalar_type(), flow.scalar_type(), [&](auto image_type, auto input_type) {
    using T = typename decltype(image_type)::type;
    using F = typename decltype(input_type)::type;
    auto p = params_of<T, F>(frame0, frame1, flow, s, mode, padding);
    p.pair.out = view<T>(out);
    run_forward<VoxelFlow<T, F>>(p, frame0);
  });
  return out;
}

std::vector<Tensor> backward(const Tensor& grad, const Tensor& frame0, const Tensor& frame1,
                             const Tensor& flow, std::string_view mode, std::string_view padding,
                             int64_t needs) {
  const PairSizes s = check_pair(frame0, frame1, flow, 3);
  check_like("grad", grad, {s.n, s.c, s.h, s.w}, frame0);
  STD_TORCH_CHECK(grad.scalar_type() == frame0.scalar_type(),
                  "vfi_kernels: grad must have the frames' dtype");
  const ScalarType sums = sum_dtype(frame0.scalar_type());
  const bool zeroed = !frame0.is_cpu();  // CUDA kernels add to them
  Gradients grads(needs);
  const auto grad_frame0 = grads.next(frame0, sums, zeroed), grad_frame1 = grads.next(frame1, sums, zeroed);
  const auto grad_flow = grads.next(flow, flow.scalar_type());
  if (is_empty(grad)) return grads.zeros();
  with_types(frame0.scalar_type(), flow.scalar_type(), [&](auto image_type, auto input_type) {
    using T = typename decltype(image_type)::type;
    using F = typename decltype(input_type)::type;
    if constexpr (!std::is_same_v<T, u8>) {
      auto p = params_of<T, F>(frame0, frame1, flow, s, mode, padding);
      p.pair.grad_out = view<const T>(grad);
      p.pair.grad_frame0 = view<sum_t<T>>(grad_frame0);
      p.pair.grad_frame1 = view<sum_t<T>>(grad_frame1);
      p.grad_flow = view<F>(grad_flow);
      run_backward<VoxelFlow<T, F>>(p, frame0, grads);
    } else {
      STD_TORCH_CHECK(false, "vfi_kernels: uint8 frames have no gradient");
    }
  });
  return grads.results();
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("voxel_flow", TORCH_BOX(&forward));
  m.impl("_voxel_flow_backward", TORCH_BOX(&backward));
}
#ifdef VFI_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CUDA, m) {
  m.impl("voxel_flow", TORCH_BOX(&forward));
  m.impl("_voxel_flow_backward", TORCH_BOX(&backward));
}
#endif

}  // namespace vfi
