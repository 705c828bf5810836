// Kernels of backwarp: one thread a position, which samples every image of the list there.
#pragma once
#include "../math/backwarp.h"
#include "pair.cuh"

namespace vfi {

template <class F, class A>
__global__ void __launch_bounds__(kThreads, kLightBlocks) backwarp_forward(const BackwarpParams<F, A> p) {
  using Op = Backwarp<F, A>;
  for_each_pixel(p.n, p.h, p.w, [&](i64 n, i64 y, int x) {
    const A px = Op::x_at(p, n, y, x), py = Op::y_at(p, n, y, x);
    for (int k = 0; k < p.count; ++k) {
      const BackwarpImage<A>& image = p.images[k];
      const auto taps = taps_at(px, py, p.h, p.w, p.padding, image.image.y, image.image.x);
      with_image_type<A>(image.dtype, [&](auto type) {
        using T = decltype(type);
        const View<const T> in = typed<const T>(image.image);
        const View<T> out = typed<T>(image.out);
        for (int c = 0; c < image.channels; ++c)
          store(out.at(n, c, y, x), sample(in.at(n / p.repeat, c, 0, 0), taps));
      });
    }
  });
}

// Every grad_image must be zero before.
template <class F, class A>
__global__ void __launch_bounds__(kThreads) backwarp_backward(const BackwarpParams<F, A> p) {
  using Op = Backwarp<F, A>;
  for_each_pixel(p.n, p.h, p.w, [&](i64 n, i64 y, int x) {
    const A px = Op::x_at(p, n, y, x), py = Op::y_at(p, n, y, x);
    A dx = 0, dy = 0;
    for (int k = 0; k < p.count; ++k) {
      const BackwarpImage<A>& image = p.images[k];
      with_image_type<A>(image.dtype, [&](auto type) {
        using T = decltype(type);
        const View<const T> in = typed<const T>(image.image), grad_out = typed<const T>(image.grad_out);
        if (p.grad_flow.data) {
          const auto taps = taps_at(px, py, p.h, p.w, p.padding, in.y, in.x);
          for (int c = 0; c < image.channels; ++c) {
            const A grad = number<A>(*grad_out.at(n, c, y, x));
            const Slope<A> s = sample_slope(in.at(n / p.repeat, c, 0, 0), taps);
            dx += grad * s.dx;
            dy += grad * s.dy;
          }
        }
        if (image.grad_image.data) {
          const auto taps = taps_at(px, py, p.h, p.w, p.padding, image.grad_image.y, image.grad_image.x);
          for (int c = 0; c < image.channels; ++c)
            scatter(image.grad_image.at(n / p.repeat, c, 0, 0), taps, number<A>(*grad_out.at(n, c, y, x)));
        }
      });
    }
    if (!p.grad_flow.data) return;
    store(p.grad_flow.at(n, 0, y, x), dx);
    store(p.grad_flow.at(n, 1, y, x), dy);
  });
}

}  // namespace vfi
