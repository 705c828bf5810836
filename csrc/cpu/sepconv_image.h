// The gradient of sepconv's image: grad_c(y, x) vertical_i(y, x) horizontal_j(y, x) belongs to row y + i and
// column x + j of the padded image. Lanes are neighbouring rows, so that a weight grad * vertical serves
// several columns and a tap `horizontal`, broadcast, several vectors: twelve sums stay in registers while x
// runs along the taps. A strip of columns has one owner that goes down the rows in order, so the number of
// threads changes nothing, and nothing is added that is not in the sum: Inf and NaN stay where they belong.
#pragma once
#include "sepconv_tile.h"

namespace vfi::VFI_VERSION {

constexpr int kLaneVectors = 3, kSumColumns = 4;  // of the sums in registers
constexpr int kStripColumns = 512;                // image columns of a strip: 51 taps take 0.6 MB

// The taps of the next row, fetched into cache while the present one is computed.
template <class F>
struct NextRow {
  View<const F> vertical, horizontal;  // from tap 0 of source 0 on
  bool exists;
  // Source x, for the share [a, b) of `all` in the taps. Inlined like NextTaps::fetch.
  VFI_FN void fetch(int x, int kv, int kh, int a, int b, int all) const {
    if (!exists) return;
    for (int i = kv * a / all; i < kv * b / all; ++i) __builtin_prefetch(vertical.at(0, i, 0, x));
    for (int j = kh * a / all; j < kh * b / all; ++j) __builtin_prefetch(horizontal.at(0, j, 0, x));
  }
};

// Sums of a strip of padded columns, for the kv padded rows that a source row reaches. They take turns:
// padded row r is slot r % kv. Sums are [group][column][lane] with lane = channel * kv + slot, in groups of
// kLaneVectors vectors; the last lanes belong to nobody. Sources are the pixels that reach the strip, the
// first kh - 1 left of it; those outside of the output have weight and taps 0.
template <class A>
class ImageStrip {
 public:
  static constexpr int L = kWidth<A>, kGroup = kLaneVectors * L;

  ImageStrip(int kv, int kh, int channels, int columns, int first_source, int width)
      : kv_(kv),
        kh_(kh),
        channels_(channels),
        columns_((columns + kSumColumns - 1) / kSumColumns * kSumColumns),
        first_source_(first_source),
        sources_(columns_ + kh - 1 + L),
        begin_(std::max(0, -first_source)),
        end_(std::min(sources_, width - first_source)),
        pitch_(padded(sources_)),
        sums_(i64(columns_) * kGroup * ((channels * kv + kGroup - 1) / kGroup)),
        weights_(i64(sources_ + L) * kGroup),
        vertical_(i64(kv) * pitch_),
        horizontal_(i64(kh) * pitch_),
        grad_(i64(channels) * pitch_) {
    std::fill_n(sums_.data(), i64(columns_) * kGroup * ((channels * kv + kGroup - 1) / kGroup), A(0));
  }

  A* sum(int channel, int row, int column) {
    const int lane = channel * kv_ + row % kv_;
    return sums_.data() + (i64(lane / kGroup) * columns_ + column) * kGroup + lane % kGroup;
  }

  // Adds what source row y gives.
  template <class T, class F>
  void add(const View<const T>& grad, const SepconvTerm<T, F>& term, i64 n, int y, const NextRow<F>& next) {
    copy_rows(grad, channels_, n, y, grad_.data());
    copy_rows(term.vertical, kv_, n, y, vertical_.data());
    copy_rows(term.horizontal, kh_, n, y, horizontal_.data());
    const int vectors = (channels_ * kv_ + L - 1) / L;
    for (int v = 0; v < vectors; v += kLaneVectors)
      with_count<kLaneVectors>(std::min(kLaneVectors, vectors - v), [&](auto count) {
        if (kh_ >= kSumColumns)
          add_group<decltype(count)::value, kSumColumns>(y % kv_, v, vectors, next);
        else
          add_group<decltype(count)::value, 1>(y % kv_, v, vectors, next);
      });
  }

 private:
  using V = Vector<A, L>;

  // An odd number of cache lines: rows a power of two apart would share few sets of the cache.
  static int padded(int size) {
    constexpr int line = 64 / sizeof(A);
    return ((size + line - 1) / line | 1) * line;
  }

  template <class F>
  void copy_rows(const View<const F>& from, int rows, i64 n, int y, A* to) const {
    const int end = std::max(begin_, end_);
    for (int i = 0; i < rows; ++i, to += pitch_) {
      std::fill(to, to + begin_, A(0));
      std::fill(to + end, to + sources_, A(0));
      const F* row = from.at(n, i, y, first_source_);
      int x = begin_;
      if (from.x == 1)
        for (; x + L <= end; x += L) save(to + x, load_as<A, L>(row + x));
      for (; x < end; ++x) to[x] = number<A>(row[x * from.x]);
    }
  }

  // Vectors [v, v + M) of the lanes, N columns at a time; the weights are made as they come into reach.
  template <int M, int N, class F>
  VFI_FN void add_group(int turn, int v, int vectors, const NextRow<F>& next) {
    const A *vertical[M * L], *grad[M * L];
    for (int r = 0; r < M * L; ++r) {
      const int lane = std::min(v * L + r, channels_ * kv_ - 1), slot = lane % kv_;
      vertical[r] = vertical_.data() + i64(slot >= turn ? slot - turn : slot - turn + kv_) * pitch_;
      grad[r] = grad_.data() + i64(lane / kv_) * pitch_;
    }
    A* sums = sums_.data() + i64(v / kLaneVectors) * columns_ * kGroup;
    int made = 0;
    for (int s = 0; s < columns_; s += N, sums += N * kGroup) {
      for (; made < s + N + kh_ - 1; made += L) {
        next.fetch(made, kv_, kh_, v, v + M, vectors);
        for (int m = 0; m < M; ++m) make_weights(vertical + m * L, grad + m * L, made, m);
      }
      add_columns<M, N>(s, sums);
    }
  }

  // The weights of L sources from x on, for a vector of lanes.
  VFI_FN void make_weights(const A* const* vertical, const A* const* grad, int x, int m) {
    V rows[L];
#pragma GCC unroll 8
    for (int r = 0; r < L; ++r) rows[r] = load<A, L>(vertical[r] + x) * load<A, L>(grad[r] + x);
    transpose(rows);
#pragma GCC unroll 8
    for (int r = 0; r < L; ++r) save(weights_.data() + i64(x + r) * kGroup + m * L, rows[r]);
  }

  // Columns s .. s + N - 1, N <= kh. Column s + k sees sources s + k .. s + k + kh - 1 with taps kh - 1 .. 0:
  // the first and last sources are seen by some of the columns only.
  template <int M, int N>
  VFI_FN void add_columns(int s, A* to) {
    V sum[N][M];
#pragma GCC unroll 4
    for (int k = 0; k < N; ++k)
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) sum[k][m] = load<A, L>(to + k * kGroup + m * L);
    const A* weights = weights_.data() + i64(s) * kGroup;
    const A* taps = horizontal_.data() + i64(kh_ - 1) * pitch_ + s;
    const auto skip = [&](int sources) {
      weights += i64(sources) * kGroup;
      taps -= i64(sources) * (pitch_ - 1);
    };
    const auto add = [&](int first, int last) __attribute__((always_inline)) {
      V weight[M];
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) weight[m] = load<A, L>(weights + m * L);
#pragma GCC unroll 4
      for (int k = first; k < last; ++k) {
        const A number = taps[i64(k) * pitch_];
        const V tap = build<V>([&](int) { return number; });
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) sum[k][m] = fma(weight[m], tap, sum[k][m]);
      }
      skip(1);
    };
#pragma GCC unroll 4
    for (int k = 1; k < N; ++k) add(0, k);
    // Without the sources outside of the output, which would add zeros.
    const int all = kh_ - N + 1, from = std::clamp(begin_ - (s + N - 1), 0, all),
              until = std::clamp(end_ - (s + N - 1), from, all);
    skip(from);
#pragma GCC unroll 4
    for (int i = from; i < until; ++i) add(0, N);
    skip(all - until);
#pragma GCC unroll 4
    for (int k = 1; k < N; ++k) add(k, N);
#pragma GCC unroll 4
    for (int k = 0; k < N; ++k)
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) save(to + k * kGroup + m * L, sum[k][m]);
  }

  int kv_, kh_, channels_, columns_, first_source_, sources_;
  int begin_, end_;  // the sources inside of the output
  int pitch_;
  Buffer<A> sums_, weights_, vertical_, horizontal_, grad_;
};

// Columns first .. last of the selected term's image.
template <class T, class F>
void backward_image_strip(const SepconvParams<T, F>& p, i64 n, int first, int last) {
  using A = sum_t<T>;
  const SepconvTerm<T, F>& term = p.term[p.selected];
  const auto columns_of = [&](int x) { return positions_of(x, term.image_w, term.left, p.w, term.kh); };
  const int begin = columns_of(first).first, columns = columns_of(last).last - begin + 1;
  const int first_source = begin - (term.kh - 1);
  for (int c0 = 0; c0 < p.c; c0 += kChannels) {
    const int channels = std::min(kChannels, p.c - c0);
    ImageStrip<A> strip(term.kv, term.kh, channels, columns, first_source, p.w);
    // Padded row r is complete: it goes to the image, folded onto the edge, and its slot to row r + kv.
    const auto finish = [&](int r) {
      const int y = clamped(r - term.top, term.image_h);
      const bool adds = r != positions_of(y, term.image_h, term.top, p.h, term.kv).first;
      for (int c = 0; c < channels; ++c)
        for (int x = first; x <= last; ++x) {
          const auto span = columns_of(x);
          A total = 0;
          for (int s = span.first; s <= span.last; ++s)
            total += std::exchange(*strip.sum(c, r, s - begin), A(0));
          A* to = term.grad_image.at(n, c0 + c, y, x);
          *to = adds ? *to + total : total;
        }
    };
    View<const T> grad = p.grad_out;
    grad.data = grad.at(0, c0, 0, 0);
    for (int y = 0; y < p.h; ++y) {
      NextRow<F> next = {term.vertical, term.horizontal, y + 1 < p.h};
      next.vertical.data = term.vertical.at(n, 0, y + 1, first_source);
      next.horizontal.data = term.horizontal.at(n, 0, y + 1, first_source);
      strip.add(grad, term, n, y, next);
      finish(y);
    }
    for (int r = p.h; r < p.h + term.kv - 1; ++r) finish(r);
  }
}

template <class T, class F>
void sepconv_backward_image(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  const int width = p.term[p.selected].image_w, units = column_units(width);
  while (begin < end) {
    const int unit = int(begin % units);
    const int some = int(std::min<i64>({end - begin, units - unit, kStripColumns / kUnitColumns}));
    const int first = unit * kUnitColumns, last = std::min(width, first + some * kUnitColumns) - 1;
    backward_image_strip(p, begin / units, first, last);
    begin += some;
  }
}

}  // namespace vfi::VFI_VERSION
