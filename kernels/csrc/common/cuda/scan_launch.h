// Launching the CUDA kernels; free of torch. pytorch/cuda/scan_launch.cu defines
// the functions for a GPU, tests/test_ops/emulation.cpp for a CPU.
#pragma once
#include <cstdint>

#include "scan_kernel.cuh"

namespace tinyvim {

// How a forward scan divides a path.
struct ForwardPlan {
  // All paths and slices of a tile in one block, summed in shared memory.
  bool fused;
  // Else each plane (path, slice) is written out, in `chunks` pieces of the path.
  int64_t chunk_size, chunks;
};

constexpr int64_t kFusedSharedBytes = 48 * 1024;  // what every GPU gives without asking
constexpr int64_t kChunk = 64;

// Decided from shapes and the number of multiprocessors alone, never from values.
inline ForwardPlan plan_forward(const CudaScanArgs& a, bool sum_over_paths,
                                int64_t multiprocessors) {
  const int64_t planes = a.paths * state_slices(a.states);
  const int64_t bytes = planes * a.length * TINYVIM_WARP * sizeof(float);
  if (sum_over_paths && planes <= kFusedWarps && bytes <= kFusedSharedBytes) {
    return {true, a.length, 1};
  }
  // Chunks cost a second pass over the sequence; they pay while the GPU has
  // fewer warps than it can hold.
  const bool idle = forward_warps(a, 1) < 8 * multiprocessors;
  if (idle && a.length >= 4 * kChunk) return {false, kChunk, ceil_div(a.length, kChunk)};
  return {false, a.length, 1};
}

// Everything is device memory.
//   y: (batch, position, channel) if fused, summed over paths and slices, else
//      planes (slice, batch, path, position, channel).
//   last_state: (batch, path, state, channel) or null; not with `fused`.
//   chunk_states: (batch, path, chunk, state, channel) and
//   chunk_dt: (slice, batch, path, chunk, channel): scratch, unused for one chunk.
void launch_forward(const CudaScanArgs& args, const ForwardPlan& plan, float* y,
                    float* last_state, float* chunk_states, float* chunk_dt, void* stream);
void launch_backward(const CudaBackwardArgs& args, void* stream);

// The stream of the caller and the size of its GPU.
void* current_stream();
int64_t multiprocessors();

}  // namespace tinyvim
