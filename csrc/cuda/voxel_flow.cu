#include "launch_pair.cuh"

namespace vfi::cuda {

#define VFI_FORWARD(T, F) \
  template const char* pair_forward<VoxelFlow<T, F>>(const VoxelFlowParams<T, F>&, void*);
VFI_FOR_EACH_PAIR(VFI_FORWARD)

#define VFI_BACKWARD(T, F) \
  template const char* pair_backward<VoxelFlow<T, F>>(const VoxelFlowParams<T, F>&, void*);
VFI_FOR_EACH_FLOAT_PAIR(VFI_BACKWARD)

}  // namespace vfi::cuda
