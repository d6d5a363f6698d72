"""Policy files: from YAML to a validated `ScalingPolicy`, with a position for every fault."""

from scaler.policyfile.diagnostics import Diagnostic, PolicyError, PolicyPathError
from scaler.policyfile.loading import load_directory_or_file, load_policy

__all__ = ["Diagnostic", "PolicyError", "PolicyPathError", "load_directory_or_file", "load_policy"]
