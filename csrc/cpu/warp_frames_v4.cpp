#define VFI_LEVEL 4
#include "versions.h"
#ifdef VFI_HAS_VERSIONS
#include "warp_frames.cpp"
#endif
