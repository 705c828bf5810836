// Gradients of flows, mask, time step and dt, once for each instruction set.
#include "kernels.h"
#include "warp_slopes_wide.h"

namespace vfi::VFI_VERSION {

// Frames with many channels. A function of its own: GCC keeps what it hands on by reference in memory, in the
// loops for few channels as well.
template <class Op>
__attribute__((noinline)) void pair_backward_wide_inputs(const typename Op::Params& p, i64 begin, i64 end) {
  using T = typename Op::Image;
  const auto& q = p.pair;
  Source<T> in[2] = {source_of(q.frame0, q.h, q.w, q.padding), source_of(q.frame1, q.h, q.w, q.padding)};
  const Layout layout = layout_of(in, q.c);
  for (i64 row = begin; row < end; ++row) {
    const i64 n = row / q.h, frame = n / q.repeat;
    const int y = int(row % q.h);
    in[0].data = Op::wants_slopes(p, 0) ? q.frame0.at(frame, 0, 0, 0) : nullptr;
    in[1].data = Op::wants_slopes(p, 1) ? q.frame1.at(frame, 0, 0, 0) : nullptr;
    const GradRow<T> grad = {q.grad_out.at(n, 0, y, 0), q.grad_out.c, q.grad_out.x};
    const auto lane_at = [&](int x) { return Op::template lane<Reals>(p, n, y, x); };
    for_each_piece<2>(
        q.w,
        [&](int x, Place(&places)[2]) {
          const auto lane = lane_at(x);
          for (int k = 0; k < 2; ++k) places[k] = place_at(lane.x[k], lane.y[k], q.h, q.w, q.padding);
        },
        [&](Piece<2>* pieces, int count) { add_channels(in, layout, q.c, grad, pieces, count); },
        [&](int x, Slope<Reals>(&sums)[2], Ints doubt) {
          Op::finish(p, n, y, x, lane_at(x), sums);
          if (sign_bits(doubt) != 0) pair_backward_inputs_block<Op>(p, n, y, x, kPixels);
        });
  }
}

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
    const Layout layout = layout_of(sources, q.c);
    if (layout != Layout::kOther) {
      if (is_wide(layout, q.c)) return pair_backward_wide_inputs<Op>(p, begin, end);
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
          const Ints doubt =
              layout == Layout::kPlanar ? slopes_at<Layout::kPlanar>(in, places, q.c, x, grad_at, sums)
              : layout == Layout::kRgb  ? slopes_at<Layout::kRgb>(in, places, kColours, x, grad_at, sums)
                                        : slopes_at<Layout::kMixed>(in, places, kColours, x, grad_at, sums);
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
    bool all = true, wide = count > 1;
    for (int k = 0; k < count; ++k) {
      const int channels = mine.images[k].channels;
      const Source<void> source[1] = {source_of(mine.images[k].image, h, w, padding)};
      sources[k] = source[0];
      layouts[k] = layout_of(source, channels);
      all &= layouts[k] != Layout::kOther;
      wide |= is_wide(layouts[k], channels);
    }
    if (all) {
      for (i64 row = begin; row < end; ++row) {
        const i64 n = row / h, frame = n / mine.repeat;
        const int y = int(row % h);
        const auto places_at = [&](int x, Place(&places)[1]) __attribute__((always_inline)) {
          places[0] = place_at(Op::template x_at<Reals>(mine, n, y, x),
                               Op::template y_at<Reals>(mine, n, y, x), h, w, padding);
        };
        const auto finish = [&](int x, Slope<Reals>(&sums)[1], Ints doubt) __attribute__((always_inline)) {
          write(mine.grad_flow, n, 0, y, x, sums[0].dx);
          write(mine.grad_flow, n, 1, y, x, sums[0].dy);
          if (__builtin_expect(sign_bits(doubt) != 0, 0)) exact(n, y, x, kPixels);
        };
        // body(source, gradient) of image k.
        const auto with_image = [&](int k, const auto& body) __attribute__((always_inline)) {
          const BackwarpImage<A>& image = mine.images[k];
          with_image_type<A>(image.dtype, [&](auto type) __attribute__((always_inline)) {
            using T = decltype(type);
            const Source<void>& s = sources[k];
            const Source<T> in[1] = {{typed<const T>(image.image).at(frame, 0, 0, 0), s.channel, s.row,
                                      s.pixel, s.extent, h, w, padding}};
            const View<const T> grad = typed<const T>(image.grad_out);
            body(in, GradRow<T>{grad.at(n, 0, y, 0), grad.c, grad.x});
          });
        };
        if (wide) {
          for_each_piece<1>(
              w, places_at,
              [&](Piece<1>* pieces, int pieces_count) {
                for (int k = 0; k < count; ++k)
                  with_image(k, [&](const auto& in, const auto& grad) {
                    add_channels(in, layouts[k], mine.images[k].channels, grad, pieces, pieces_count);
                  });
              },
              finish);
          continue;
        }
        with_image(0, [&](const auto& in, const auto& grad) __attribute__((always_inline)) {
          for (int start = 0; start < w; start += kPixels) {
            const int x = std::min(start, w - kPixels);
            Place places[1];
            places_at(x, places);
            const auto grad_at = [&](int c) __attribute__((always_inline)) {
              return Lanes<Reals>::read(grad.data + c * grad.channel + x * grad.pixel, grad.pixel);
            };
            Slope<Reals> sums[1];
            const int channels = mine.images[0].channels;
            const Ints doubt = layouts[0] == Layout::kPlanar
                                   ? slopes_at<Layout::kPlanar>(in, places, channels, x, grad_at, sums)
                                   : slopes_at<Layout::kRgb>(in, places, channels, x, grad_at, sums);
            finish(x, sums, doubt);
          }
        });
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
