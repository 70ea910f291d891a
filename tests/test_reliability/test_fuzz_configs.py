"""Any values for the arguments of the backbones: built, or refused with the argument's name."""

import inspect

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinyvim_mm.models import EfficientVMamba, MobileMamba, TinyViM, VMamba

TINY = {
    TinyViM: {'embed_dims': (8, 8, 8, 8), 'depths': (1, 1, 1, 1)},
    MobileMamba: {'embed_dims': (40, 48, 64), 'depths': (1, 1, 1)},
    EfficientVMamba: {'embed_dims': (8, 8, 8, 8), 'depths': (1, 1, 1, 1)},
    VMamba: {'embed_dims': (8, 8, 8, 8), 'depths': (1, 1, 1, 1)},
}

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


@pytest.mark.parametrize('backbone', TINY)
@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), value=values)
def test_a_wrong_value_is_refused_with_its_name(backbone, data, value):
    names = [name for name in inspect.signature(backbone).parameters if name != 'init_cfg']
    name = data.draw(st.sampled_from(names), 'argument')
    try:
        model = backbone(**{'arch': TINY[backbone], name: value})
    except (TypeError, ValueError) as error:
        message = str(error)
    else:
        channels = value if name == 'in_channels' else 3
        with torch.no_grad():
            outputs = model.eval()(torch.zeros(1, channels, 32, 32))
        assert len(outputs) == len(model.out_indices)
        return
    singular = name.removesuffix('s')
    assert name in message or singular in message, message
