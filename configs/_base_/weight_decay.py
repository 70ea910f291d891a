"""What a recipe spares weight decay: `paramwise_cfg=_base_.pop('no_decay').scan`, or another.

Taken out with `pop`, the others are not in the recipe that a training saves.
"""

no_decay = dict(
    # TinyViM: the state matrix and the skip weight of the scan.
    scan=dict(custom_keys={'A_logs': dict(decay_mult=0.0), 'Ds': dict(decay_mult=0.0)}),
    # The others as detectors and segmentors: norms that are called so, which MobileMamba's batch
    # norms (`bn`) are not. All parameters of the scan are decayed.
    norms=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
    # The others as classifiers: vectors. Matrices are decayed, A_logs and dt_projs_bias too.
    vectors=dict(flat_decay_mult=0.0),
)
