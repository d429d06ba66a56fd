/* All kernels: one unit for each instruction set, so that the compiler sees everything. */
#include "filter.h"
#include "network.h"
#include "planes.h"
#include "published.h"
#include "random.h"
#include "render.h"
#include "signal.h"
#include "upsampling.h"
#include "winograd.h"

EXPORT int noisegen_lanes(void) { return LANES; }
