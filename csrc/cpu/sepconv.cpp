// Separable convolution in blocks of a row: taps and image rows are first copied into small arrays of the sums' type, which
// settles layout, dtype and border once, so that the inner loops are plain multiply-adds over neighbouring pixels.
#include <vector>

#include "kernels.h"
#include "pair.h"

namespace vfi {

namespace {

// A vector register of every x86-64 and aarch64, at any address. Compilers left to themselves keep the sums in memory, which
// costs a factor of ten.
template <class A> struct Vector {
  typedef A type __attribute__((vector_size(16), aligned(sizeof(A)), may_alias));
  static constexpr int kLanes = 16 / sizeof(A);
};

constexpr int kRegisters = 4;  // of sums at a time

// The taps of a block as [k][kBlock]; pixels past the row's end get 0.
template <class A, class F>
void copy_taps(const View<const F>& taps, int k, i64 n, int y, int x0, int count, A* to) {
  for (int i = 0; i < k; ++i, to += kBlock) {
    const F* from = taps.at(n, i, y, x0);
    for (int x = 0; x < count; ++x) to[x] = number<A>(from[x * taps.x]);
    std::fill(to + count, to + kBlock, A(0));
  }
}

// The piece of a padded image row that tap row i of output row y reads: positions x0 .. x0 + count + kh - 2, then zeros
// up to kBlock + kh - 1.
template <class A, class T, class F>
void copy_row(const SepconvTerm<T, F>& term, i64 n, int c, int y, int i, int x0, int count, A* to) {
  const T* from = term.image.at(n, c, clamped(y + i - term.top, term.image_h), 0);
  const int used = count + term.kh - 1;
  for (int x = 0; x < used; ++x)
    to[x] = number<A>(from[clamped(x0 + x - term.left, term.image_w) * term.image.x]);
  std::fill(to + used, to + kBlock + term.kh - 1, A(0));
}

// sums[x] = sum_j row[x + j] taps[j][x]
template <class A> void convolve(const A* row, const A* taps, int k, A* sums) {
  using V = typename Vector<A>::type;
  constexpr int kLanes = Vector<A>::kLanes;
  for (int x0 = 0; x0 < kBlock; x0 += kRegisters * kLanes) {
    V s[kRegisters] = {};
    for (int j = 0; j < k; ++j) {
      const V* pixels = reinterpret_cast<const V*>(row + x0 + j);
      const V* weights = reinterpret_cast<const V*>(taps + j * kBlock + x0);
#pragma GCC unroll 4
      for (int r = 0; r < kRegisters; ++r) s[r] += pixels[r] * weights[r];
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRegisters; ++r) reinterpret_cast<V*>(sums + x0)[r] = s[r];
  }
}

// Scratch of one block, sized for the term with the most taps.
template <class A> struct Scratch {
  std::vector<A> vertical, horizontal, row;
  template <class T, class F> explicit Scratch(const SepconvParams<T, F>& p) {
    int kv = 0, kh = 0;
    for (int t = 0; t < p.terms; ++t) {
      kv = std::max(kv, p.term[t].kv);
      kh = std::max(kh, p.term[t].kh);
    }
    vertical.resize(i64(kv) * kBlock);
    horizontal.resize(i64(kh) * kBlock);
    row.resize(kBlock + kh - 1);
  }
  template <class T, class F> void load_taps(const SepconvTerm<T, F>& term, i64 n, int y, int x0, int count) {
    copy_taps(term.vertical, term.kv, n, y, x0, count, vertical.data());
    copy_taps(term.horizontal, term.kh, n, y, x0, count, horizontal.data());
  }
};

}  // namespace

template <class T, class F> void sepconv_forward(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  using A = sum_t<T>;
  Scratch<A> scratch(p);
  std::vector<A> sums(i64(p.c) * kBlock);
  A line[kBlock];
  for_each_block(begin, end, p.h, p.w, [&](i64 n, int y, int x0, int count) {
    std::fill(sums.begin(), sums.end(), A(0));
    for (int t = 0; t < p.terms; ++t) {
      const SepconvTerm<T, F>& term = p.term[t];
      scratch.load_taps(term, n, y, x0, count);
      for (int c = 0; c < p.c; ++c) {
        A* sum = sums.data() + i64(c) * kBlock;
        for (int i = 0; i < term.kv; ++i) {
          copy_row(term, n, c, y, i, x0, count, scratch.row.data());
          convolve(scratch.row.data(), scratch.horizontal.data(), term.kh, line);
          const A* v = scratch.vertical.data() + i64(i) * kBlock;
          for (int x = 0; x < kBlock; ++x) sum[x] += v[x] * line[x];
        }
      }
    }
    for (int c = 0; c < p.c; ++c)
      for (int x = 0; x < count; ++x) store(p.out.at(n, c, y, x0 + x), sums[i64(c) * kBlock + x]);
  });
}

// Both tap gradients of a row, from one pass over the image.
template <class T, class F> void sepconv_backward_taps(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  using A = sum_t<T>;
  Scratch<A> scratch(p);
  std::vector<A> grad_vertical(scratch.vertical.size()), grad_horizontal(scratch.horizontal.size());
  A grad[kBlock], line[kBlock];
  for_each_block(begin, end, p.h, p.w, [&](i64 n, int y, int x0, int count) {
    for (int t = 0; t < p.terms; ++t) {
      const SepconvTerm<T, F>& term = p.term[t];
      const bool wants_v = term.grad_vertical.data, wants_h = term.grad_horizontal.data;
      if (!wants_v && !wants_h) continue;
      scratch.load_taps(term, n, y, x0, count);
      std::fill(grad_vertical.begin(), grad_vertical.end(), A(0));
      std::fill(grad_horizontal.begin(), grad_horizontal.end(), A(0));
      for (int c = 0; c < p.c; ++c) {
        for (int x = 0; x < kBlock; ++x)
          grad[x] = x < count ? number<A>(*p.grad_out.at(n, c, y, x0 + x)) : A(0);
        for (int i = 0; i < term.kv; ++i) {
          const A* row = scratch.row.data();
          copy_row(term, n, c, y, i, x0, count, scratch.row.data());
          if (wants_v) {
            convolve(row, scratch.horizontal.data(), term.kh, line);
            for (int x = 0; x < kBlock; ++x) grad_vertical[i64(i) * kBlock + x] += grad[x] * line[x];
          }
          if (wants_h) {
            const A* v = scratch.vertical.data() + i64(i) * kBlock;
            for (int x = 0; x < kBlock; ++x) line[x] = grad[x] * v[x];
            for (int j = 0; j < term.kh; ++j) {
              A* to = grad_horizontal.data() + i64(j) * kBlock;
              for (int x = 0; x < kBlock; ++x) to[x] += line[x] * row[x + j];
            }
          }
        }
      }
      for (int i = 0; i < term.kv && wants_v; ++i)
        for (int x = 0; x < count; ++x)
          store(term.grad_vertical.at(n, i, y, x0 + x), grad_vertical[i64(i) * kBlock + x]);
      for (int j = 0; j < term.kh && wants_h; ++j)
        for (int x = 0; x < count; ++x)
          store(term.grad_horizontal.at(n, j, y, x0 + x), grad_horizontal[i64(j) * kBlock + x]);
    }
  });
}

// The gradient of a plane is gathered in padded coordinates by its one owner, then the border is folded onto the edge.
template <class T, class F> void sepconv_backward_image(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  using A = sum_t<T>;
  const SepconvTerm<T, F>& term = p.term[p.selected];
  const i64 padded_h = i64(p.h) + term.kv - 1, padded_w = i64(p.w) + term.kh - 1;
  Scratch<A> scratch(p);
  std::vector<A> padded(padded_h * padded_w);
  A grad[kBlock], line[kBlock];
  for (i64 task = begin; task < end; ++task) {
    const i64 n = task / p.c;
    const int c = int(task % p.c);
    std::fill(padded.begin(), padded.end(), A(0));
    for_each_block(n * p.h, (n + 1) * p.h, p.h, p.w, [&](i64, int y, int x0, int count) {
      scratch.load_taps(term, n, y, x0, count);
      for (int x = 0; x < count; ++x) grad[x] = number<A>(*p.grad_out.at(n, c, y, x0 + x));
      for (int i = 0; i < term.kv; ++i) {
        const A* v = scratch.vertical.data() + i64(i) * kBlock;
        A* to = padded.data() + (y + i) * padded_w + x0;
        for (int x = 0; x < count; ++x) line[x] = grad[x] * v[x];
        for (int j = 0; j < term.kh; ++j) {
          const A* h = scratch.horizontal.data() + i64(j) * kBlock;
          for (int x = 0; x < count; ++x) to[x + j] += line[x] * h[x];
        }
      }
    });
    for (int y = 0; y < term.image_h; ++y) {
      const Span rows = positions_of(y, term.image_h, term.top, p.h, term.kv);
      for (int x = 0; x < term.image_w; ++x) {
        const Span columns = positions_of(x, term.image_w, term.left, p.w, term.kh);
        A sum = 0;
        for (int r = rows.first; r <= rows.last; ++r)
          for (int s = columns.first; s <= columns.last; ++s) sum += padded[r * padded_w + s];
        *term.grad_image.at(n, c, y, x) = sum;
      }
    }
  }
}

#define VFI_FORWARD(T, F) template void sepconv_forward<T, F>(const SepconvParams<T, F>&, i64, i64);
VFI_FOR_EACH_PAIR(VFI_FORWARD)

#define VFI_BACKWARD(T, F)                                                                \
  template void sepconv_backward_taps<T, F>(const SepconvParams<T, F>&, i64, i64);        \
  template void sepconv_backward_image<T, F>(const SepconvParams<T, F>&, i64, i64);
VFI_FOR_EACH_FLOAT_PAIR(VFI_BACKWARD)

}  // namespace vfi
