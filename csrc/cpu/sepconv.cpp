// Separable convolution, once for each instruction set.
#include "sepconv_forward.h"
#include "sepconv_image.h"
#include "sepconv_taps.h"

namespace vfi::VFI_VERSION {

#define VFI_FORWARD(T, F) template void sepconv_forward<T, F>(const SepconvParams<T, F>&, i64, i64);
VFI_FOR_EACH_PAIR(VFI_FORWARD)

#define VFI_BACKWARD(T, F)                                                         \
  template void sepconv_backward_taps<T, F>(const SepconvParams<T, F>&, i64, i64); \
  template void sepconv_backward_image<T, F>(const SepconvParams<T, F>&, i64, i64);
VFI_FOR_EACH_FLOAT_PAIR(VFI_BACKWARD)

}  // namespace vfi::VFI_VERSION
