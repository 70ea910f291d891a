"""All checks of the doctor, in turn."""

import importlib
import traceback
from typing import List

from .finding import FAULT, Finding
from .packages import check_packages


def examine() -> List[Finding]:
    """All checks; those that need torch only where it can be imported."""
    findings = check_packages()
    if any(finding.subject == 'torch' and finding.status == FAULT for finding in findings):
        return findings
    findings += _guarded('torch and GPU', 'torch_build.check_torch')
    findings += _guarded('compiled operators', 'extension.check_extension')
    return findings + _guarded('scan', 'scan.check_scan')


def _guarded(subject: str, check: str) -> List[Finding]:
    """Run a check; should it break itself, on what nobody thought of, say so and go on."""
    module, _, function = check.partition('.')
    try:
        return getattr(importlib.import_module(f'{__package__}.{module}'), function)()
    except Exception as error:  # noqa: BLE001 - reported, not swallowed
        place = traceback.extract_tb(error.__traceback__)[-1]
        detail = f'cannot be checked: {type(error).__name__}: {error}'
        return [Finding(subject, FAULT, f'{detail} ({place.filename}:{place.lineno})')]
