#include "tensors.h"

namespace tinyvim {

namespace {

at::Tensor as_float(const Tensor& t) { return t.to(at::kFloat); }

// Pads the middle axis of (a, b, c).
at::Tensor pad_rows(const at::Tensor& t, int64_t size) {
  return t.size(1) == size ? t : at::constant_pad_nd(t, {0, 0, 0, size - t.size(1)});
}

}  // namespace

int64_t padded_size(int64_t size, int64_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

at::Tensor pad_last(const at::Tensor& t, int64_t multiple) {
  const int64_t missing = padded_size(t.size(-1), multiple) - t.size(-1);
  return missing == 0 ? t.contiguous() : at::constant_pad_nd(t, {0, missing}).contiguous();
}

SS2DTensors::SS2DTensors(const Tensor& x_, const Tensor& x_proj_weight,
                         const Tensor& dt_projs_weight, const Tensor& dt_projs_bias,
                         const Tensor& A_logs, const Tensor& Ds, const Padding& padding)
    : batch(x_.size(0)),
      height(x_.size(2)),
      width(x_.size(3)),
      length(height * width),
      d(x_.size(1)),
      padded(padded_size(d, padding.channels)),
      K(dt_projs_weight.size(0)),
      R(dt_projs_weight.size(2)),
      N(A_logs.size(1)),
      R_padded(padded_size(R, padding.rank)),
      N_padded(padded_size(N, padding.states)),
      columns(R_padded + 2 * N_padded),
      x(rows(x_)) {
  const at::Tensor weight = pad_last(as_float(x_proj_weight), padding.channels);
  const bool as_it_is = R == R_padded && N == N_padded;
  x_weight = (as_it_is ? weight
                       : at::cat({pad_rows(weight.narrow(1, 0, R), R_padded),
                                  pad_rows(weight.narrow(1, R, N), N_padded),
                                  pad_rows(weight.narrow(1, R + N, N), N_padded)},
                                 1))
                 .reshape({K * columns, padded});
  projected = at::mm(x.view({batch * length, padded}), x_weight.t())
                  .view({batch * length, K, columns});
  dt_weight = pad_last(as_float(dt_projs_weight).transpose(1, 2), padding.channels);
  A = pad_last(as_float(A_logs).exp().neg().view({K, d, N}).transpose(1, 2), padding.channels);
  D = pad_last(as_float(Ds).view({K, d}), padding.channels);
  bias = pad_last(as_float(dt_projs_bias), padding.channels);
}

at::Tensor SS2DTensors::dt_low() const { return projected.narrow(2, 0, R).transpose(0, 1); }

at::Tensor SS2DTensors::delta() const { return at::bmm(dt_low(), dt_weight); }

at::Tensor SS2DTensors::rows(const Tensor& map) const {
  const at::Tensor positions =
      as_float(map).permute({0, 2, 3, 1}).reshape({batch, length, d});
  return padded == d ? positions.contiguous()
                     : at::constant_pad_nd(positions, {0, padded - d}).contiguous();
}

Tensor SS2DTensors::map(const at::Tensor& rows, at::ScalarType type) const {
  return rows.view({batch, length, padded})
      .narrow(2, 0, d)
      .to(type)
      .contiguous()
      .view({batch, height, width, d})
      .permute({0, 3, 1, 2});
}

SS2DGradients SS2DTensors::gradients(const ScanGrads& grads, const Tensor& x_,
                                     const Tensor& x_proj_weight, const Tensor& dt_projs_weight,
                                     const Tensor& dt_projs_bias, const Tensor& A_logs,
                                     const Tensor& Ds) const {
  const int64_t positions = batch * length;
  // Columns of the padding stay zero.
  const bool filled = R == R_padded && N == N_padded;
  at::Tensor grad_projected = (filled ? at::empty_like(projected) : at::zeros_like(projected));
  grad_projected.narrow(2, 0, R)
      .copy_(at::bmm(grads.delta, dt_weight.transpose(1, 2)).transpose(0, 1));
  at::Tensor per_image = grad_projected.view({batch, length, K, columns});
  per_image.narrow(3, R_padded, N).copy_(grads.B.transpose(1, 2));
  per_image.narrow(3, R_padded + N_padded, N).copy_(grads.C.transpose(1, 2));
  const at::Tensor flat = grad_projected.view({positions, K * columns});

  const at::Tensor dx = grads.x.view({positions, padded}).addmm(flat, x_weight);
  const at::Tensor dx_weight = at::mm(flat.t(), x.view({positions, padded}))
                                   .view({K, columns, padded})
                                   .narrow(2, 0, d);
  const at::Tensor ddt_weight = at::bmm(grads.delta.transpose(1, 2), dt_low()).narrow(1, 0, d);
  // With one path the reshape is a view, whose strides are not those that torch was told.
  const at::Tensor dA =
      (grads.A * A).narrow(2, 0, d).transpose(1, 2).reshape({K * d, N}).contiguous();
  return {
      map(dx, x_.scalar_type()),
      at::cat({dx_weight.narrow(1, 0, R), dx_weight.narrow(1, R_padded, N),
               dx_weight.narrow(1, R_padded + N_padded, N)},
              1)
          .to(x_proj_weight.scalar_type()),
      ddt_weight.contiguous().to(dt_projs_weight.scalar_type()),
      grads.bias.narrow(1, 0, d).contiguous().to(dt_projs_bias.scalar_type()),
      dA.to(A_logs.scalar_type()),
      grads.D.narrow(1, 0, d).reshape({K * d}).to(Ds.scalar_type()),
  };
}

}  // namespace tinyvim
