"""Any values for the arguments of the backbone: built, or refused with the argument's name."""

import inspect

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinyvim_mm.models import TinyViM

TINY = {'embed_dims': (8, 8, 8, 8), 'depths': (1, 1, 1, 1)}
ARGUMENTS = [name for name in inspect.signature(TinyViM).parameters if name != 'init_cfg']

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.floats(-3, 3) | st.just(float('nan')) | st.just(float('inf')),
    st.sampled_from(['s', 'low', 'add', 'reference', '', 'auto', 'BN', '7', (), 'concat']),
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=5),
    st.lists(scalars, min_size=4, max_size=4).map(tuple),
    st.dictionaries(st.sampled_from(['type', 'embed_dims', 'depths', 'eps', 'x']), scalars),
    st.fixed_dictionaries(
        {key: st.lists(scalars, min_size=4, max_size=4) for key in ('embed_dims', 'depths')}
    ),
)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(ARGUMENTS), value=values)
def test_a_wrong_value_is_refused_with_its_name(name, value):
    try:
        model = TinyViM(**{'arch': TINY, name: value})
    except (TypeError, ValueError) as error:
        message = str(error)
    else:
        with torch.no_grad():
            outputs = model.eval()(torch.zeros(1, model.stem[0].conv.in_channels, 32, 32))
        assert len(outputs) == len(model.out_indices)
        return
    singular = name.removesuffix('s')
    assert name in message or singular in message, message
