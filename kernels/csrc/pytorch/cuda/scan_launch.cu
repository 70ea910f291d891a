// The warp programs of scan_kernel.cuh as CUDA kernels. Plain CUDA: compiles with
// nvcc alone, without torch.
#include "../../common/cuda/scan_launch.h"

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace tinyvim {

namespace {

constexpr int kWarpsPerBlock = 4;
// Static shared memory ends at 48 KB; 16 states fill 16 KB a warp.
template <int NS>
constexpr int kBackwardWarps = NS < 16 ? 4 : 2;

// Arguments travel by value: no copies to the device, so graphs can record it.
template <int NS, int RANK>
__global__ void __launch_bounds__(kFusedWarps* TINYVIM_WARP)
    fused_kernel(CudaScanArgs a, float* y) {
  extern __shared__ float shared[];
  const int64_t tiles = channel_tiles(a.channels);
  const int64_t batch = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  const int warp = threadIdx.x / TINYVIM_WARP, warps = blockDim.x / TINYVIM_WARP;
  fused_scan<NS, RANK>(a, batch, tile, warp, shared);
  __syncthreads();
  fused_merge(a, batch, tile, warp, warps, shared, y);
}

template <int NS, int RANK>
__global__ void __launch_bounds__(kWarpsPerBlock* TINYVIM_WARP)
    forward_kernel(CudaScanArgs a, Pass pass, int64_t chunk_size, int64_t chunks, float* planes,
                   float* last_state, float* chunk_states, float* chunk_dt) {
  const int64_t id =
      static_cast<int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.x / TINYVIM_WARP;
  if (id >= forward_warps(a, chunks)) return;  // a whole warp
  forward_task<NS, RANK>(a, pass, id, chunk_size, chunks, planes, last_state, chunk_states,
                         chunk_dt);
}

template <int NS>
__global__ void __launch_bounds__(kBackwardWarps<NS> * TINYVIM_WARP)
    backward_kernel(CudaBackwardArgs a) {
  constexpr int kWarps = kBackwardWarps<NS>;
  __shared__ float saved[kWarps][kCudaSegment * NS * TINYVIM_WARP];
  const int warp = threadIdx.x / TINYVIM_WARP;
  const int64_t id = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  if (id >= backward_warps(a)) return;
  backward_task<NS>(a, id, saved[warp]);
}

void check(const char* what) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("tinyvim_mm: launching the ") + what +
                             " kernel failed: " + cudaGetErrorString(error));
  }
}

}  // namespace

int64_t multiprocessors() {
  int device = 0, count = 1;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}

void launch_forward(const CudaScanArgs& a, const ForwardPlan& plan, float* y, float* last_state,
                    float* chunk_states, float* chunk_dt, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  with_states(a.states, [&](auto ns) {
    with_rank(a.rank, [&](auto rank) {
      constexpr int NS = decltype(ns)::value, RANK = decltype(rank)::value;
      if (plan.fused) {
        const int64_t planes = a.paths * state_slices(a.states);
        const size_t bytes = planes * a.length * TINYVIM_WARP * sizeof(float);
        fused_kernel<NS, RANK><<<a.batch * channel_tiles(a.channels), planes * TINYVIM_WARP,
                                 bytes, stream>>>(a, y);
        check("fused forward");
        return;
      }
      const int64_t blocks = ceil_div(forward_warps(a, plan.chunks), kWarpsPerBlock);
      auto launch = [&](Pass pass) {
        forward_kernel<NS, RANK><<<blocks, kWarpsPerBlock * TINYVIM_WARP, 0, stream>>>(
            a, pass, plan.chunk_size, plan.chunks, y, last_state, chunk_states, chunk_dt);
        check("forward");
      };
      if (plan.chunks == 1) return launch(Pass::kWhole);
      launch(Pass::kChunkEnds);
      launch(Pass::kChunks);
    });
  });
}

void launch_backward(const CudaBackwardArgs& a, void* stream) {
  with_states(a.states, [&](auto ns) {
    constexpr int NS = decltype(ns)::value;
    constexpr int kWarps = kBackwardWarps<NS>;
    backward_kernel<NS><<<ceil_div(backward_warps(a), kWarps), kWarps * TINYVIM_WARP, 0,
                          static_cast<cudaStream_t>(stream)>>>(a);
    check("backward");
  });
}

}  // namespace tinyvim
