// The 1-D selective scan on a CPU: groups take the place of paths.
#include "../ops.h"
#include "scan_cpu.h"

namespace tinyvim {

namespace {

struct Prepared {
  int64_t batch, groups, per_group, padded, length, N;
  at::Tensor u, delta;    // (batch, groups, L, padded)
  at::Tensor B, C;        // (batch, groups, L, N)
  at::Tensor A, D, bias;  // (groups, N, padded), (groups, padded) or undefined
  bool softplus;

  Prepared(const Tensor& u_, const Tensor& delta_, const Tensor& A_, const Tensor& B_,
           const Tensor& C_, const OptionalTensor& D_, const OptionalTensor& bias_,
           bool delta_softplus)
      : batch(u_.size(0)),
        groups(B_.size(1)),
        per_group(u_.size(1) / groups),
        padded(padded_channels(per_group)),
        length(u_.size(2)),
        N(A_.size(1)),
        u(sequence(u_)),
        delta(sequence(delta_)),
        B(as_float(B_).transpose(2, 3).contiguous()),
        C(as_float(C_).transpose(2, 3).contiguous()),
        A(pad_channels(as_float(A_).view({groups, per_group, N}).transpose(1, 2))),
        D(per_channel(D_)),
        bias(per_channel(bias_)),
        softplus(delta_softplus) {}

  // (batch, dim, L) to (batch, groups, L, padded).
  at::Tensor sequence(const Tensor& t) const {
    return pad_channels(
        as_float(t).reshape({batch, groups, per_group, length}).transpose(2, 3));
  }
  Tensor back(const at::Tensor& t, const Tensor& like) const {
    return t.narrow(3, 0, per_group)
        .transpose(2, 3)
        .reshape({batch, groups * per_group, length})
        .to(like.scalar_type());
  }
  at::Tensor per_channel(const OptionalTensor& t) const {
    if (!t.has_value() || !t->defined()) return at::Tensor();
    return pad_channels(as_float(*t).view({groups, per_group}));
  }
  Tensor from_channels(const at::Tensor& t, const OptionalTensor& like) const {
    if (!like.has_value() || !like->defined()) return at::empty({0}, t.options());
    return ordered_sum(t, 0).narrow(1, 0, per_group).reshape({-1}).to(like->scalar_type());
  }
  Tensor coefficients(const at::Tensor& t, const Tensor& like) const {
    return ordered_sum(t, 0).transpose(2, 3).contiguous().to(like.scalar_type());
  }

  void fill(ScanArgs* a) const {
    const Strides strides{groups * length * padded, length * padded, padded};
    a->batch = batch;
    a->paths = groups;
    a->length = length;
    a->channels = padded;
    a->states = N;
    a->positions = nullptr;
    a->softplus = softplus;
    a->x = u.const_data_ptr<float>();
    a->x_strides = strides;
    a->delta = delta.const_data_ptr<float>();
    a->delta_strides = strides;
    a->B = B.const_data_ptr<float>();
    a->C = C.const_data_ptr<float>();
    a->BC_strides = {groups * length * N, length * N, N};
    a->A = A.const_data_ptr<float>();
    a->D = data_or_null(D);
    a->bias = data_or_null(bias);
  }
};

}  // namespace

std::tuple<Tensor, Tensor> selective_scan_cpu(const Tensor& u, const Tensor& delta,
                                              const Tensor& A, const Tensor& B, const Tensor& C,
                                              const OptionalTensor& D,
                                              const OptionalTensor& delta_bias,
                                              bool delta_softplus) {
  const Prepared p(u, delta, A, B, C, D, delta_bias, delta_softplus);
  at::Tensor y = at::empty_like(p.u);
  at::Tensor last = at::empty({p.batch, p.groups, p.N, p.padded}, p.u.options());
  ForwardArgs args{};
  p.fill(&args);
  args.y = y.data_ptr<float>();
  args.y_strides = args.x_strides;
  args.last_state = last.data_ptr<float>();
  run_forward(args);
  const at::Tensor state = last.narrow(3, 0, p.per_group)
                               .transpose(2, 3)
                               .reshape({p.batch, p.groups * p.per_group, p.N});
  return {p.back(y, u), state};
}

ScanGradients selective_scan_backward_cpu(const Tensor& grad_y,
                                          const OptionalTensor& grad_last_state, const Tensor& u,
                                          const Tensor& delta, const Tensor& A, const Tensor& B,
                                          const Tensor& C, const OptionalTensor& D,
                                          const OptionalTensor& delta_bias, bool delta_softplus) {
  const Prepared p(u, delta, A, B, C, D, delta_bias, delta_softplus);
  const at::Tensor dy = p.sequence(grad_y);
  at::Tensor dlast;
  if (grad_last_state.has_value() && grad_last_state->defined()) {
    dlast = pad_channels(as_float(*grad_last_state)
                             .reshape({p.batch, p.groups, p.per_group, p.N})
                             .transpose(2, 3));
  }
  const auto options = p.u.options();
  const int64_t tasks = channel_groups(p.padded);
  at::Tensor grad_u = at::empty_like(p.u), grad_delta = at::empty_like(p.u);
  at::Tensor grad_B = at::empty({tasks, p.batch, p.groups, p.length, p.N}, options);
  at::Tensor grad_C = at::empty_like(grad_B);
  at::Tensor grad_A = at::empty({p.batch, p.groups, p.N, p.padded}, options);
  at::Tensor grad_D = at::empty({p.batch, p.groups, p.padded}, options);
  at::Tensor grad_bias = at::empty_like(grad_D);

  BackwardArgs args{};
  p.fill(&args);
  args.grad_y = dy.const_data_ptr<float>();
  args.grad_y_strides = args.x_strides;
  args.grad_last_state = data_or_null(dlast);
  args.grad_x = grad_u.data_ptr<float>();
  args.grad_delta = grad_delta.data_ptr<float>();
  args.grad_B = grad_B.data_ptr<float>();
  args.grad_C = grad_C.data_ptr<float>();
  args.grad_A = grad_A.data_ptr<float>();
  args.grad_D = grad_D.data_ptr<float>();
  args.grad_bias = grad_bias.data_ptr<float>();
  run_backward(args);

  const at::Tensor dA = ordered_sum(grad_A, 0).narrow(2, 0, p.per_group).transpose(1, 2);
  return {
      p.back(grad_u, u),
      p.back(grad_delta, delta),
      dA.reshape({p.groups * p.per_group, p.N}).to(A.scalar_type()),
      p.coefficients(grad_B, B),
      p.coefficients(grad_C, C),
      p.from_channels(grad_D, D),
      p.from_channels(grad_bias, delta_bias),
  };
}

}  // namespace tinyvim
