// Schemas of the operators and their CPU kernels. Shapes are checked in Python;
// fake kernels and autograd stand in tinyvim_mm/ops/backends/compiled.py.
#include "ops.h"

#include <torch/library.h>

#define TINYVIM_SS2D_ARGUMENTS                                                          \
  "Tensor x, Tensor x_proj_weight, Tensor dt_projs_weight, Tensor dt_projs_bias, "      \
  "Tensor A_logs, Tensor Ds, int[] paths"
#define TINYVIM_SCAN_ARGUMENTS                                                          \
  "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? delta_bias, " \
  "bool delta_softplus"

TORCH_LIBRARY(tinyvim_mm, m) {
  m.def("ss2d(" TINYVIM_SS2D_ARGUMENTS ") -> Tensor");
  m.def("ss2d_backward(Tensor grad_y, " TINYVIM_SS2D_ARGUMENTS
        ") -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("selective_scan(" TINYVIM_SCAN_ARGUMENTS ") -> (Tensor, Tensor)");
  m.def("selective_scan_backward(Tensor grad_y, Tensor? grad_last_state, " TINYVIM_SCAN_ARGUMENTS
        ") -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("cpu_capability() -> str");
  m.def("build_info() -> str");
}

namespace tinyvim {

std::string cpu_capability();

// compiled.py looks for this text in the file when the file does not load, the
// doctor for the architectures.
#if defined(TINYVIM_CUDA_ARCHITECTURES)
#define TINYVIM_CUDA_INFO ", architectures " TINYVIM_CUDA_ARCHITECTURES
#else
#define TINYVIM_CUDA_INFO ""
#endif
std::string build_info() {
  return "tinyvim_mm operators for torch " TINYVIM_TORCH_VERSION TINYVIM_CUDA_INFO;
}

}  // namespace tinyvim

TORCH_LIBRARY_IMPL(tinyvim_mm, CPU, m) {
  m.impl("ss2d", tinyvim::ss2d_cpu);
  m.impl("ss2d_backward", tinyvim::ss2d_backward_cpu);
  m.impl("selective_scan", tinyvim::selective_scan_cpu);
  m.impl("selective_scan_backward", tinyvim::selective_scan_backward_cpu);
}

#if defined(TINYVIM_WITH_CUDA)
TORCH_LIBRARY_IMPL(tinyvim_mm, CUDA, m) {
  m.impl("ss2d", tinyvim::ss2d_cuda);
  m.impl("ss2d_backward", tinyvim::ss2d_backward_cuda);
  m.impl("selective_scan", tinyvim::selective_scan_cuda);
  m.impl("selective_scan_backward", tinyvim::selective_scan_backward_cuda);
}
#endif

TORCH_LIBRARY_IMPL(tinyvim_mm, CompositeExplicitAutograd, m) {
  m.impl("cpu_capability", tinyvim::cpu_capability);
  m.impl("build_info", tinyvim::build_info);
}
