/* All kernels: one unit for each instruction set, so that the compiler sees everything. */
#include "flow.h"
#include "random.h"

EXPORT int noisegen_lanes(void) { return LANES; }
