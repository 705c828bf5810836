#include "../cpu/kernels.h"
#include "glue.h"
#ifdef VFI_WITH_CUDA
#include "../cuda/launch.h"
#endif

namespace vfi {

namespace {

using Tensors = std::vector<Tensor>;

struct Inputs {
  const Tensors& images;       // each [N, C, H, W], or [N, C, H + Kv - 1, W + Kh - 1] for "valid"
  const Tensors& verticals;    // each [N, Kv, H, W]
  const Tensors& horizontals;  // each [N, Kh, H, W]
  bool replicate;
  bool coarse;
};

// The size of the output.
Sizes check(const Inputs& in, std::string_view padding) {
  STD_TORCH_CHECK(padding == "valid" || padding == "replicate",
                  "vfi_kernels: padding must be valid or replicate");
  const size_t terms = in.images.size();
  STD_TORCH_CHECK(
      terms >= 1 && terms <= kMaxTerms && in.verticals.size() == terms && in.horizontals.size() == terms,
      "vfi_kernels: sepconv takes 1 to ", kMaxTerms, " images, each with its kernels");
  const Tensor& first = in.images[0];
  const Sizes taps = sizes_of(in.verticals[0]);
  const i64 n = taps[0], c = sizes_of(first)[1], h = taps[2], w = taps[3];
  for (size_t t = 0; t < terms; ++t) {
    const i64 kv = sizes_of(in.verticals[t])[1], kh = sizes_of(in.horizontals[t])[1];
    check_like("vertical", in.verticals[t], {n, kv, h, w}, first);
    check_like("horizontal", in.horizontals[t], {n, kh, h, w}, first);
    check_like("image", in.images[t], {n, c, in.replicate ? h : h + kv - 1, in.replicate ? w : w + kh - 1},
               first);
    STD_TORCH_CHECK(kv >= 1 && kh >= 1, "vfi_kernels: sepconv needs at least one tap");
    STD_TORCH_CHECK(in.images[t].scalar_type() == first.scalar_type() &&
                        in.verticals[t].scalar_type() == in.verticals[0].scalar_type() &&
                        in.horizontals[t].scalar_type() == in.verticals[0].scalar_type(),
                    "vfi_kernels: sepconv needs one dtype for images and one for taps");
  }
  return {n, c, h, w};
}

template <class T, class F>
SepconvParams<T, F> params_of(const Inputs& in, const Sizes& out) {
  SepconvParams<T, F> p = {};
  p.terms = int(in.images.size());
  p.n = int_of(out[0]);
  p.c = int_of(out[1]);
  p.h = int_of(out[2]);
  p.w = int_of(out[3]);
  p.coarse = in.coarse;
  for (int t = 0; t < p.terms; ++t) {
    SepconvTerm<T, F>& term = p.term[t];
    term.image = view<const T>(in.images[t]);
    term.vertical = view<const F>(in.verticals[t]);
    term.horizontal = view<const F>(in.horizontals[t]);
    term.kv = int_of(in.verticals[t].size(1));
    term.kh = int_of(in.horizontals[t].size(1));
    term.image_h = int_of(in.images[t].size(2));
    term.image_w = int_of(in.images[t].size(3));
    term.top = in.replicate ? (term.kv - 1) / 2 : 0;
    term.left = in.replicate ? (term.kh - 1) / 2 : 0;
  }
  return p;
}

// Cost of an output pixel, in pixels of a warp.
template <class T, class F>
i64 cost(const SepconvParams<T, F>& p) {
  return 1 + i64(p.term[0].kv) * p.term[0].kh * p.c * p.terms / 16;
}

template <class T, class F, class Body>
void on_tiles(const SepconvParams<T, F>& p, const Body& body) {
  on_cpu(i64(p.n) * tiles_of(p.w) * p.h, std::min(p.w, tile_columns(p.w)) * cost(p), body);
}

Tensor forward(const Tensors& images, const Tensors& verticals, const Tensors& horizontals,
               std::string_view padding, bool coarse) {
  const Inputs in = {images, verticals, horizontals, padding == "replicate", coarse};
  const Sizes size = check(in, padding);
  const Tensor& first = images[0];
  Tensor out = empty(first, size, first.scalar_type());
  if (is_empty(out)) return out;
  with_types(first.scalar_type(), verticals[0].scalar_type(), [&](auto image_type, auto taps_type) {
    using T = typename decltype(image_type)::type;
    using F = typename decltype(taps_type)::type;
    auto p = params_of<T, F>(in, size);
    p.out = view<T>(out);
#ifdef VFI_WITH_CUDA
    if (!first.is_cpu())
      return on_cuda(first, [&](void* stream) { return cuda::sepconv_forward(p, stream); });
#endif
    on_tiles(p, [&](i64 begin, i64 end) { sepconv_forward(p, begin, end); });
  });
  return out;
}

Tensors backward(const Tensor& grad, const Tensors& images, const Tensors& verticals,
                 const Tensors& horizontals, std::string_view padding, bool coarse, int64_t needs) {
  const Inputs in = {images, verticals, horizontals, padding == "replicate", coarse};
  const Sizes size = check(in, padding);
  const Tensor& first = images[0];
  check_like("grad", grad, size, first);
  STD_TORCH_CHECK(grad.scalar_type() == first.scalar_type(), "vfi_kernels: grad must have the images' dtype");
  Gradients grads(needs);
  std::vector<std::optional<Tensor>> wanted;
  for (size_t t = 0; t < images.size(); ++t) {
    wanted.push_back(grads.next(images[t], sum_dtype(first.scalar_type())));
    wanted.push_back(grads.next(verticals[t], verticals[t].scalar_type()));
    wanted.push_back(grads.next(horizontals[t], horizontals[t].scalar_type()));
  }
  if (is_empty(grad)) return grads.zeros();
  with_types(first.scalar_type(), verticals[0].scalar_type(), [&](auto image_type, auto taps_type) {
    using T = typename decltype(image_type)::type;
    using F = typename decltype(taps_type)::type;
    if constexpr (!std::is_same_v<T, u8>) {
      auto p = params_of<T, F>(in, size);
      p.grad_out = view<const T>(grad);
      for (int t = 0; t < p.terms; ++t) {
        p.term[t].grad_image = view<sum_t<T>>(wanted[3 * t]);
        p.term[t].grad_vertical = view<F>(wanted[3 * t + 1]);
        p.term[t].grad_horizontal = view<F>(wanted[3 * t + 2]);
      }
#ifdef VFI_WITH_CUDA
      if (!first.is_cpu())
        return on_cuda(first, [&](void* stream) { return cuda::sepconv_backward(p, stream); });
#endif
      on_tiles(p, [&](i64 begin, i64 end) { sepconv_backward_taps(p, begin, end); });
      for (p.selected = 0; p.selected < p.terms; ++p.selected)
        if (p.term[p.selected].grad_image.data)
          on_cpu(i64(p.n) * column_units(p.term[p.selected].image_w), kUnitColumns * cost(p) * p.h,
                 [&](i64 begin, i64 end) { sepconv_backward_image(p, begin, end); });
    } else {
      STD_TORCH_CHECK(false, "vfi_kernels: uint8 images have no gradient");
    }
  });
  return grads.results();
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("sepconv", TORCH_BOX(&forward));
  m.impl("_sepconv_backward", TORCH_BOX(&backward));
}
#ifdef VFI_WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CUDA, m) {
  m.impl("sepconv", TORCH_BOX(&forward));
  m.impl("_sepconv_backward", TORCH_BOX(&backward));
}
#endif

}  // namespace vfi
