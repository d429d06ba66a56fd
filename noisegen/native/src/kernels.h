/* All kernels: one unit for each instruction set, so that the compiler sees everything. */
#include "vector.h"

#include "gemm.h"
#include "planes.h"
#include "upsampling.h"
#include "winograd.h"

EXPORT int noisegen_lanes(void) { return LANES; }
