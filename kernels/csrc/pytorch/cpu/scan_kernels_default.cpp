// The scan kernels for one instruction set; setup.py gives the compiler flags.
#include "../../common/cpu/scan_kernel.h"

namespace tinyvim {

ScanKernels scan_kernels_default() {
  return {"default", forward_any, backward_any, sum_tensors};
}

}  // namespace tinyvim
