/* All kernels: one unit for each instruction set, so that the compiler sees everything. */
#include "filter.h"
#include "network.h"
#include "random.h"
#include "render.h"

EXPORT int noisegen_lanes(void) { return LANES; }
