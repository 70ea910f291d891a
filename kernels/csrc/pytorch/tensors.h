// From the operators' arguments to the layout that kernels read, and back from
// what they write to gradients. The same for CPU and CUDA.
#pragma once
#include "ops.h"

namespace tinyvim {

// Each of these sizes is padded with zeros to a multiple.
struct Padding {
  int64_t channels, states, rank;
};

int64_t padded_size(int64_t size, int64_t multiple);

// Zeros appended to the last axis; contiguous.
at::Tensor pad_last(const at::Tensor& t, int64_t multiple);

// Sum over an axis of a contiguous tensor, always in the same order.
at::Tensor ordered_sum(const at::Tensor& t, int64_t axis);

inline const float* data_or_null(const at::Tensor& t) {
  return t.defined() ? t.const_data_ptr<float>() : nullptr;
}

// What the kernels' sums over time and channels leave for the projections.
struct ScanGrads {
  at::Tensor x;               // (batch, L, padded), summed over paths
  at::Tensor delta;           // (K, batch * L, padded), before softplus
  at::Tensor B, C;            // (batch, K, L, N)
  at::Tensor A;               // (K, N, padded)
  at::Tensor D, bias;         // (K, padded)
};

// The arguments of ss2d. Both projections act on each position alone, so they
// are matrix products on the map as it lies; a scan reads the results by index.
struct SS2DTensors {
  int64_t batch, height, width, length, d, padded, K, R, N;
  int64_t R_padded, N_padded, columns;  // of one path: R_padded + 2 N_padded
  at::Tensor x;          // (batch, L, padded)
  at::Tensor x_weight;   // (K * columns, padded): dt_low, B, C of each path
  at::Tensor projected;  // (batch * L, K, columns)
  at::Tensor dt_weight;  // (K, R, padded)
  at::Tensor A;          // (K, N, padded), -exp(A_logs)
  at::Tensor D, bias;    // (K, padded)

  SS2DTensors(const Tensor& x, const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
              const Tensor& dt_projs_bias, const Tensor& A_logs, const Tensor& Ds,
              const Padding& padding);

  // (K, batch * L, padded): step sizes before bias and softplus.
  at::Tensor delta() const;
  // (batch, d, H, W) to (batch, L, padded), and back with channels-last strides.
  at::Tensor rows(const Tensor& map) const;
  Tensor map(const at::Tensor& rows, at::ScalarType type) const;

  SS2DGradients gradients(const ScanGrads& grads, const Tensor& x, const Tensor& x_proj_weight,
                          const Tensor& dt_projs_weight, const Tensor& dt_projs_bias,
                          const Tensor& A_logs, const Tensor& Ds) const;

 private:
  at::Tensor dt_low() const;
};

// The arguments of selective_scan; groups take the place of paths.
struct SequenceTensors {
  int64_t batch, groups, per_group, padded, length, N, N_padded;
  at::Tensor u, delta;    // (batch, groups, L, padded)
  at::Tensor B, C;        // (batch, groups, L, N_padded)
  at::Tensor A, D, bias;  // (groups, N, padded); (groups, padded) or undefined

  SequenceTensors(const Tensor& u, const Tensor& delta, const Tensor& A, const Tensor& B,
                  const Tensor& C, const OptionalTensor& D, const OptionalTensor& delta_bias,
                  const Padding& padding);

  // (batch, dim, L) to (batch, groups, L, padded), and back.
  at::Tensor sequence(const Tensor& t) const;
  Tensor plain(const at::Tensor& t, at::ScalarType type) const;
  // (batch, dim, N) to (batch, groups, N, padded), and back.
  at::Tensor state(const OptionalTensor& t) const;
  Tensor plain_state(const at::Tensor& t) const;

  // u and delta are (batch, groups, L, padded) here, else as in ScanGrads.
  ScanGradients gradients(const ScanGrads& grads, const Tensor& u, const Tensor& delta,
                          const Tensor& A, const Tensor& B, const Tensor& C,
                          const OptionalTensor& D, const OptionalTensor& delta_bias) const;

 private:
  at::Tensor per_channel(const OptionalTensor& t, int64_t multiple) const;
};

}  // namespace tinyvim
