#include "launch_band.cuh"
#include "sepconv_band_backward.cuh"
#include "sepconv_band_forward.cuh"
#include "sepconv_tiled.cuh"

namespace vfi::cuda {

// Whether the tiled kernel can do it, which it then does.
template <class T, class F>
bool launch_tiled(const SepconvParams<T, F>& p, void* stream) {
  const i64 bytes = tiled_bytes(p), rows = (i64(p.h) + kTileRows - 1) / kTileRows;
  if (wants_simple() || bytes > kTiledBytes || rows > kMaxGridYZ || p.n > kMaxGridYZ) return false;
  const dim3 grid((p.w + kTileColumns - 1) / kTileColumns, static_cast<unsigned>(rows), p.n);
  sepconv_tiled_forward<T, F><<<grid, kThreads, bytes, stream_of(stream)>>>(p);
  return true;
}

template <class T, class F>
const char* sepconv_forward(const SepconvParams<T, F>& p, void* stream) {
  const bool fits = suits(p.term[0]) && (p.terms == 1 || suits(p.term[1]));
  const bool launched = fits && with_precision(p, [&](auto coarse) {
                          return launch_band<coarse>(sepconv_band_forward<T, F, coarse>, p, stream);
                        });
  if (!launched && !launch_tiled(p, stream))
    vfi::sepconv_forward<T, F><<<grid_of(p.n, p.h, p.w), kThreads, 0, stream_of(stream)>>>(p);
  return error_of(cudaGetLastError());
}

template <class T, class F>
const char* sepconv_backward(const SepconvParams<T, F>& params, void* stream) {
  const cudaStream_t s = stream_of(stream);
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
    if (term.grad_vertical.data && !vertical)
      vfi::sepconv_backward_vertical<T, F><<<grid_of(p.n, i64(p.h) * term.kv, p.w), kThreads, 0, s>>>(p);
    if (term.grad_horizontal.data && !horizontal)
      vfi::sepconv_backward_horizontal<T, F><<<grid_of(p.n, i64(p.h) * term.kh, p.w), kThreads, 0, s>>>(p);
    if (term.grad_image.data && !image)
      vfi::sepconv_backward_image<T, F><<<grid_of(p.n, term.image_h, term.image_w), kThreads, 0, s>>>(p);
  }
  return error_of(cudaGetLastError());
}

#define VFI_FORWARD(T, F) template const char* sepconv_forward<T, F>(const SepconvParams<T, F>&, void*);
VFI_FOR_EACH_PAIR(VFI_FORWARD)

#define VFI_BACKWARD(T, F) template const char* sepconv_backward<T, F>(const SepconvParams<T, F>&, void*);
VFI_FOR_EACH_FLOAT_PAIR(VFI_BACKWARD)

}  // namespace vfi::cuda
