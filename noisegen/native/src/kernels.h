/* All kernels: one unit for each instruction set, so that the compiler sees everything. */
#include "flow.h"
#include "planes.h"
#include "png.h"
#include "published.h"
#include "random.h"
#include "signal.h"
#include "structure.h"
#include "upsampling.h"
#include "winograd.h"

EXPORT int noisegen_lanes(void) { return LANES; }
