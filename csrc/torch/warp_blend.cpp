#include "pair.h"

namespace vfi {

namespace {

struct Inputs {
  const Tensor& frame0;                   // [N, C, H, W]
  const Tensor& frame1;                   // [N, C, H, W]
  const Tensor& flow0;                    // [N * T, 2, H, W] dx, dy in pixels
  const Tensor& flow1;                    // [N * T, 2, H, W]
  const Tensor& mask;                     // [N * T, 1, H, W]
  const std::optional<Tensor>& timestep;  // [N * T] in the sums' dtype
};

PairSizes check(const Inputs& in) {
  const PairSizes s = check_pair(in.frame0, in.frame1, in.flow0, 2);
  check_like("flow1", in.flow1, {s.n, 2, s.h, s.w}, in.frame0);
  check_like("mask", in.mask, {s.n, 1, s.h, s.w}, in.frame0);
  STD_TORCH_CHECK(
      in.flow1.scalar_type() == in.flow0.scalar_type() && in.mask.scalar_type() == in.flow0.scalar_type(),
      "vfi_kernels: flows and mask must have one dtype");
  if (in.timestep) {
    const Tensor& t = *in.timestep;
    STD_TORCH_CHECK(t.dim() == 1 && t.size(0) == s.n && t.is_contiguous() &&
                        t.device() == in.frame0.device() &&
                        t.scalar_type() == sum_dtype(in.frame0.scalar_type()),
                    "vfi_kernels: timestep must be a contiguous [N] tensor in the dtype of the sums");
  }
  return s;
}

template <class T, class F>
WarpBlendParams<T, F> params_of(const Inputs& in, const PairSizes& s, bool mask_is_logits,
                                std::string_view padding) {
  WarpBlendParams<T, F> p = {};
  p.pair = frame_pair<T>(in.frame0, in.frame1, s, padding);
  p.flow0 = view<const F>(in.flow0);
  p.flow1 = view<const F>(in.flow1);
  p.mask = view<const F>(in.mask);
  if (in.timestep) p.timestep = static_cast<const sum_t<T>*>(in.timestep->const_data_ptr());
  p.mask_is_logits = mask_is_logits;
  return p;
}

Tensor forward(const Tensor& frame0, const Tensor& frame1, const Tensor& flow0, const Tensor& flow1,
               const Tensor& mask, std::optional<Tensor> timestep, bool mask_is_logits,
               std::string_view padding) {
  const Inputs in = {frame0, frame1, flow0, flow1, mask, timestep};
  const PairSizes s = check(in);
  Tensor out = empty(frame0, {s.n, s.c, s.h, s.w}, frame0.scalar_type());
  if (is_empty(out)) return out;
  with_types(frame0.scalar_type(), flow0.scalar_type(), [&](auto image, auto input) {
    using Op = WarpBlend<typename decltype(image)::type, typename decltype(input)::type>;
    auto p = params_of<typename decltype(image)::type, typename decltype(input)::type>(in, s, mask_is_logits,
                                                                                       padding);
    p.pair.out = view<typename Op::Image>(out);
    run_forward<Op>(p, frame0);
  });
  return out;
}

std::vector<Tensor> backward(const Tensor& grad, const Tensor& frame0, const Tensor& frame1,
                             const Tensor& flow0, const Tensor& flow1, const Tensor& mask,
                             std::optional<Tensor> timestep, bool mask_is_logits, std::string_view padding,
                             int64_t needs) {
  const Inputs in = {frame0, frame1, flow0, flow1, mask, timestep};
  const PairSizes s = check(in);
  check_like("grad", grad, {s.n, s.c, s.h, s.w}, frame0);
  STD_TORCH_CHECK(grad.scalar_type() == frame0.scalar_type(),
                  "vfi_kernels: grad must have the frames' dtype");
  const ScalarType sums = sum_dtype(frame0.scalar_type()), input = flow0.scalar_type();
  const bool zeroed = !frame0.is_cpu();  // CUDA kernels add to them
  Gradients grads(needs);
  const auto grad_frame0 = grads.next(frame0, sums, zeroed), grad_frame1 = grads.next(frame1, sums, zeroed);
  const auto grad_flow0 = grads.next(flow0, input), grad_flow1 = grads.next(flow1, input);
  const auto grad_mask = grads.next(mask, input);
  const Tensor scalar =
      torch::stable::new_empty(mask, {0}, std::make_optional(sums));  // contiguous, to be followed
  const auto grad_timestep = grads.next(scalar, {s.n, 1, s.h, s.w}, sums, false);
  if (is_empty(grad)) return grads.zeros();
  with_types(frame0.scalar_type(), input, [&](auto image_type, auto input_type) {
    using T = typename decltype(image_type)::type;
    using F = typename decltype(input_type)::type;
    if constexpr (!std::is_same_v<T, u8>) {
      auto p = params_of<T, F>(in, s, mask_is_logits, padding);
      p.pair.grad_out = view<const T>(grad);
      p.pair.grad_frame0 = view<sum_t<T>>(grad_frame0);
      p.pair.grad_frame1 = view<sum_t<T>>(grad_frame1);
      p.grad_flow0 = view<F>(grad_flow0);
      p.grad_flow1 = view<F>(grad_flow1);
      p.grad_mask = view<F>(grad_mask);
      p.grad_timestep = view<sum_t<T>>(grad_timestep).data;
      run_backward<WarpBlend<T, F>>(p, frame0, grads);
    } else {
      STD_TORCH_CHECK(false, "vfi_kernels: uint8 frames have no gradient");
    }
  });
  return grads.results();
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("warp_blend", TORCH_BOX(&forward));
  m.impl("_warp_blend_backward", TORCH_BOX(&backward));
}
#ifdef VFI_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CUDA, m) {
  m.impl("warp_blend", TORCH_BOX(&forward));
  m.impl("_warp_blend_backward", TORCH_BOX(&backward));
}
#endif

}  // namespace vfi
