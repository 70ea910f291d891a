"""Core ML: an ML program as a package, which runs on macOS and iOS alone."""

import platform
from pathlib import Path
from typing import List, Mapping, Optional

from ...core.errors import ExportMismatchError
from ..metadata import PREFIX
from .base import Format, Run, converting

#: What Core ML can hold.
_LARGEST_RANK = 5


class CoreMl(Format):
    """A package for one batch; the metadata are the model's own, which Xcode shows."""

    name = 'coreml'
    suffix = '.mlpackage'
    converters = runtimes = ('coremltools',)

    def obstacle(self) -> Optional[str]:
        if platform.system() == 'Darwin':
            return None
        return 'Core ML runs on macOS and iOS alone'

    def write(self, network, images, path, meta, opset=None) -> None:
        import torch

        from ..writer import INPUT, exportable

        cure = 'See docs/deploy.md for the versions of coremltools and torch that go together'
        with exportable(network), converting('coremltools', cure):
            import coremltools

            names = network.output_names(len(network(images)))
            _add_alias()
            # A trace holds casts of shapes that coremltools 9 cannot do with numpy 2.4.
            program = torch.export.export(network, (images,)).run_decompositions({})
            model = coremltools.convert(
                program,
                inputs=[coremltools.TensorType(INPUT, shape=images.shape)],
                outputs=[coremltools.TensorType(name) for name in names],
                convert_to='mlprogram',
                compute_precision=coremltools.precision.FLOAT32,
                minimum_deployment_target=coremltools.target.iOS16,
                skip_model_load=True,
            )
            model.user_defined_metadata.update(meta.to_props())
            model.save(str(path))

    def load(self, path: Path, threads: Optional[int] = None) -> Run:
        import coremltools

        from ..writer import INPUT

        model = coremltools.models.MLModel(str(path))
        names = [output.name for output in model.get_spec().description.output]

        def run(images):
            found = model.predict({INPUT: images})
            return [found[name] for name in names]

        return run

    def properties(self, path: Path) -> Mapping[str, str]:
        import coremltools

        spec = coremltools.utils.load_spec(str(path))
        found = spec.description.metadata.userDefined
        return {name: found[name] for name in found if name.startswith(PREFIX)}

    def inspect(self, path: Path) -> List[str]:
        import coremltools

        spec = coremltools.utils.load_spec(str(path))
        (function,) = spec.mlProgram.functions.values()
        (block,) = function.block_specializations.values()
        ranks = {
            output.name: output.type.tensorType.rank
            for operation in block.operations
            for output in operation.outputs
        }
        kinds = {operation.type for operation in block.operations}
        name = max(ranks, key=ranks.get)
        if ranks[name] > _LARGEST_RANK:
            raise ExportMismatchError(
                f'{path}: {name} has {ranks[name]} axes, and Core ML {_LARGEST_RANK} at most'
            )
        return [
            f'The graph: {len(block.operations)} operations of {len(kinds)} kinds, of '
            f'{ranks[name]} axes at most'
        ]

    def files(self, path: Path) -> List[Path]:
        return [file for file in path.rglob('*') if file.is_file()]


def _add_alias() -> None:
    """Teach coremltools 9 the operator that torch 2.13 leaves of views of a whole tensor."""
    from coremltools.converters.mil.frontend.torch import torch_op_registry as registry

    def alias(context, node):
        context.add(context[node.inputs[0]], node.name)

    if 'alias' not in registry._TORCH_OPS_REGISTRY:
        registry.register_torch_op(alias)
