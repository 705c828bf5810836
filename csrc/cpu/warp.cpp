// Forward passes of warp_blend, voxel_flow and backwarp, once for each instruction set.
#include "kernels.h"
#include "warp_pixels.h"
#include "warp_tight.h"

namespace vfi::VFI_VERSION {

namespace {

// Whether images and output have two to four channels side by side and nothing between pixels.
template <int K>
bool is_tight(const Row<K>& row) {
  const int c = row.channels;
  bool tight = row.layout == Layout::kRgb || (row.layout == Layout::kPixels && c <= 4);
  tight &= row.pixel == c && row.channel == 1;
  for (const Source<void>& in : row.in) tight &= in.pixel == c;
  return tight;
}

// Whether rows are taken vector by vector instead of in spans.
template <int K>
bool is_narrow(const Row<K>& row) {
  if (row.layout == Layout::kPlanar) return row.pixel == 1 && row.channels <= kColours;
  return row.layout == Layout::kRgb || row.layout == Layout::kMixed || is_tight(row);
}

// What writes the spans of other rows; null where only the general loops can.
template <class T, int K>
Sampler<K> sampler_of(const Row<K>& row) {
  if (row.layout == Layout::kPlanar && row.pixel == 1) return sample_planar<T, K>;
  if (row.layout != Layout::kPixels) return nullptr;
  if (row.channels >= kPixels) return sample_pixels<kPixels, T, K>;
  if constexpr (kPixels > 8)
    if (row.channels >= 8) return sample_pixels<8, T, K>;
  return row.channels >= 4 ? sample_pixels<4, T, K> : sample_pixels<2, T, K>;
}

// Runs a loop in a function of its own, and by value, so that no store to a pixel can change what it was
// given. Several in one function share its registers: a change to one moved the others' times by a tenth.
template <class Loop>
__attribute__((noinline)) int apart(Loop loop) {
  return loop();
}

template <class T, int K, class At, class Exact>
VFI_FN int narrow_row(const Row<K>& row, int begin, int end, int w, const At& at, const Exact& exact) {
  const Sources<T, K> sources(row);
  const Target<T> out = {static_cast<T*>(row.out), row.channel, row.pixel};
  const int channels = row.channels;
  if (row.layout == Layout::kPlanar)
    return apart([=]() __attribute__((always_inline)) {
      return planar_row<Layout::kPlanar>(sources.in, channels, begin, end, w, out, at, exact);
    });
  if (!is_tight(row))
    return apart([=]() __attribute__((always_inline)) {
      return planar_row<Layout::kMixed>(sources.in, kColours, begin, end, w, out, at, exact);
    });
  const auto tight = [&](auto c) __attribute__((always_inline)) {
    return apart([=]() __attribute__((always_inline)) {
      return tight_row<c()>(sources.in, begin, end, w, out.data, at, exact);
    });
  };
  if (channels == 2) return tight(std::integral_constant<int, 2>{});
  if (channels == 3) return tight(std::integral_constant<int, 3>{});
  return tight(std::integral_constant<int, 4>{});
}

// How many of the kPixels pixels from column x on are not written by the row's last vector, which overlaps
// the one before it. That one has the last word whatever the order, so that no result depends on where a span
// or a thread's rows end.
VFI_FN int own_pixels(int x, int w) { return x < w - kPixels ? std::min(kPixels, w - kPixels - x) : kPixels; }

// Calls body(x) for the vectors of a span that the bits of `again` name.
template <int K, class Body>
void for_each_of(u32 again, const Span<K>& span, const Body& body) {
  for (int v = 0; again; ++v, again >>= 1)
    if (again & 1) body(span.vectors[v].x);
}

}  // namespace

template <class Op>
void pair_forward(const typename Op::Params& p, i64 begin, i64 end) {
  using T = typename Op::Image;
  const auto exact = [&](i64 n, int y, int x, int count) { pair_forward_block<Op>(p, n, y, x, count); };
  if constexpr (!std::is_same_v<T, f64>) {
    const typename Op::Params mine =
        p;  // whose fields no store to a pixel can change, as far as the compiler knows
    const auto& q = mine.pair;
    const auto source = [&](const auto& frame) {
      return source_of(typed<const void>(frame), q.h, q.w, q.padding);
    };
    const Source<void> sources[2] = {source(q.frame0), source(q.frame1)};
    Row<2> row = {{sources[0], sources[1]}, nullptr, q.out.c, q.out.x, q.c, layout_of(sources, q.c)};
    const bool narrow = is_narrow(row);
    const Sampler<2> sample = sampler_of<T>(row);
    if (narrow || sample) {
      for_each_strip(begin, end, q.h, q.w, 2 * q.c * sizeof(T), [&](i64 n, int y, int first, int last) {
        row.in[0].data = q.frame0.at(n / q.repeat, 0, 0, 0);
        row.in[1].data = q.frame1.at(n / q.repeat, 0, 0, 0);
        row.out = q.out.at(n, 0, y, 0);
        const auto lane_at = [mine, n, y](int x) __attribute__((always_inline)) {
          return Op::template lane<Reals>(mine, n, y, x);
        };
        const auto exact_at = [&](int x) { exact(n, y, x, own_pixels(x, q.w)); };
        if (narrow) return narrow_row<T>(row, first, last, q.w, lane_at, exact_at);
        return for_each_span(row.in, first, last, q.w, lane_at,
                             [&](const Span<2>& span) { for_each_of(sample(row, span), span, exact_at); });
      });
      return;
    }
  }
  for_each_block(begin, end, p.pair.h, p.pair.w, exact);
}

// Where a vector of backwarp reads: PairLane for one image.
struct BackwarpLane {
  Reals x[1], y[1], gain[1];
};
template <class F>
VFI_FN BackwarpLane lane_of(const BackwarpParams<F, float>& p, i64 n, int y, int x) {
  using Op = Backwarp<F, float>;
  return {{Op::template x_at<Reals>(p, n, y, x)}, {Op::template y_at<Reals>(p, n, y, x)}, {Reals{} + 1}};
}

// Where the row y of entry n of image k is, in it and in its output.
template <class F>
void move_to(Row<1>& row, const BackwarpParams<F, float>& p, int k, i64 n, int y) {
  with_image_type<float>(p.images[k].dtype, [&](auto type) {
    using T = decltype(type);
    row.in[0].data = typed<const T>(p.images[k].image).at(n / p.repeat, 0, 0, 0);
    row.out = typed<T>(p.images[k].out).at(n, 0, y, 0);
  });
}

// Image k, whose rows are narrow.
template <class T, class F>
void backwarp_narrow(const BackwarpParams<F, float>& p, Row<1> row, int k, i64 begin, i64 end) {
  for_each_strip(begin, end, p.h, p.w, row.channels * sizeof(T), [&](i64 n, int y, int first, int last) {
    move_to(row, p, k, n, y);
    return narrow_row<T>(
        row, first, last, p.w,
        [p, n, y](int x) __attribute__((always_inline)) { return lane_of(p, n, y, x); },
        [&](int x) { backwarp_forward_block(p, k, n, y, x, own_pixels(x, p.w)); });
  });
}

// The images of a list whose planes have the same strides, located once for all.
struct ImageGroup {
  int count = 0;
  i64 bytes = 0;  // of a pixel of all
  int image[kMaxImages];
  Row<1> rows[kMaxImages];
  Sampler<1> samplers[kMaxImages];
  template <class T>
  void add(int k, const Row<1>& row, Sampler<1> sampler) {
    image[count] = k;
    rows[count] = row;
    samplers[count++] = sampler;
    bytes += row.channels * sizeof(T);
  }
};

template <class F>
void backwarp_group(const BackwarpParams<F, float>& p, ImageGroup& group, i64 begin, i64 end) {
  for_each_strip(begin, end, p.h, p.w, group.bytes, [&](i64 n, int y, int first, int last) {
    for (int j = 0; j < group.count; ++j) move_to(group.rows[j], p, group.image[j], n, y);
    const auto lane_at = [&](int x) __attribute__((always_inline)) { return lane_of(p, n, y, x); };
    const auto sample = [&](const Span<1>& span) {
      for (int j = 0; j < group.count; ++j)
        for_each_of(group.samplers[j](group.rows[j], span), span,
                    [&](int x) { backwarp_forward_block(p, group.image[j], n, y, x, own_pixels(x, p.w)); });
    };
    return for_each_span(group.rows[0].in, first, last, p.w, lane_at, sample);
  });
}

template <class F, class A>
void backwarp_forward(const BackwarpParams<F, A>& p, i64 begin, i64 end) {
  const auto general = [&](int k) {
    for_each_block(begin, end, p.h, p.w,
                   [&](i64 n, int y, int x, int count) { backwarp_forward_block(p, k, n, y, x, count); });
  };
  if constexpr (sizeof(A) == sizeof(double)) {
    for (int k = 0; k < p.count; ++k) general(k);
  } else {
    const BackwarpParams<F, A> mine = p;
    ImageGroup groups[kMaxImages];
    // Beside an image in spans, a few planes are quicker with it than for themselves.
    bool wide = false;
    for (int k = 0; k < mine.count; ++k) wide |= mine.images[k].channels > kColours;
    for (int k = 0; k < mine.count; ++k) {
      const BackwarpImage<A>& image = mine.images[k];
      const Source<void> source[1] = {source_of(image.image, mine.h, mine.w, mine.padding)};
      const Row<1> row = {{source[0]}, nullptr,        image.out.c,
                          image.out.x, image.channels, layout_of(source, image.channels)};
      with_image_type<A>(image.dtype, [&](auto type) {
        using T = decltype(type);
        const Sampler<1> sampler = sampler_of<T>(row);
        if (is_narrow(row) && !(wide && row.layout == Layout::kPlanar))
          return backwarp_narrow<T>(mine, row, k, begin, end);
        if (!sampler) return general(k);
        ImageGroup* group = groups;
        while (group->count &&
               (group->rows[0].in[0].row != source[0].row || group->rows[0].in[0].pixel != source[0].pixel))
          ++group;
        group->template add<T>(k, row, sampler);
      });
    }
    for (ImageGroup& group : groups)
      if (group.count) backwarp_group(mine, group, begin, end);
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
