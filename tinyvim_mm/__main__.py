"""``python -m tinyvim_mm``: what is installed, what is missing, and the cure."""

from .environment import platform_line, report
from .version import __version__


def main() -> None:
    print(f'tinyvim_mm {__version__}\n{platform_line()}\n')
    for state in report():
        print(f'{state.name:<12} {state.version or "-":<16} {state.problem or "ok"}')
        if state.cure:
            print(f'{"":<12} cure: {state.cure}')


if __name__ == '__main__':
    main()
