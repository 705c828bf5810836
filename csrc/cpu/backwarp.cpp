// The general loops of backwarp, for any layout and dtype.
#include "pair.h"

namespace vfi {

namespace {

template <class F, class A>
void locate(const BackwarpParams<F, A>& p, i64 n, int y, int x0, int count, i64 stride_y, i64 stride_x,
            Taps<A>* taps) {
  using Op = Backwarp<F, A>;
  for (int i = 0; i < count; ++i)
    taps[i] = taps_at(Op::x_at(p, n, y, x0 + i), Op::y_at(p, n, y, x0 + i), p.h, p.w, p.padding, stride_y,
                      stride_x);
}

}  // namespace

template <class F, class A>
void backwarp_forward_block(const BackwarpParams<F, A>& p, int k, i64 n, int y, int x0, int count) {
  const BackwarpImage<A>& image = p.images[k];
  Taps<A> taps[kBlock];
  locate(p, n, y, x0, count, image.image.y, image.image.x, taps);
  with_image_type<A>(image.dtype, [&](auto type) {
    using T = decltype(type);
    const View<const T> in = typed<const T>(image.image);
    const View<T> out = typed<T>(image.out);
    for (int c = 0; c < image.channels; ++c) {
      const T* plane = in.at(n / p.repeat, c, 0, 0);
      T* row = out.at(n, c, y, x0);
      for (int i = 0; i < count; ++i, row += out.x) store(row, sample(plane, taps[i]));
    }
  });
}

template <class F, class A>
void backwarp_backward_flow_block(const BackwarpParams<F, A>& p, i64 n, int y, int x0, int count) {
  Taps<A> taps[kBlock];
  A dx[kBlock] = {}, dy[kBlock] = {};
  for (int k = 0; k < p.count; ++k) {
    const BackwarpImage<A>& image = p.images[k];
    locate(p, n, y, x0, count, image.image.y, image.image.x, taps);
    with_image_type<A>(image.dtype, [&](auto type) {
      using T = decltype(type);
      const View<const T> in = typed<const T>(image.image), grad_out = typed<const T>(image.grad_out);
      for (int c = 0; c < image.channels; ++c) {
        const T* plane = in.at(n / p.repeat, c, 0, 0);
        for (int i = 0; i < count; ++i) {
          const A grad = number<A>(*grad_out.at(n, c, y, x0 + i));
          const Slope<A> s = sample_slope(plane, taps[i]);
          dx[i] += grad * s.dx;
          dy[i] += grad * s.dy;
        }
      }
    });
  }
  for (int i = 0; i < count; ++i) {
    store(p.grad_flow.at(n, 0, y, x0 + i), dx[i]);
    store(p.grad_flow.at(n, 1, y, x0 + i), dy[i]);
  }
}

#define VFI_INSTANTIATE(F, A)                                                                       \
  template void backwarp_forward_block<F, A>(const BackwarpParams<F, A>&, int, i64, int, int, int); \
  template void backwarp_backward_flow_block<F, A>(const BackwarpParams<F, A>&, i64, int, int, int);
VFI_FOR_EACH_BACKWARP(VFI_INSTANTIATE)

}  // namespace vfi
