"""``python -m tinyvim_mm.ops``: which scan backends work here, and the cure for the others."""

import torch

from .backends import available_backends, compiled


def main() -> None:
    devices = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]
    print(f'torch {torch.__version__}, {torch.get_num_threads()} threads')
    if compiled.LIBRARY_PROBLEM is None:
        print(
            f'{torch.ops.tinyvim_mm.build_info()}, CPU kernels: '
            f'{torch.ops.tinyvim_mm.cpu_capability()}'
        )
    for device in devices:
        print(f'\non {device}:')
        for name, obstacle in available_backends(device).items():
            print(f'  {name:<19} {"works" if obstacle is None else f"no: {obstacle}"}')


if __name__ == '__main__':
    main()
