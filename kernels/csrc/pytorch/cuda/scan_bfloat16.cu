#include "scan_launch.cuh"

namespace tinyvim {

TINYVIM_DEFINE_SCANS(BFloat16)

}  // namespace tinyvim
