/* All kernels: one unit for each instruction set, so that the compiler sees everything. */
#include "png.h"
#include "vector.h"

EXPORT int noisegen_lanes(void) { return LANES; }
