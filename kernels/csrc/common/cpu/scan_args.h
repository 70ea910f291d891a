// What a CPU scan kernel works on. Free of torch: the kernels are compiled once
// per instruction set, and an inline function of a torch header compiled for
// AVX-512 could replace its twin elsewhere in the library.
#pragma once
#include <cstdint>

namespace tinyvim {

// Channels are the innermost axis of every tensor and padded to a multiple of
// kChannelPad, so that vectors of any supported width need no mask.
constexpr int kChannelPad = 16;
// Channels of one task. Fixed, so that results do not depend on the number of
// threads or on the instruction set's width.
constexpr int kGroupChannels = 64;
// Positions between two checkpoints of the state in the backward pass.
constexpr int kSegment = 16;

// Strides of a tensor with axes (batch, path, position) and contiguous last axis.
struct Strides {
  int64_t batch, path, position;
};

struct ScanArgs {
  int64_t batch, paths, length, channels, states;  // channels: padded
  const int32_t* positions;  // (paths, length), or null: position t at time t
  bool softplus;

  const float* x;      // channels
  Strides x_strides;
  // Before bias and softplus; either given or, if null, dt_low times dt_weight.
  const float* delta;  // channels
  Strides delta_strides;
  const float* dt_low;  // rank
  Strides dt_low_strides;
  const float* dt_weight;  // (paths, rank, channels)
  int64_t rank;
  const float* B;      // states
  const float* C;      // states
  Strides BC_strides;
  const float* A;      // (paths, states, channels)
  const float* D;      // (paths, channels) or null
  const float* bias;   // (paths, channels) or null
};

struct ForwardArgs : ScanArgs {
  float* y;  // channels
  Strides y_strides;
  float* last_state;  // (batch, paths, states, channels) or null
};

struct BackwardArgs : ScanArgs {
  const float* grad_y;  // channels
  Strides grad_y_strides;
  const float* grad_last_state;  // as last_state, or null

  float* grad_x;  // (batch, paths, length, channels)
  float* grad_delta;  // channels
  Strides grad_delta_strides;
  float* grad_B;      // (groups of channels, batch, paths, length, states)
  float* grad_C;      // likewise
  float* grad_A;      // (batch, paths, states, channels)
  float* grad_D;      // (batch, paths, channels)
  float* grad_bias;   // (batch, paths, channels)
};

// One task is one image, one path and one group of channels.
struct ScanKernels {
  const char* name;
  void (*forward)(const ForwardArgs&, int64_t batch, int64_t path, int64_t group);
  void (*backward)(const BackwardArgs&, int64_t batch, int64_t path, int64_t group);
  // out[i] = ((in[0][i] + in[1][i]) + in[2][i]) + ..., `count` tensors of `size`.
  void (*sum)(const float* in, int64_t count, int64_t stride, int64_t size, float* out);
};

// Defined by the same source, compiled once per instruction set.
ScanKernels scan_kernels_default();
#if defined(TINYVIM_X86)
ScanKernels scan_kernels_avx2();
ScanKernels scan_kernels_avx512();
#endif

}  // namespace tinyvim
