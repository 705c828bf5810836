// The same sums over many channels. A span of vectors is located first, and its sums stay in memory while the
// channels go by: planes three at a time, for the reason told in warp_spans.h, or all that lie side by side
// in a pixel (channels_last), pixel by pixel with a vector along the channels.
#pragma once
#include "warp_slopes.h"

namespace vfi::VFI_VERSION {

constexpr int kPieces = 16;

// kPixels output pixels from column x on.
template <int K>
struct Piece {
  int x;
  Place places[K];
  Reals dots[K][4];
};

// The gradient of a row of the output.
template <class T>
struct GradRow {
  const T* data;
  i64 channel, pixel;  // strides
};

template <int K, class T>
VFI_FN void add_planes(const Source<T> (&in)[K], int channels, const GradRow<T>& grad, Piece<K>* pieces,
                       int count) {
  Spots spots[kPieces][K];
  Offsets offsets[kPieces][K];
  for (int v = 0; v < count; ++v)
    for (int k = 0; k < K; ++k)
      spots[v][k] = spots_at(pieces[v].places[k].x, pieces[v].places[k].y, in[k], offsets[v][k]);
  const auto add = [&](int c, auto planes) __attribute__((always_inline)) {
    for (int v = 0; v < count; ++v) {
      const int x = pieces[v].x;
      const auto grad_at = [&](int i) __attribute__((always_inline)) {
        return Lanes<Reals>::read(grad.data + i * grad.channel + x * grad.pixel, grad.pixel);
      };
      const bool ahead = x % (64 / sizeof(T)) < kPixels;
      add_products<Layout::kPlanar, planes()>(in, spots[v], offsets[v], c, ahead, grad_at, pieces[v].dots);
    }
  };
  int c = 0;
  for (; c + 3 <= channels; c += 3) add(c, std::integral_constant<int, 3>());
  for (; c < channels; ++c) add(c, std::integral_constant<int, 1>());
}

// The sums of the lanes of four vectors.
template <int N>
VFI_FN Vector<float, 4> totals(const Vector<float, N> (&v)[4]) {
  if constexpr (N == 2) return build<Vector<float, 4>>([&](int k) { return v[k][0] + v[k][1]; });
  Vector<float, 4> quad[4];
  for (int k = 0; k < 4; ++k) {
    float lanes[N];
    save(lanes, v[k]);
    quad[k] = load<float, 4>(lanes);
    for (int i = 4; i < N; i += 4) quad[k] += load<float, 4>(lanes + i);
  }
  transpose(quad);
  return (quad[0] + quad[1]) + (quad[2] + quad[3]);
}

// At least N channels. The last N overlap those before, whose gradient then counts as 0.
template <int N, int K, class T>
VFI_FN void add_pixels(const Source<T> (&in)[K], int channels, const GradRow<T>& grad, Piece<K>* pieces,
                       int count) {
  using V = Vector<float, N>;
  const auto lane = build<Vector<int, N>>([](int i) { return i; });
  for (int v = 0; v < count; ++v) {
    Offsets offsets[K];
    for (int k = 0; k < K; ++k) {
      const Place& at = pieces[v].places[k];
      save(offsets[k].lane, at.y.lo * in[k].row + at.x.lo * in[k].pixel);
    }
    float dots[K][kPixels][4];
    for (int i = 0; i < kPixels; ++i) {
      V sums[K][4] = {};
      for (int begin = 0; begin < channels; begin += N) {
        const int c = std::min(begin, channels - N);
        const T* from = grad.data + c * grad.channel + (pieces[v].x + i) * grad.pixel;
        V g = grad.channel == 1 ? load_as<float, N>(from)
                                : build<V>([&](int j) { return number<float>(from[j * grad.channel]); });
        g = lane < begin - c ? V{} : g;
#pragma GCC unroll 2
        for (int k = 0; k < K; ++k) {
          if (!in[k].data) continue;
          const T* pixel = in[k].data + offsets[k].lane[i] + c;
          __builtin_prefetch(pixel + i64(kRowsAhead) * in[k].row);
#pragma GCC unroll 4
          for (int tap = 0; tap < 4; ++tap)
            sums[k][tap] =
                fma(g, load_as<float, N>(pixel + tap / 2 * in[k].row + tap % 2 * in[k].pixel), sums[k][tap]);
        }
      }
      for (int k = 0; k < K; ++k) save(dots[k][i], totals<N>(sums[k]));
    }
    for (int k = 0; k < K; ++k) {
      Reals of_taps[4];
      load_fours([&](int i) __attribute__((always_inline)) { return dots[k][i]; }, of_taps);
      for (int tap = 0; tap < 4; ++tap) pieces[v].dots[k][tap] += of_taps[tap];
    }
  }
}

// Adds the products of an image's, or both images', channels to the sums of `count` pieces.
template <int K, class T>
void add_channels(const Source<T> (&in)[K], Layout layout, int channels, const GradRow<T>& grad,
                  Piece<K>* pieces, int count) {
  if (layout == Layout::kPixels) {
    if constexpr (kPixels >= 8)
      if (channels >= 8) return add_pixels<8>(in, channels, grad, pieces, count);
    if (channels >= 4) return add_pixels<4>(in, channels, grad, pieces, count);
    return add_pixels<2>(in, channels, grad, pieces, count);
  }
  if (layout == Layout::kPlanar) return add_planes(in, channels, grad, pieces, count);
  for (int v = 0; v < count; ++v) {
    Spots spots[K];
    Offsets offsets[K];
    for (int k = 0; k < K; ++k)
      spots[k] = spots_at(pieces[v].places[k].x, pieces[v].places[k].y, in[k], offsets[k]);
    const auto grad_at = [&](int c) __attribute__((always_inline)) {
      return Lanes<Reals>::read(grad.data + c * grad.channel + pieces[v].x * grad.pixel, grad.pixel);
    };
    add_products<Layout::kRgb, kColours>(in, spots, offsets, 0, true, grad_at, pieces[v].dots);
  }
}

// Whether slopes of such an image are better summed over a span.
inline bool is_wide(Layout layout, int channels) {
  return layout == Layout::kPixels || (layout == Layout::kPlanar && channels > kColours);
}

// Takes a row of w pixels in spans: places_at(x, places) says where vectors read, add(pieces, count) sums,
// and finish(x, slopes, doubt) gets the result; see slopes_at.
template <int K, class PlacesAt, class Add, class Finish>
VFI_FN void for_each_piece(int w, const PlacesAt& places_at, const Add& add, const Finish& finish) {
  for (int start = 0; start < w; start += kPieces * kPixels) {
    Piece<K> pieces[kPieces];
    int count = 0;
    for (int x = start; x < std::min(start + kPieces * kPixels, w); x += kPixels) {
      Piece<K>& piece = pieces[count++];
      piece.x = std::min(x, w - kPixels);
      places_at(piece.x, piece.places);
      for (Reals(&dots)[4] : piece.dots)
        for (Reals& dot : dots) dot = Reals{};
    }
    add(pieces, count);
    for (int v = 0; v < count; ++v) {
      Slope<Reals> slopes[K];
      Ints doubt = {};
      for (int k = 0; k < K; ++k) {
        slopes[k] = slope_of(pieces[v].places[k], pieces[v].dots[k]);
        doubt |= doubtful(slopes[k]);
      }
      finish(pieces[v].x, slopes, doubt);
    }
  }
}

}  // namespace vfi::VFI_VERSION
