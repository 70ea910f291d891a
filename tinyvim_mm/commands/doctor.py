"""``tinyvim-mm doctor``: check the installation."""

import argparse
import json
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Sequence

from ..core import environment
from ..core.errors import UNFORESEEN
from ..doctor.examination import examine
from ..doctor.finding import FAULT, NOTE, Finding
from ..version import __version__
from .run import run_command


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tinyvim-mm doctor') -> int:
    """Examine and print.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.
        prog: How the user called it.

    Returns:
        The exit code: 1 if there is a fault.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description='Check the installation and print the cure of each fault; ends with code 1 '
        'if there is one.',
    )
    parser.add_argument(
        '--json', dest='as_json', action='store_true', help='print the findings as JSON'
    )
    return run_command(parser, lambda: _report, argv, needs=())


def _report(as_json: bool) -> int:
    findings = examine()
    faults = [finding for finding in findings if finding.status == FAULT]
    if as_json:
        print(json.dumps(_as_json(findings), indent=2))
    else:
        _print(findings, len(faults))
    return UNFORESEEN if faults else 0


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
