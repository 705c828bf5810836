#include "backwarp.cuh"
#include "choice.cuh"
#include "tuned_backwarp.cuh"

namespace vfi::cuda {

template <class F, class A>
const char* backwarp_forward(const BackwarpParams<F, A>& p, void* stream) {
  const auto run = [&](auto kernel, dim3 grid) {
    kernel<<<grid, kThreads, 0, stream_of(stream)>>>(p);
    return error_of(cudaGetLastError());
  };
  if constexpr (sizeof(A) == sizeof(float))
    if (is_tuned(p))
      return run(p.padding == kBorder ? vfi::backwarp_forward_tuned<F, kBorder>
                                      : vfi::backwarp_forward_tuned<F, kZeros>,
                 tiles_of(p.n, p.h, p.w));
  return run(vfi::backwarp_forward<F, A>, grid_of(p.n, p.h, p.w));
}

template <class F, class A>
const char* backwarp_backward(const BackwarpParams<F, A>& p, void* stream) {
  vfi::backwarp_backward<F, A><<<grid_of(p.n, p.h, p.w), kThreads, 0, stream_of(stream)>>>(p);
  return error_of(cudaGetLastError());
}

#define VFI_INSTANTIATE(F, A)                                                      \
  template const char* backwarp_forward<F, A>(const BackwarpParams<F, A>&, void*); \
  template const char* backwarp_backward<F, A>(const BackwarpParams<F, A>&, void*);
VFI_FOR_EACH_BACKWARP(VFI_INSTANTIATE)

}  // namespace vfi::cuda
