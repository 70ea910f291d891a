#include "scan_launch.cuh"

namespace tinyvim {

TINYVIM_DEFINE_SCANS(Half)

}  // namespace tinyvim
