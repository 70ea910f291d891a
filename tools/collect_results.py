"""Make a table of trainings from their logs: ``python tools/collect_results.py --help``."""

try:
    from tinyvim_mm.engine.results import main
except ModuleNotFoundError as error:
    if error.name != 'tinyvim_mm':
        raise
    raise SystemExit(
        'tinyvim_mm is not installed in this Python: run `make env` in the clone and use '
        '.venv/bin/python, or `pip install --no-build-isolation -e .` in your own environment.'
    ) from None

if __name__ == '__main__':
    main()
