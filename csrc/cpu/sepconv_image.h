// The gradient of sepconv's image. A plane is gathered in padded coordinates by its one owner, in a fixed
// order; then the border is folded onto the edge.
#pragma once
#include "sepconv_tile.h"

namespace vfi::VFI_VERSION {

// Planes [begin, end) of n * c of the selected term.
template <class T, class F>
void sepconv_backward_image(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  using A = sum_t<T>;
  constexpr int L = kLanes<A>, kColumns = 128;
  const SepconvTerm<T, F>& term = p.term[p.selected];
  const i64 padded_h = i64(p.h) + term.kv - 1, padded_w = i64(p.w) + term.kh - 1;
  const i64 pitch = padded_w + L;  // a row's last vector may reach beyond it
  std::vector<A> padded(padded_h * pitch);
  Buffer<A> vertical(i64(term.kv) * kColumns), horizontal(i64(term.kh) * kColumns), grad(kColumns);
  for (i64 task = begin; task < end; ++task) {
    const i64 n = task / p.c;
    const int c = int(task % p.c);
    std::fill(padded.begin(), padded.end(), A(0));
    for (int y = 0; y < p.h; ++y)
      for (int x0 = 0; x0 < p.w; x0 += kColumns) {
        const int columns = std::min(kColumns, p.w - x0);
        View<const T> grad_out = p.grad_out;
        grad_out.data = grad_out.at(0, c, 0, 0);
        pack_taps<A, 1>(grad_out, 1, n, y, 1, x0, columns, grad.data());
        pack_taps<A, 1>(term.vertical, term.kv, n, y, 1, x0, columns, vertical.data());
        pack_taps<A, 1>(term.horizontal, term.kh, n, y, 1, x0, columns, horizontal.data());
        for (int x = 0; x < columns; x += L) {
          const Vector<A> g = load(grad.data() + x);
          const A* v = vertical.data() + i64(x) * term.kv;
          const A* h = horizontal.data() + i64(x) * term.kh;
          for (int i = 0; i < term.kv; ++i) {
            const Vector<A> line = g * load(v + i * L);
            A* row = padded.data() + (y + i) * pitch + x0 + x;
            for (int j = 0; j < term.kh; ++j) save(row + j, fma(line, load(h + j * L), load(row + j)));
          }
        }
      }
    for (int y = 0; y < term.image_h; ++y) {
      const Span rows = positions_of(y, term.image_h, term.top, p.h, term.kv);
      for (int x = 0; x < term.image_w; ++x) {
        const Span columns = positions_of(x, term.image_w, term.left, p.w, term.kh);
        A sum = 0;
        for (int r = rows.first; r <= rows.last; ++r)
          for (int s = columns.first; s <= columns.last; ++s) sum += padded[r * pitch + s];
        *term.grad_image.at(n, c, y, x) = sum;
      }
    }
  }
}

}  // namespace vfi::VFI_VERSION
