// The general loops of voxel_flow, for every pair of dtypes.
#include "pair.h"

namespace vfi {

#define VFI_FORWARD(T, F) \
  template void pair_forward_block<VoxelFlow<T, F>>(const VoxelFlowParams<T, F>&, i64, int, int, int);
VFI_FOR_EACH_PAIR(VFI_FORWARD)

#define VFI_BACKWARD(T, F) \
  template void pair_backward_inputs_block<VoxelFlow<T, F>>(const VoxelFlowParams<T, F>&, i64, int, int, int);
VFI_FOR_EACH_FLOAT_PAIR(VFI_BACKWARD)

}  // namespace vfi
