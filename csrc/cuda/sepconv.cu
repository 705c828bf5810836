#include "launch_band.cuh"
#include "sepconv_band_backward.cuh"
#include "sepconv_band_forward.cuh"
#include "sepconv_tiled_backward.cuh"

namespace vfi::cuda {

// The grid of the tiled kernels: blocks of so many columns, and of tiles below each other.
inline dim3 tiled_grid(int w, int columns, i64 tiles, int n) {
  return dim3((w + columns - 1) / columns, static_cast<unsigned>(std::min<i64>(tiles, kMaxGridYZ)),
              std::min(n, kMaxGridYZ));
}

template <class T, class F>
void launch_forward(const SepconvParams<T, F>& p, void* stream) {
  constexpr int kRows = kTileRows<sum_t<T>>;
  if (wants_simple())
    launch(vfi::sepconv_forward<T, F>, grid_of(p.n, p.h, p.w), p, stream);
  else
    launch(sepconv_tiled_forward<T, F>, tiled_grid(p.w, kTileColumns, (i64(p.h) + kRows - 1) / kRows, p.n), p,
           stream);
}

// Gradients of the selected term's taps: vertical ones if kDown, or else horizontal ones.
template <bool kDown, class T, class F>
void launch_taps(const SepconvParams<T, F>& p, void* stream) {
  constexpr int kRows = kTileRows<sum_t<T>>;
  const int taps = kDown ? p.term[p.selected].kv : p.term[p.selected].kh;
  const i64 tiles = (i64(p.h) + kRows - 1) / kRows * ((taps + kTapGroup - 1) / kTapGroup);
  if (!wants_simple())
    launch(sepconv_tiled_taps<kDown, T, F>, tiled_grid(p.w, kTileColumns, tiles, p.n), p, stream);
  else if (kDown)
    launch(sepconv_backward_vertical<T, F>, grid_of(p.n, i64(p.h) * taps, p.w), p, stream);
  else
    launch(sepconv_backward_horizontal<T, F>, grid_of(p.n, i64(p.h) * taps, p.w), p, stream);
}

template <class T, class F>
void launch_image(const SepconvParams<T, F>& p, void* stream) {
  constexpr int kRows = kImageRows<sum_t<T>>;
  const SepconvTerm<T, F>& term = p.term[p.selected];
  const i64 tiles = (i64(term.image_h) + kRows - 1) / kRows;
  if (wants_simple())
    launch(sepconv_backward_image<T, F>, grid_of(p.n, term.image_h, term.image_w), p, stream);
  else
    launch(sepconv_tiled_image<T, F>, tiled_grid(term.image_w, kThreads, tiles, p.n), p, stream);
}

template <class T, class F>
const char* sepconv_forward(const SepconvParams<T, F>& p, void* stream) {
  const bool fits = suits(p.term[0]) && (p.terms == 1 || suits(p.term[1]));
  const bool launched = fits && with_precision(p, [&](auto coarse) {
                          return launch_band<coarse>(sepconv_band_forward<T, F, coarse>, p, stream);
                        });
  if (!launched) launch_forward(p, stream);
  return error_of(cudaGetLastError());
}

template <class T, class F>
const char* sepconv_backward(const SepconvParams<T, F>& params, void* stream) {
  SepconvParams<T, F> p = params;
  for (p.selected = 0; p.selected < p.terms; ++p.selected) {
    const SepconvTerm<T, F>& term = p.term[p.selected];
    const bool fits = p.c <= kChannels && suits(term);
    const bool vertical =
        fits && term.grad_vertical.x == 1 && term.grad_vertical.data && with_precision(p, [&](auto coarse) {
          return launch_band<coarse>(sepconv_band_vertical<T, F, coarse>, p, stream);
        });
    const bool horizontal = fits && term.grad_horizontal.x == 1 && term.grad_horizontal.data &&
                            with_precision(p, [&](auto coarse) {
                              return launch_band<coarse>(sepconv_band_horizontal<T, F, coarse>, p, stream);
                            });
    const bool image = fits && term.grad_image.data &&
                       with_precision(p, [&](auto coarse) { return launch_band_image<coarse>(p, stream); });
    if (term.grad_vertical.data && !vertical) launch_taps<true>(p, stream);
    if (term.grad_horizontal.data && !horizontal) launch_taps<false>(p, stream);
    if (term.grad_image.data && !image) launch_image(p, stream);
  }
  return error_of(cudaGetLastError());
}

#define VFI_FORWARD(T, F) template const char* sepconv_forward<T, F>(const SepconvParams<T, F>&, void*);
VFI_FOR_EACH_PAIR(VFI_FORWARD)

#define VFI_BACKWARD(T, F) template const char* sepconv_backward<T, F>(const SepconvParams<T, F>&, void*);
VFI_FOR_EACH_FLOAT_PAIR(VFI_BACKWARD)

}  // namespace vfi::cuda
