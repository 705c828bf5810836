#include "../cpu/kernels.h"
#include "glue.h"
#ifdef VFI_WITH_CUDA
#include "../cuda/launch.h"
#endif

namespace vfi {

namespace {

struct BatchSizes {
  i64 n, h, w;
};

BatchSizes check(const std::vector<Tensor>& images, const Tensor& flow) {
  STD_TORCH_CHECK(!images.empty() && images.size() <= kMaxImages, "vfi_kernels: backwarp takes 1 to ",
                  kMaxImages, " images; got ", images.size());
  const Sizes f = sizes_of(flow);
  const i64 frames = sizes_of(images[0])[0];
  const bool in_double = images[0].scalar_type() == ScalarType::Double;
  for (const Tensor& image : images) {
    check_like("image", image, {frames, sizes_of(image)[1], f[2], f[3]}, flow);
    STD_TORCH_CHECK((image.scalar_type() == ScalarType::Double) == in_double,
                    "vfi_kernels: float64 images don't go together with others");
  }
  check_like("flow", flow, {f[0], 2, f[2], f[3]}, flow);
  repeat_of(f[0], frames);
  return {f[0], f[2], f[3]};
}

int dtype_of(const Tensor& t) {
  switch (t.scalar_type()) {
    case ScalarType::Float:
      return kF32;
    case ScalarType::Half:
      return kF16;
    case ScalarType::BFloat16:
      return kBF16;
    case ScalarType::Double:
      return kF64;
    default:
      break;
  }
  STD_TORCH_CHECK(false, "vfi_kernels: backwarp takes floating images");
  return -1;
}

// Calls f(Type<F>, Type<A>) for the types of flow and sums.
template <class Fn>
void with_flow_types(ScalarType flow, ScalarType sums, const Fn& f) {
  const bool in_double = sums == ScalarType::Double;
  if (flow == ScalarType::Float && !in_double) return f(Type<f32>{}, Type<f32>{});
  if (flow == ScalarType::Half && !in_double) return f(Type<f16>{}, Type<f32>{});
  if (flow == ScalarType::BFloat16 && !in_double) return f(Type<bf16>{}, Type<f32>{});
  if (flow == ScalarType::Float) return f(Type<f32>{}, Type<f64>{});
  if (flow == ScalarType::Double && in_double) return f(Type<f64>{}, Type<f64>{});
  STD_TORCH_CHECK(false, "vfi_kernels: these dtypes don't go together");
}

template <class F, class A>
BackwarpParams<F, A> params_of(const std::vector<Tensor>& images, const Tensor& flow, const BatchSizes& s,
                               std::string_view padding) {
  BackwarpParams<F, A> p = {};
  for (size_t k = 0; k < images.size(); ++k) {
    const Tensor& image = images[k];
    p.images[k].image = {image.const_data_ptr(), image.stride(0), image.stride(1), image.stride(2),
                         image.stride(3)};
    p.images[k].channels = int_of(image.size(1));
    p.images[k].dtype = dtype_of(image);
  }
  p.flow = view<const F>(flow);
  p.count = int(images.size());
  p.n = int_of(s.n);
  p.h = int_of(s.h);
  p.w = int_of(s.w);
  p.repeat = repeat_of(s.n, images[0].size(0));
  p.padding = padding_of(padding);
  return p;
}

// The cost of a row of all images, for on_cpu.
template <class F, class A>
i64 row_cost(const BackwarpParams<F, A>& p) {
  i64 channels = 0;
  for (int k = 0; k < p.count; ++k) channels += p.images[k].channels;
  return cost_of(p.w, channels);
}

std::vector<Tensor> forward(const std::vector<Tensor>& images,  // each [N, C, H, W]
                            const Tensor& flow,                 // [N * T, 2, H, W] dx, dy in pixels
                            std::string_view padding) {
  const BatchSizes s = check(images, flow);
  std::vector<Tensor> outs;
  for (const Tensor& image : images) {
    outs.push_back(empty(image, {s.n, image.size(1), s.h, s.w}, image.scalar_type()));
  }
  if (s.n == 0) return outs;
  with_flow_types(
      flow.scalar_type(), sum_dtype(images[0].scalar_type()), [&](auto flow_type, auto sums_type) {
        using F = typename decltype(flow_type)::type;
        using A = typename decltype(sums_type)::type;
        auto p = params_of<F, A>(images, flow, s, padding);
        for (size_t k = 0; k < outs.size(); ++k) p.images[k].out = view<void>(outs[k]);
#ifdef VFI_WITH_CUDA
        if (!flow.is_cpu())
          return on_cuda(flow, [&](void* stream) { return cuda::backwarp_forward(p, stream); });
#endif
        on_cpu(s.n * s.h, row_cost(p), [&](i64 begin, i64 end) { backwarp_forward(p, begin, end); });
      });
  return outs;
}

std::vector<Tensor> backward(const std::vector<Tensor>& grads_out, const std::vector<Tensor>& images,
                             const Tensor& flow, std::string_view padding, int64_t needs) {
  const BatchSizes s = check(images, flow);
  STD_TORCH_CHECK(grads_out.size() == images.size(), "vfi_kernels: backwarp needs a grad for each image");
  const ScalarType sums = sum_dtype(images[0].scalar_type());
  const bool zeroed = !flow.is_cpu() || s.n == 0;  // CUDA kernels add to them; without entries nobody writes
  Gradients grads(needs);
  std::vector<std::optional<Tensor>> grad_images;
  for (size_t k = 0; k < images.size(); ++k) {
    check_like("grad", grads_out[k], {s.n, images[k].size(1), s.h, s.w}, flow);
    STD_TORCH_CHECK(grads_out[k].scalar_type() == images[k].scalar_type(),
                    "vfi_kernels: grad must have the image's dtype");
    grad_images.push_back(grads.next(images[k], sums, zeroed));
  }
  const auto grad_flow = grads.next(flow, flow.scalar_type());
  if (s.n == 0) return grads.results();
  with_flow_types(flow.scalar_type(), sums, [&](auto flow_type, auto sums_type) {
    using F = typename decltype(flow_type)::type;
    using A = typename decltype(sums_type)::type;
    auto p = params_of<F, A>(images, flow, s, padding);
    for (size_t k = 0; k < images.size(); ++k) {
      p.images[k].grad_out = view<const void>(grads_out[k]);
      p.images[k].grad_image = view<A>(grad_images[k]);
    }
    p.grad_flow = view<F>(grad_flow);
#ifdef VFI_WITH_CUDA
    if (!flow.is_cpu())
      return on_cuda(flow, [&](void* stream) { return cuda::backwarp_backward(p, stream); });
#endif
    if (p.grad_flow.data)
      on_cpu(s.n * s.h, row_cost(p), [&](i64 begin, i64 end) { backwarp_backward_flow(p, begin, end); });
    if (!grads.wanted(0, p.count)) return;
    std::vector<Reach> reaches(s.n * s.h);
    on_cpu(s.n * s.h, s.w / kReachesAPixel,
           [&](i64 begin, i64 end) { backwarp_reaches(p, reaches.data(), begin, end); });
    for (int k = 0; k < p.count; ++k)
      if (p.images[k].grad_image.data)
        on_cpu(s.n / p.repeat * bands_of(p.h, p.w),
               cost_of(band_rows(p.w) * s.w * p.repeat, p.images[k].channels),
               [&](i64 begin, i64 end) { backwarp_backward_image(p, k, reaches.data(), begin, end); });
  });
  return grads.results();
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("backwarp", TORCH_BOX(&forward));
  m.impl("_backwarp_backward", TORCH_BOX(&backward));
}
#ifdef VFI_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CUDA, m) {
  m.impl("backwarp", TORCH_BOX(&forward));
  m.impl("_backwarp_backward", TORCH_BOX(&backward));
}
#endif

}  // namespace vfi
