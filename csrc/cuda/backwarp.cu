#include "backwarp.cuh"
#include "choice.cuh"
#include "launch_ordered.cuh"
#include "tuned_backwarp.cuh"
#include "tuned_backwarp_backward.cuh"

namespace vfi::cuda {

template <class F, class A>
const char* backwarp_forward(const BackwarpParams<F, A>& p, void* stream) {
  if constexpr (sizeof(A) == sizeof(float)) {
    const auto tuned = p.padding == kBorder ? vfi::backwarp_forward_tuned<F, kBorder>
                                            : vfi::backwarp_forward_tuned<F, kZeros>;
    if (is_tuned(p)) return run(tuned, tiles_of(p.n, p.h, p.w, kBackwarpColumns, kBackwarpRows), p, stream);
  }
  return run(vfi::backwarp_forward<F, A>, grid_of(p.n, p.h, p.w), p, stream);
}

template <class F, class A>
const char* backwarp_backward(const BackwarpParams<F, A>& p, void* stream) {
  if (p.reach) {
    BackwarpParams<F, A> rest = p;
    rest.reach = nullptr;
    int channels = 0;  // of the images that want a gradient
    for (int k = 0; k < p.count; ++k) {
      if (p.images[k].grad_image.data) channels = std::max(channels, p.images[k].channels);
      rest.images[k].grad_image = {};
    }
    if (channels)
      if (const char* error = gather_frames<BackwarpReads<F, A>>(p, channels, stream)) return error;
    return p.grad_flow.data ? backwarp_backward(rest, stream) : nullptr;
  }
  if constexpr (sizeof(A) == sizeof(float)) {
    const auto tuned = p.padding == kBorder ? vfi::backwarp_backward_tuned<F, kBorder>
                                            : vfi::backwarp_backward_tuned<F, kZeros>;
    if (is_tuned(p)) return run(tuned, tiles_of(p.n, p.h, p.w), p, stream);
  }
  return run(vfi::backwarp_backward<F, A>, grid_of(p.n, p.h, p.w), p, stream);
}

#define VFI_INSTANTIATE(F, A)                                                      \
  template const char* backwarp_forward<F, A>(const BackwarpParams<F, A>&, void*); \
  template const char* backwarp_backward<F, A>(const BackwarpParams<F, A>&, void*);
VFI_FOR_EACH_BACKWARP(VFI_INSTANTIATE)

}  // namespace vfi::cuda
