"""mmengine's strategy for FullyShardedDataParallel, able to resume."""

from mmengine._strategy import FSDPStrategy
from mmengine.registry import STRATEGIES
from torch.distributed.fsdp import FullyShardedDataParallel


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """FSDPStrategy with the argument order that torch has had since 2.1.

    mmengine 0.10 calls torch 2.0's, and fails when a training is resumed.
    """

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load what ``optim_state_dict`` returned: the whole, keyed by names of parameters."""
        optimizer = self.optim_wrapper.optimizer
        self.optim_wrapper.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(self.model, optimizer, state_dict)
        )
