// Forward passes of warp_blend, voxel_flow and backwarp, once for each instruction set.
#include "kernels.h"
#include "warp_rgb.h"

namespace vfi::VFI_VERSION {

template <class Op>
void pair_forward(const typename Op::Params& p, i64 begin, i64 end) {
  using T = typename Op::Image;
  const auto exact = [&](i64 n, int y, int x, int count) { pair_forward_block<Op>(p, n, y, x, count); };
  if constexpr (!std::is_same_v<T, f64>) {
    const typename Op::Params mine =
        p;  // whose fields no store to a pixel can change, as far as the compiler knows
    const auto& q = mine.pair;
    const Source<T> sources[2] = {source_of(q.frame0, q.h, q.w, q.padding),
                                  source_of(q.frame1, q.h, q.w, q.padding)};
    const Layout layout = layout_of(q.out.x, q.out.c, q.c);
    if (layout != Layout::kOther && layout == layout_of(sources[0], q.c) &&
        layout == layout_of(sources[1], q.c)) {
      for (i64 row = begin; row < end; ++row) {
        const i64 n = row / q.h;
        const int y = int(row % q.h);
        Source<T> in[2] = {sources[0], sources[1]};
        in[0].data = q.frame0.at(n / q.repeat, 0, 0, 0);
        in[1].data = q.frame1.at(n / q.repeat, 0, 0, 0);
        const auto lane_at = [&](int x) __attribute__((always_inline)) {
          return Op::template lane<Reals>(mine, n, y, x);
        };
        const auto exact_at = [&](int x) { exact(n, y, x, kPixels); };
        T* out = q.out.at(n, 0, y, 0);
        if (layout == Layout::kPlanar)
          planar_row(in, q.c, q.w, out, q.out.c, lane_at, exact_at);
        else
          rgb_row(in, q.w, out, lane_at, exact_at);
      }
      return;
    }
  }
  for_each_block(begin, end, p.pair.h, p.pair.w, exact);
}

// One of the images of a call.
template <class T, class F>
void backwarp_rows(const BackwarpParams<F, float>& p, int k, i64 begin, i64 end) {
  using Op = Backwarp<F, float>;
  struct Lane {
    Reals x[1], y[1], gain[1];
  };
  const BackwarpParams<F, float> mine = p;
  const View<const T> image = typed<const T>(p.images[k].image);
  const View<T> out = typed<T>(p.images[k].out);
  const int channels = p.images[k].channels;
  const auto exact = [&](i64 n, int y, int x, int count) { backwarp_forward_block(p, k, n, y, x, count); };
  const Source<T> source = source_of(image, p.h, p.w, p.padding);
  const Layout layout = layout_of(source, channels);
  if (layout == Layout::kOther || layout != layout_of(out.x, out.c, channels))
    return for_each_block(begin, end, p.h, p.w, exact);
  for (i64 row = begin; row < end; ++row) {
    const i64 n = row / mine.h;
    const int y = int(row % mine.h);
    Source<T> in[1] = {source};
    in[0].data = image.at(n / mine.repeat, 0, 0, 0);
    const auto lane_at = [&](int x) __attribute__((always_inline)) {
      return Lane{{Op::template x_at<Reals>(mine, n, y, x)},
                  {Op::template y_at<Reals>(mine, n, y, x)},
                  {Reals{} + 1}};
    };
    const auto exact_at = [&](int x) { exact(n, y, x, kPixels); };
    if (layout == Layout::kPlanar)
      planar_row(in, channels, mine.w, out.at(n, 0, y, 0), out.c, lane_at, exact_at);
    else
      rgb_row(in, mine.w, out.at(n, 0, y, 0), lane_at, exact_at);
  }
}

template <class F, class A>
void backwarp_forward(const BackwarpParams<F, A>& p, i64 begin, i64 end) {
  for (int k = 0; k < p.count; ++k) {
    if constexpr (sizeof(A) == sizeof(double))
      for_each_block(begin, end, p.h, p.w,
                     [&](i64 n, int y, int x0, int count) { backwarp_forward_block(p, k, n, y, x0, count); });
    else
      with_image_type<A>(p.images[k].dtype,
                         [&](auto type) { backwarp_rows<decltype(type)>(p, k, begin, end); });
  }
}

#define VFI_WARP_BLEND(T, F) \
  template void pair_forward<WarpBlend<T, F>>(const WarpBlendParams<T, F>&, i64, i64);
VFI_FOR_EACH_PAIR(VFI_WARP_BLEND)

#define VFI_VOXEL_FLOW(T, F) \
  template void pair_forward<VoxelFlow<T, F>>(const VoxelFlowParams<T, F>&, i64, i64);
VFI_FOR_EACH_PAIR(VFI_VOXEL_FLOW)

#define VFI_BACKWARP(F, A) template void backwarp_forward<F, A>(const BackwarpParams<F, A>&, i64, i64);
VFI_FOR_EACH_BACKWARP(VFI_BACKWARP)

}  // namespace vfi::VFI_VERSION
