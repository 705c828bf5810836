#define VFI_LEVEL 3
#include "versions.h"
#ifdef VFI_HAS_VERSIONS
#include "warp_frames.cpp"
#endif
