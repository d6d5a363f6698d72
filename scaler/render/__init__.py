"""The Kubernetes parts that follow from a policy: ScaledObjects, workers' settings, names for admission.

Pure functions from policies to documents and texts, so that the same policy gives the same bytes.
"""

from scaler.render.files import HEADER, render
from scaler.render.target import RenderError, Service

__all__ = ["HEADER", "RenderError", "Service", "render"]
