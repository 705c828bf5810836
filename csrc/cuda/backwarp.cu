#include "backwarp.cuh"
#include "launch.cuh"

namespace vfi::cuda {

template <class F, class A>
const char* backwarp_forward(const BackwarpParams<F, A>& p, void* stream) {
  vfi::backwarp_forward<F, A><<<grid_of(p.n, p.h, p.w), kThreads, 0, stream_of(stream)>>>(p);
  return error_of(cudaGetLastError());
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
