// The gradient of an image that was read bilinearly: each pixel of the output adds to the four that it read.
//
// A band of the image's rows has one owner, which visits the rows of the output that reach it from the first
// to the last, and in each the pixels from left to right. So the sums depend neither on the threads nor on
// where bands end.
#pragma once
#include "kernels.h"
#include "vector.h"

namespace vfi::VFI_VERSION {

// Channels summed together, which lie side by side in a band: of images, and of wider tensors.
template <class A>
constexpr int kFew = std::min(4, kLanes<A>);
template <class A>
constexpr int kMany = std::min(8, kLanes<A>);

// An image and the gradient of what was read from it.
template <class T>
struct Scatter {
  View<sum_t<T>> target;  // [n / repeat, channels, h, w]
  View<const T> grad;     // [n, channels, h, w]
  const Reach* reaches;   // [n, h], of the rows of grad
  int channels, h, w, repeat;
  int rows;  // of a band
};

// The rows [first, first + rows) of an image, and one more on each side for taps that fall outside.
struct Band {
  int first, rows;

  template <class I>
  VFI_FN auto touched_by(I top) const {  // the row of the upper taps
    return (top >= first - 1) & (top < first + rows);
  }
};

// How pixels of a row land in a band.
template <class A>
struct Landings {
  unsigned long long touching;  // bit i: of pixel i, and only then it has the rest
  int at[kBlock];               // its top left target, in pixels from the start of the band
  A weight[4][kBlock];          // top left, top right, bottom left, bottom right
  A gain[kBlock];
};
static_assert(kBlock <= 64);

// Says where pixels x .. x + count - 1, count <= kBlock, of row y of entry n of the batch land: what differs
// between the operations.
template <class A>
struct Locator {
  virtual Landings<A> locate(i64 n, int y, int x, int count, const Band& band) const = 0;
};

// P neighbouring pixels of up to P channels, times their gains; fewer where only `rest` are left in the row.
template <int P, class A, class T>
VFI_FN void load_pixels(const T* from, i64 stride_c, i64 stride_x, int channels, int rest, const A* gain,
                        Vector<A, P> (&pixel)[P]) {
  using Pixel = Vector<A, P>;
  if constexpr (std::is_same_v<A, float>)
    if (stride_x == 1 && rest >= P) {
#pragma GCC unroll 8
      for (int c = 0; c < P; ++c)
        pixel[c] = c < channels ? load<A, P>(gain) * load_as<A, P>(from + c * stride_c) : Pixel{};
      return transpose(pixel);
    }
  // P values from a pixel on, which may reach into the next one.
  const int past = P - channels;
  if (stride_c == 1 && past <= stride_x && (past ? rest > P : rest >= P)) {
#pragma GCC unroll 8
    for (int i = 0; i < P; ++i) pixel[i] = all<Pixel>(gain[i]) * load_as<A, P>(from + i * stride_x);
    return;
  }
  alignas(Pixel) A values[P][P] = {};
  for (int i = 0; i < std::min(P, rest); ++i)
    for (int c = 0; c < channels; ++c) values[i][c] = gain[i] * number<A>(from[c * stride_c + i * stride_x]);
  for (int i = 0; i < P; ++i) pixel[i] = load<A, P>(values[i]);
}

// Adds up to P channels of a block to a band; `rest` pixels are left in the row.
template <int P, class A, class T>
__attribute__((noinline)) void add_block(const Landings<A>& l, const T* grad, i64 stride_c, i64 stride_x,
                                         int channels, int rest, A* band, int w) {
  using Pixel = Vector<A, P>;
  constexpr u32 kAll = (1u << P) - 1;
  for (int begin = 0; begin < std::min(kBlock, rest); begin += P) {
    const u32 touching = u32(l.touching >> begin) & kAll;
    if (!touching) continue;
    Pixel pixel[P];
    load_pixels<P>(grad + begin * stride_x, stride_c, stride_x, channels, rest - begin, l.gain + begin,
                   pixel);
    auto special = pixel[0] - pixel[0] != Pixel{};
#pragma GCC unroll 8
    for (int i = 1; i < P; ++i) special |= pixel[i] - pixel[i] != Pixel{};
    const auto add = [&](int i, auto exact) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        const A weight = l.weight[k][begin + i];
        // 0 times a finite number adds nothing by itself.
        if (exact && weight == 0) continue;
        A* target = band + (l.at[begin + i] + i64(k / 2) * w + k % 2) * P;
        save(target, fma(all<Pixel>(weight), pixel[i], load<A, P>(target)));
      }
    };
    if (__builtin_expect(sign_bits(special) != 0, 0)) {
      for (u32 left = touching; left; left &= left - 1) add(__builtin_ctz(left), std::true_type{});
    } else if (touching != kAll) {
      for (u32 left = touching; left; left &= left - 1) add(__builtin_ctz(left), std::false_type{});
    } else {
#pragma GCC unroll 8
      for (int i = 0; i < P; ++i) add(i, std::false_type{});
    }
  }
}

// Writes a row of sums to channels of the target.
template <int P, class A>
__attribute__((noinline)) void write_row(const A* sums, A* to, i64 stride_c, i64 stride_x, int channels,
                                         int w) {
  using Pixel = Vector<A, P>;
  int x = 0;
  if constexpr (std::is_same_v<A, float>)
    for (; stride_x == 1 && x + P <= w; x += P) {
      Pixel pixel[P];
#pragma GCC unroll 8
      for (int i = 0; i < P; ++i) pixel[i] = load<A, P>(sums + i64(x + i) * P);
      transpose(pixel);
#pragma GCC unroll 8
      for (int c = 0; c < P; ++c)
        if (c < channels) save(to + c * stride_c + x, pixel[c]);
    }
  if (stride_c == 1 && stride_x != 1 && (channels == P || channels == stride_x))
    // What is written past a pixel is replaced by the next one.
    for (; x < w - 1; ++x) save(to + x * stride_x, load<A, P>(sums + i64(x) * P));
  for (; x < w; ++x)
    for (int c = 0; c < channels; ++c) to[c * stride_c + x * stride_x] = sums[i64(x) * P + c];
}

// P channels of a band, from c on.
template <int P, class T>
void scatter_channels(const Scatter<T>& s, i64 frame, const Band& band, int c, sum_t<T>* sums,
                      const Locator<sum_t<T>>& locator) {
  const int channels = std::min(P, s.channels - c);
  std::fill_n(sums, (i64(band.rows + 2) * s.w + 1) * P, sum_t<T>(0));
  for (i64 n = frame * s.repeat; n < (frame + 1) * s.repeat; ++n)
    for (int y = 0; y < s.h; ++y) {
      const Reach reach = s.reaches[n * s.h + y];
      if (reach.last < band.first - 1 || reach.first >= band.first + band.rows) continue;
      for (int x = 0; x < s.w; x += kBlock) {
        const Landings<sum_t<T>> landings = locator.locate(n, y, x, std::min(kBlock, s.w - x), band);
        if (landings.touching)
          add_block<P>(landings, s.grad.at(n, c, y, x), s.grad.c, s.grad.x, channels, s.w - x, sums, s.w);
      }
    }
  for (int y = 0; y < band.rows; ++y)
    write_row<P>(sums + i64(y + 1) * s.w * P, s.target.at(frame, c, band.first + y, 0), s.target.c,
                 s.target.x, channels, s.w);
}

// The bands [begin, end) of n / repeat * bands_of(h, rows).
template <class T>
void scatter(const Scatter<T>& s, i64 begin, i64 end, Buffer<sum_t<T>>& sums,
             const Locator<sum_t<T>>& locator) {
  using A = sum_t<T>;
  const int bands = bands_of(s.h, s.rows), rows = s.rows;
  const int together = s.channels <= kFew<A> ? kFew<A> : kMany<A>;
  sums.resize((i64(rows + 2) * s.w + 1) * together);
  for (i64 unit = begin; unit < end; ++unit) {
    const int first = int(unit % bands) * rows;
    const Band band = {first, std::min(rows, s.h - first)};
    for (int c = 0; c < s.channels; c += together)
      if (together == kFew<A>)
        scatter_channels<kFew<A>>(s, unit / bands, band, c, sums.data(), locator);
      else
        scatter_channels<kMany<A>>(s, unit / bands, band, c, sums.data(), locator);
  }
}

}  // namespace vfi::VFI_VERSION
