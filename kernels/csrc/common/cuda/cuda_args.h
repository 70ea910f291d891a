// What the CUDA kernels work on, and how they are launched; free of torch and of CUDA.
// Pointers are to device memory.
#pragma once
#include <cstdint>

#include "../scan_args.h"

namespace tinyvim {

// The 16-bit types as they lie in memory.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// Paths whose codes travel with a launch; the order of more of them is a table in memory.
constexpr int kMaxCodes = 64;

template <typename T>
struct CudaScanArgs : ScanArgs<T> {
  bool sum_paths;            // all paths read the same map, and their results are summed
  const int32_t* positions;  // (path, time), or null:
  bool ordered;              // by `codes` (scan_path.h), else position t at time t
  int height, width;         // of the map
  int x_row, step_row, B_row, C_row;  // bytes from one position to the next
  uint8_t codes[kMaxCodes];
};

// A unit is a tile of 32 channels and a slice of states; neighboring units are the slices of
// one tile. A block has one image, one chunk of the time, `paths` neighboring paths and
// `units` neighboring units, with a warp for each path and unit. What all channels need of
// dt_low, B and C lies in its shared memory.
struct Division {
  int64_t blocks;
  int warps;             // of a block: paths * units
  int64_t shared_bytes;  // of a block
  int chunk, chunks;     // times; a chunk is a multiple of kCheckpoint
  int piece;             // times whose rows are in shared memory at once, likewise
  int paths, path_groups;
  int units, unit_groups, all_units;
  int slices;
  int rank;        // of dt_low, 0 if step sizes are given
  int row_floats;  // B and C of each slice, padded to four
  int own_floats;  // shared memory of each warp
};

template <typename T>
struct ForwardArgs {
  CudaScanArgs<T> scan;
  Division division;
  T* y;           // (batch, [path], position, channel), or null ...
  float* planes;  // (slice, batch, path, position, channel), or null too
  bool ends;      // what the launch at hand computes is where chunks end
  float* last_state;    // (batch, path, state, channel) or null
  float* checkpoints;   // (batch, path, time / kCheckpoint, state, channel) or null
  float* chunk_ends;    // BlockScan::carry, if there are chunks
};

template <typename T>
struct BackwardArgs {
  CudaScanArgs<T> scan;
  Division division;
  const T* grad_y;
  Strides grad_y_strides;
  int grad_y_row;  // bytes from one position to the next
  const float* grad_last_state;  // (batch, path, state, channel) or null
  const float* checkpoints;      // (batch, path, time / kCheckpoint, state, channel)
  float* chunk_ends;             // BlockScan::carry, if there are chunks

  float* grad_x;      // (slice, batch, path, position, channel)
  float* grad_delta;  // (slice, path, batch, position, channel); before softplus
  // One plane for each tile of channels:
  float* grad_B;  // (tile, batch, path, position, state)
  float* grad_C;
  // One plane for each image and chunk:
  float* grad_A;     // (batch, chunk, path, state, channel)
  float* grad_D;     // (batch, chunk, path, channel)
  float* grad_bias;  // (slice, batch, chunk, path, channel)
};

// out[o, i] = sum over p, then over q, of in[o * outer_stride + p * p_stride + q * q_stride + i].
// If `split`, the warps of a block share the sum over q, and p_count is 1.
template <typename Out>
struct SumArgs {
  const float* in;
  Out* out;
  int64_t outer, inner, outer_stride;
  int p_count, q_count;
  int64_t p_stride, q_stride;
  bool split;
};

// On a GPU pytorch/cuda/scan_launch.cuh defines these, without one
// tests/test_ops/emulation.cpp. T is float, Half or BFloat16.
struct ForwardPlan;
template <typename T>
void launch_forward(const ForwardArgs<T>& args, const ForwardPlan& plan, void* stream);
template <typename T>
void launch_backward(const BackwardArgs<T>& args, void* stream);
template <typename Out>
void launch_sum(const SumArgs<Out>& args, void* stream);

}  // namespace tinyvim
