// The operators on checked arguments, one declaration for each backend to define.
#pragma once
#include <ATen/ATen.h>

#include <tuple>

namespace tinyvim {

using at::Tensor;
using OptionalTensor = c10::optional<Tensor>;
using SS2DGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using ScanGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Tensor ss2d_cpu(const Tensor& x, const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
                const Tensor& dt_projs_bias, const Tensor& A_logs, const Tensor& Ds,
                at::IntArrayRef paths);
SS2DGradients ss2d_backward_cpu(const Tensor& grad_y, const Tensor& x,
                                const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
                                const Tensor& dt_projs_bias, const Tensor& A_logs,
                                const Tensor& Ds, at::IntArrayRef paths);

std::tuple<Tensor, Tensor> selective_scan_cpu(const Tensor& u, const Tensor& delta,
                                              const Tensor& A, const Tensor& B, const Tensor& C,
                                              const OptionalTensor& D,
                                              const OptionalTensor& delta_bias,
                                              bool delta_softplus);
ScanGradients selective_scan_backward_cpu(const Tensor& grad_y,
                                          const OptionalTensor& grad_last_state, const Tensor& u,
                                          const Tensor& delta, const Tensor& A, const Tensor& B,
                                          const Tensor& C, const OptionalTensor& D,
                                          const OptionalTensor& delta_bias, bool delta_softplus);

Tensor ss2d_cuda(const Tensor& x, const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
                const Tensor& dt_projs_bias, const Tensor& A_logs, const Tensor& Ds,
                at::IntArrayRef paths);
SS2DGradients ss2d_backward_cuda(const Tensor& grad_y, const Tensor& x,
                                const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
                                const Tensor& dt_projs_bias, const Tensor& A_logs,
                                const Tensor& Ds, at::IntArrayRef paths);

std::tuple<Tensor, Tensor> selective_scan_cuda(const Tensor& u, const Tensor& delta,
                                              const Tensor& A, const Tensor& B, const Tensor& C,
                                              const OptionalTensor& D,
                                              const OptionalTensor& delta_bias,
                                              bool delta_softplus);
ScanGradients selective_scan_backward_cuda(const Tensor& grad_y,
                                          const OptionalTensor& grad_last_state, const Tensor& u,
                                          const Tensor& delta, const Tensor& A, const Tensor& B,
                                          const Tensor& C, const OptionalTensor& D,
                                          const OptionalTensor& delta_bias, bool delta_softplus);

}  // namespace tinyvim
