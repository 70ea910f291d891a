// Launches the programs of common/cuda as CUDA kernels. Plain CUDA: compiles with nvcc
// alone, without torch; each type of x is a file of its own, to be compiled in parallel.
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace tinyvim {

// Arguments travel by value: no copies to the device, so graphs can record it.
template <typename Program>
__global__ void __launch_bounds__(Program::kMaxThreads)
    run_program(const __grid_constant__ typename Program::Args args) {
  extern __shared__ __align__(16) float shared[];
  Program program(args, blockIdx.x, threadIdx.x / 32, shared);
  for (int piece = 0; piece < program.pieces(); ++piece) {
    if (piece > 0) __syncthreads();  // all have read the rows of the piece before
    program.stage_positions(piece);
    __syncthreads();
    program.stage_rows(piece);
    __syncthreads();
    program.walk(piece);
  }
  if (Program::kMeets) __syncthreads();
  program.finish();
}

inline void check(cudaError_t error) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("tinyvim_mm: launching a kernel of the scan failed: ") +
                             cudaGetErrorString(error));
  }
}

template <typename Program>
void launch(const typename Program::Args& args, int64_t blocks, int warps, int64_t shared_bytes,
            void* stream) {
  if (blocks > INT32_MAX) {
    throw std::runtime_error("tinyvim_mm: a scan of " + std::to_string(blocks) +
                             " blocks is more than a GPU takes at once; divide the batch");
  }
  if (shared_bytes > 48 * 1024) {  // a GPU gives more only when asked
    check(cudaFuncSetAttribute(run_program<Program>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)));
  }
  run_program<Program><<<static_cast<unsigned>(blocks), warps * 32, shared_bytes,
                         static_cast<cudaStream_t>(stream)>>>(args);
  check(cudaGetLastError());
}

}  // namespace tinyvim

#include "../../common/cuda/scan_run.h"

#define TINYVIM_DEFINE_SCANS(T)                                                              \
  template void launch_forward<T>(const ForwardArgs<T>&, const ForwardPlan&, void*); \
  template void launch_backward<T>(const BackwardArgs<T>&, void*);                   \
  template void launch_sum<T>(const SumArgs<T>&, void*);
