// Calls sepconv of one instruction set. Prints a sum.
#include "cpu_bounds.h"
// Instantiates the types of the line above.
#include "../csrc/cpu/sepconv.cpp"

namespace {

// Every pass of sepconv, its units as two threads would take them.
template <class T, class F>
double check_sepconv(bool interleaved, int terms, int c, int h, int w, int kv, int kh, bool replicate) {
  struct Tensors {
    std::vector<T> image;
    std::vector<F> vertical, horizontal, grad_vertical, grad_horizontal;
    std::vector<float> grad_image;
  };
  Tensors tensors[kMaxTerms];
  std::vector<T> out(i64(c) * h * w);
  const auto grad = numbers<T>(i64(c) * h * w, -1, 1);
  SepconvParams<T, F> p = {};
  p.terms = terms;
  p.n = 1;
  p.c = c;
  p.h = h;
  p.w = w;
  p.out = view(out.data(), interleaved, c, h, w);
  p.grad_out = view(grad.data(), interleaved, c, h, w);
  for (int k = 0; k < terms; ++k, ++kv) {
    SepconvTerm<T, F>& term = p.term[k];
    Tensors& t = tensors[k];
    term.kv = kv;
    term.kh = kh;
    term.image_h = replicate ? h : h + kv - 1;
    term.image_w = replicate ? w : w + kh - 1;
    term.top = replicate ? (kv - 1) / 2 : 0;
    term.left = replicate ? (kh - 1) / 2 : 0;
    const i64 pixels = i64(h) * w, image = i64(c) * term.image_h * term.image_w;
    t = {numbers<T>(image, 0, 200),   numbers<F>(kv * pixels, -1, 1), numbers<F>(kh * pixels, -1, 1),
         std::vector<F>(kv * pixels), std::vector<F>(kh * pixels),    std::vector<float>(image)};
    term.image = view<const T>(t.image.data(), interleaved, c, term.image_h, term.image_w);
    term.vertical = view<const F>(t.vertical.data(), interleaved, kv, h, w);
    term.horizontal = view<const F>(t.horizontal.data(), interleaved, kh, h, w);
    term.grad_image = view(t.grad_image.data(), interleaved, c, term.image_h, term.image_w);
    term.grad_vertical = view(t.grad_vertical.data(), interleaved, kv, h, w);
    term.grad_horizontal = view(t.grad_horizontal.data(), interleaved, kh, h, w);
  }
  const auto in_two = [&](i64 units, const auto& call) {
    call(0, units / 2);
    call(units / 2, units);
  };
  const i64 rows = i64(h) * tiles_of(w);
  in_two(rows, [&](i64 begin, i64 end) { VFI_VERSION::sepconv_forward(p, begin, end); });
  double sum = 0;
  for (const T& x : out) sum += number<sum_t<T>>(x);
  if constexpr (!std::is_same_v<T, u8>) {
    in_two(rows, [&](i64 begin, i64 end) { VFI_VERSION::sepconv_backward_taps(p, begin, end); });
    for (p.selected = 0; p.selected < terms; ++p.selected) {
      in_two(column_units(p.term[p.selected].image_w),
             [&](i64 begin, i64 end) { VFI_VERSION::sepconv_backward_image(p, begin, end); });
      const Tensors& t = tensors[p.selected];
      for (const float x : t.grad_image) sum += x;
      for (const auto* taps : {&t.grad_vertical, &t.grad_horizontal})
        for (const F& x : *taps) sum += number<sum_t<F>>(x);
    }
    // Only one of the gradients.
    for (int k = 0; k < terms; ++k) (k ? p.term[k].grad_vertical : p.term[k].grad_horizontal).data = nullptr;
    in_two(rows, [&](i64 begin, i64 end) { VFI_VERSION::sepconv_backward_taps(p, begin, end); });
  }
  return sum;
}

}  // namespace

int main() {
  double sum = 0;
  constexpr int kTaps[][2] = {{1, 1}, {2, 5}, {5, 3}, {4, 9}};
  for (const auto [kv, kh] : kTaps)
    for (int c : {1, 3, 5})
      for (int h : {1, 2, 5, 18})
        for (int w : {1, 7, 16, 17, 40, 270})
          for (bool replicate : {false, true})
            for (bool interleaved : {false, true}) {
              if (w > 40 && (h > 5 || c > 3)) continue;
#define VFI_CHECK_SEPCONV(T, F) \
  sum += check_sepconv<T, F>(interleaved, 1 + c / 3, c, h, w, kv, kh, replicate);
              VFI_FOR_EACH_PAIR(VFI_CHECK_SEPCONV)
            }
  std::printf("%g\n", sum);
}
