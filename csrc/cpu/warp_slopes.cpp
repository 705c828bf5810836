// Gradients of flows, mask, time step and dt, once for each instruction set.
#include "warp_slopes.h"

#include "kernels.h"

namespace vfi::VFI_VERSION {

template <class Op>
void pair_backward_inputs(const typename Op::Params& p, i64 begin, i64 end) {
  using T = typename Op::Image;
  const auto exact = [&](i64 n, int y, int x, int count) {
    pair_backward_inputs_block<Op>(p, n, y, x, count);
  };
  if constexpr (!std::is_same_v<T, f64>) {
    const typename Op::Params mine = p;  // see pair_forward
    const auto& q = mine.pair;
    const Source<T> sources[2] = {source_of(q.frame0, q.h, q.w, q.padding),
                                  source_of(q.frame1, q.h, q.w, q.padding)};
    const Layout layout = layout_of(sources[0], q.c);
    if (layout != Layout::kOther && layout == layout_of(sources[1], q.c)) {
      for (i64 row = begin; row < end; ++row) {
        const i64 n = row / q.h, frame = n / q.repeat;
        const int y = int(row % q.h);
        Source<T> in[2] = {sources[0], sources[1]};
        in[0].data = Op::wants_slopes(mine, 0) ? q.frame0.at(frame, 0, 0, 0) : nullptr;
        in[1].data = Op::wants_slopes(mine, 1) ? q.frame1.at(frame, 0, 0, 0) : nullptr;
        for (int start = 0; start < q.w; start += kPixels) {
          const int x = std::min(start, q.w - kPixels);
          const auto lane = Op::template lane<Reals>(mine, n, y, x);
          const Place places[2] = {place_at(lane.x[0], lane.y[0], in[0].h, in[0].w, in[0].padding),
                                   place_at(lane.x[1], lane.y[1], in[1].h, in[1].w, in[1].padding)};
          const auto grad_at = [&](int c) __attribute__((always_inline)) {
            return read<Reals>(q.grad_out, n, c, y, x);
          };
          Slope<Reals> sums[2];
          const Ints doubt = layout == Layout::kPlanar
                                 ? slopes_at<Layout::kPlanar>(in, places, q.c, x, grad_at, sums)
                                 : slopes_at<Layout::kRgb>(in, places, q.c, x, grad_at, sums);
          Op::finish(mine, n, y, x, lane, sums);
          if (__builtin_expect(sign_bits(doubt) != 0, 0)) exact(n, y, x, kPixels);
        }
      }
      return;
    }
  }
  for_each_block(begin, end, p.pair.h, p.pair.w, exact);
}

template <class F, class A>
void backwarp_backward_flow(const BackwarpParams<F, A>& p, i64 begin, i64 end) {
  const auto exact = [&](i64 n, int y, int x, int count) { backwarp_backward_flow_block(p, n, y, x, count); };
  if constexpr (sizeof(A) == sizeof(float)) {
    using Op = Backwarp<F, A>;
    const BackwarpParams<F, A> mine = p;
    const int h = mine.h, w = mine.w, padding = mine.padding, count = mine.count;
    Source<void> sources[kMaxImages];
    Layout layouts[kMaxImages];
    bool all = true;
    for (int k = 0; k < count; ++k) {
      sources[k] = source_of(mine.images[k].image, h, w, padding);
      layouts[k] = layout_of(sources[k], mine.images[k].channels);
      all &= layouts[k] != Layout::kOther;
    }
    if (all) {
      for (i64 row = begin; row < end; ++row) {
        const i64 n = row / h, frame = n / mine.repeat;
        const int y = int(row % h);
        for (int start = 0; start < w; start += kPixels) {
          const int x = std::min(start, w - kPixels);
          const Place places[1] = {place_at(Op::template x_at<Reals>(mine, n, y, x),
                                            Op::template y_at<Reals>(mine, n, y, x), h, w, padding)};
          Reals dx = {}, dy = {};
          Ints doubt = {};
          for (int k = 0; k < count; ++k) {
            const BackwarpImage<A>& image = mine.images[k];
            with_image_type<A>(image.dtype, [&](auto type) __attribute__((always_inline)) {
              using T = decltype(type);
              const Source<void>& s = sources[k];
              const Source<T> in[1] = {{typed<const T>(image.image).at(frame, 0, 0, 0), s.channel, s.row,
                                        s.pixel, s.extent, h, w, padding}};
              const auto grad_at = [&](int c) __attribute__((always_inline)) {
                return read<Reals>(typed<const T>(image.grad_out), n, c, y, x);
              };
              Slope<Reals> sums[1];
              doubt |= layouts[k] == Layout::kPlanar
                           ? slopes_at<Layout::kPlanar>(in, places, image.channels, x, grad_at, sums)
                           : slopes_at<Layout::kRgb>(in, places, image.channels, x, grad_at, sums);
              dx += sums[0].dx;
              dy += sums[0].dy;
            });
          }
          write(mine.grad_flow, n, 0, y, x, dx);
          write(mine.grad_flow, n, 1, y, x, dy);
          if (__builtin_expect(sign_bits(doubt) != 0, 0)) exact(n, y, x, kPixels);
        }
      }
      return;
    }
  }
  for_each_block(begin, end, p.h, p.w, exact);
}

#define VFI_PAIR(T, F)                                                                         \
  template void pair_backward_inputs<WarpBlend<T, F>>(const WarpBlendParams<T, F>&, i64, i64); \
  template void pair_backward_inputs<VoxelFlow<T, F>>(const VoxelFlowParams<T, F>&, i64, i64);
VFI_FOR_EACH_FLOAT_PAIR(VFI_PAIR)

#define VFI_BACKWARP_FLOW(F, A) \
  template void backwarp_backward_flow<F, A>(const BackwarpParams<F, A>&, i64, i64);
VFI_FOR_EACH_BACKWARP(VFI_BACKWARP_FLOW)

}  // namespace vfi::VFI_VERSION
