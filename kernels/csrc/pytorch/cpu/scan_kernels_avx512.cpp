// The scan kernels for one instruction set; setup.py gives the compiler flags.
#include "../../common/cpu/scan_kernel.h"

namespace tinyvim {

ScanKernels scan_kernels_avx512() {
  return {"avx512", forward_any, backward_any, sum_tensors};
}

}  // namespace tinyvim
