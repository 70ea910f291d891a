#include "context.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

namespace tinyvim {

void* current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

Gpu present_gpu() {
  int device = 0, multiprocessors = 0, shared = 0;
  C10_CUDA_CHECK(cudaGetDevice(&device));
  C10_CUDA_CHECK(
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  C10_CUDA_CHECK(
      cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return {multiprocessors, shared};
}

}  // namespace tinyvim
