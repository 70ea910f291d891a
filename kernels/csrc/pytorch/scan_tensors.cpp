#include "tensors.h"

namespace tinyvim {

namespace {

bool given(const OptionalTensor& t) { return t.has_value() && t->defined(); }

at::Tensor coefficients(const Tensor& t, const Padding& padding) {
  return pad_last(t.to(at::kFloat).transpose(2, 3), padding.states);
}

}  // namespace

SequenceTensors::SequenceTensors(const Tensor& u_, const Tensor& delta_, const Tensor& A_,
                                 const Tensor& B_, const Tensor& C_, const OptionalTensor& D_,
                                 const OptionalTensor& delta_bias, const Padding& padding)
    : batch(u_.size(0)),
      groups(B_.size(1)),
      per_group(u_.size(1) / groups),
      padded(padded_size(per_group, padding.channels)),
      length(u_.size(2)),
      N(A_.size(1)),
      N_padded(padded_size(N, padding.states)),
      u(sequence(u_)),
      delta(sequence(delta_)),
      B(coefficients(B_, padding)),
      C(coefficients(C_, padding)),
      A(pad_last(A_.to(at::kFloat).reshape({groups, per_group, N}).transpose(1, 2),
                 padding.channels)),
      D(per_channel(D_, padding.channels)),
      bias(per_channel(delta_bias, padding.channels)) {}

at::Tensor SequenceTensors::sequence(const Tensor& t) const {
  const at::Tensor rows =
      t.to(at::kFloat).reshape({batch, groups, per_group, length}).transpose(2, 3);
  return padded == per_group ? rows.contiguous()
                             : at::constant_pad_nd(rows, {0, padded - per_group}).contiguous();
}

Tensor SequenceTensors::plain(const at::Tensor& t, at::ScalarType type) const {
  return t.narrow(3, 0, per_group)
      .transpose(2, 3)
      .reshape({batch, groups * per_group, length})
      .to(type);
}

at::Tensor SequenceTensors::state(const OptionalTensor& t) const {
  if (!given(t)) return at::Tensor();
  const at::Tensor rows =
      t->to(at::kFloat).reshape({batch, groups, per_group, N}).transpose(2, 3);
  return at::constant_pad_nd(rows, {0, padded - per_group}).contiguous();
}

Tensor SequenceTensors::plain_state(const at::Tensor& t) const {
  return t.narrow(3, 0, per_group).transpose(2, 3).reshape({batch, groups * per_group, N});
}

at::Tensor SequenceTensors::per_channel(const OptionalTensor& t, int64_t multiple) const {
  if (!given(t)) return at::Tensor();
  return pad_last(t->to(at::kFloat).reshape({groups, per_group}), multiple);
}

ScanGradients SequenceTensors::gradients(const ScanGrads& grads, const Tensor& u_,
                                         const Tensor& delta_, const Tensor& A_, const Tensor& B_,
                                         const Tensor& C_, const OptionalTensor& D_,
                                         const OptionalTensor& delta_bias) const {
  auto channels = [&](const at::Tensor& grad, const OptionalTensor& like) {
    // An operator returns tensors only; an empty one stands for none.
    if (!given(like)) return at::empty({0}, u.options());
    return grad.narrow(1, 0, per_group).reshape({groups * per_group}).to(like->scalar_type());
  };
  auto spread = [&](const at::Tensor& grad, const Tensor& like) {
    return grad.transpose(2, 3).contiguous().to(like.scalar_type());
  };
  const at::Tensor dA = grads.A.narrow(2, 0, per_group).transpose(1, 2);
  return {
      plain(grads.x, u_.scalar_type()),
      plain(grads.delta, delta_.scalar_type()),
      dA.reshape({groups * per_group, N}).to(A_.scalar_type()),
      spread(grads.B, B_),
      spread(grads.C, C_),
      channels(grads.D, D_),
      channels(grads.bias, delta_bias),
  };
}

}  // namespace tinyvim
