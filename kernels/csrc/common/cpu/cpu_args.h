// What a CPU scan kernel works on besides scan_args.h. Channels are padded with zeros to a
// multiple of kChannelPad, so that vectors of any supported width need no mask.
#pragma once
#include "../scan_args.h"

namespace tinyvim {

constexpr int kChannelPad = 16;
// Channels of one task. Fixed, so that results do not depend on the number of
// threads or on the instruction set's width.
constexpr int kGroupChannels = 64;

struct CpuScanArgs : ScanArgs<float> {
  const int32_t* positions;  // (path, time), or null: position t at time t
};

struct ForwardArgs : CpuScanArgs {
  float* y;  // channels
  Strides y_strides;
  float* last_state;   // (batch, path, state, channel) or null
  float* checkpoints;  // (batch, path, time / kCheckpoint, state, channel) or null
};

struct BackwardArgs : CpuScanArgs {
  const float* grad_y;  // channels
  Strides grad_y_strides;
  const float* grad_last_state;  // (batch, path, state, channel) or null
  const float* checkpoints;      // as the forward pass wrote them

  float* grad_x;  // (batch, path, position, channel)
  float* grad_delta;  // (path, batch, position, channel), of the value before softplus
  float* grad_B;      // (group of channels, batch, path, position, state)
  float* grad_C;      // likewise
  float* grad_A;      // (batch, path, state, channel)
  float* grad_D;      // (batch, path, channel)
  float* grad_bias;   // (batch, path, channel)
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
