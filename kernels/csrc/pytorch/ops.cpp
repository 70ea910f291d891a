// Schemas of the operators; their kernels are registered in cpu/ and cuda/, fake kernels and
// derivatives in tinyvim_mm/ops/backends/registration.py, where the arguments are described.
#include <torch/library.h>

#include <string>

#define TINYVIM_SCAN_ARGUMENTS                                                             \
  "Tensor x, Tensor step, Tensor? step_weight, Tensor B, Tensor C, Tensor A, Tensor? D, "   \
  "Tensor? bias, Tensor? positions, int[] paths, int width, bool softplus"

TORCH_LIBRARY(tinyvim_mm, m) {
  m.def("scan(" TINYVIM_SCAN_ARGUMENTS
        ", bool keep_state, bool keep_checkpoints) -> (Tensor, Tensor, Tensor)");
  m.def("scan_backward(Tensor grad_y, Tensor? grad_last_state, Tensor? checkpoints, "
        TINYVIM_SCAN_ARGUMENTS
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

TORCH_LIBRARY_IMPL(tinyvim_mm, CompositeExplicitAutograd, m) {
  m.impl("cpu_capability", tinyvim::cpu_capability);
  m.impl("build_info", tinyvim::build_info);
}
