// What the launches need to know of torch's CUDA state.
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAStream.h>

#include "../../common/cuda/scan_launch.h"

namespace tinyvim {

void* current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

int64_t multiprocessors() { return at::cuda::getCurrentDeviceProperties()->multiProcessorCount; }

}  // namespace tinyvim
