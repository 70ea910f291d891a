"""The command line of the doctor."""

import argparse
import json
import traceback
from dataclasses import asdict
from typing import Any, Dict, List

from .. import environment
from ..version import __version__
from .finding import FAULT, NOTE, Finding
from .packages import check_packages


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``tinyvim-mm doctor``."""
    parser.add_argument('--json', action='store_true', help='print the findings as JSON')


def run(args: argparse.Namespace) -> int:
    """Examine and print.

    Args:
        args: With the options of :func:`add_options`.

    Returns:
        The exit code: 1 if there is a fault.
    """
    findings = examine()
    faults = [finding for finding in findings if finding.status == FAULT]
    if args.json:
        print(json.dumps(_as_json(findings), indent=2))
    else:
        _print(findings, len(faults))
    return 1 if faults else 0


def examine() -> List[Finding]:
    """All checks; those that need torch only where it can be imported."""
    findings = check_packages()
    broken = {finding.subject for finding in findings if finding.status == FAULT}
    if 'torch' in broken:
        return findings
    findings += _guarded('torch and GPU', 'torch_build.check_torch')
    findings += _guarded('compiled operators', 'extension.check_extension')
    return findings + _guarded('scan', 'scan.check_scan')


def _guarded(subject: str, check: str) -> List[Finding]:
    """Run a check; should it break itself, on what nobody thought of, say so and go on."""
    import importlib

    module, _, function = check.partition('.')
    try:
        return getattr(importlib.import_module(f'{__package__}.{module}'), function)()
    except Exception as error:  # noqa: BLE001 - reported, not swallowed
        place = traceback.extract_tb(error.__traceback__)[-1]
        detail = f'cannot be checked: {type(error).__name__}: {error}'
        return [Finding(subject, FAULT, f'{detail} ({place.filename}:{place.lineno})')]


def _as_json(findings: List[Finding]) -> Dict[str, Any]:
    return {
        'ok': not any(finding.status == FAULT for finding in findings),
        'tinyvim_mm': __version__,
        'platform': environment.platform_line(),
        'findings': [asdict(finding) for finding in findings],
    }


def _print(findings: List[Finding], faults: int) -> None:
    print(f'tinyvim_mm {__version__}\n{environment.platform_line()}\n')
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        print(f'{finding.subject:<{width}}  {finding.status:<5}  {finding.detail}')
        if finding.cure:
            print(f'{"":<{width}}         cure: {finding.cure}')
    notes = sum(finding.status == NOTE for finding in findings)
    print(f'\n{faults or "no"} fault{"" if faults == 1 else "s"}, {notes} notes')
